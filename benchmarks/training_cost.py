"""What a training step of the CAE costs at 64, 128 and 256 pixels: operations and memory, counted; on a GPU, timed too.

    python benchmarks/training_cost.py                on a CPU: operations and memory, counted
    python benchmarks/training_cost.py --measure      on a GPU: seconds and memory of whole steps

Every size is built as its recipe says and takes one step (forward and backward, all networks) on the CPU. Counted are
the floating-point operations of matrix products and convolutions (two for a multiply-add), the bytes that the step
keeps for its backward pass, and parameters with their gradients, averages and optimiser state. The estimate of seconds
divides by a stated share of an accelerator's peak: a figure to plan with, not a measurement. Results go to
``benchmarks/results/training_cost.json``, measurements to ``training_cost_measured.json``, and from there to
``docs/results``.
"""

from __future__ import annotations

import argparse
import dataclasses
import statistics
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks._machine import machine  # noqa: E402
from cae.classifiers import TargetClassifier  # noqa: E402 (the script also runs without an installation)
from cae.classifiers.saved import build_network  # noqa: E402
from cae.config import Config  # noqa: E402
from cae.config.command_line import parse, run_program  # noqa: E402
from cae.data import Batch  # noqa: E402
from cae.errors import UserError  # noqa: E402
from cae.files import write_json  # noqa: E402
from cae.training.base_module import FrozenClassifiers  # noqa: E402
from cae.training.cae import reader_for  # noqa: E402
from cae.training.cae_module import CAEModule  # noqa: E402

RECIPES = {
    "64": ["configs/lesions.yaml"],
    "128": ["configs/lesions.yaml", "configs/gpu.yaml", "data.image_size=128"],
    "256": ["configs/lesions.yaml", "configs/gpu.yaml", "data.image_size=256"],
}
PEAK = 60e12  # operations a second: single precision of one H100 (PCIe: 51, SXM: 67), no tensor cores
PART = 8  # the step is taken with an eighth of its images and swaps: what it costs is proportional to them
SHARE = 0.15  # of the peak that convolutions of so few channels may be expected to reach
GIBIBYTE = 2**30
PRECISIONS = ("32-true", "bf16-mixed")
WARM_UP, TIMED = 10, 30  # steps


def main(argv: list[str]) -> None:
    """Count or measure, print, and write the file of results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--measure", action="store_true", help="time whole steps; needs a GPU")
    if parser.parse_args(argv).measure:
        _measure()
    else:
        _count()


def _count() -> None:
    figures: dict[str, float] = {}
    for size, recipe in RECIPES.items():
        found = _cost(_config(recipe))
        figures |= {f"{size}/{name}": value for name, value in found.items()}
        print(size, {name: float(f"{value:.3g}") for name, value in found.items()})
    result = {
        "command": "python benchmarks/training_cost.py",
        "machine": machine(),
        "seeds": [0],
        "figures": figures,
        "intervals": {},
        "assumed": {"peak": PEAK, "share": SHARE},
    }
    write_json(ROOT / "benchmarks" / "results" / "training_cost.json", result)


def _measure() -> None:
    if not torch.cuda.is_available():
        raise UserError("`--measure` needs a GPU, and PyTorch finds none.")
    figures: dict[str, float] = {}
    for size, recipe in RECIPES.items():
        for precision in PRECISIONS:
            found = _measured(_config(recipe), precision)
            figures |= {f"{size}/{precision}/{name}": value for name, value in found.items()}
            print(size, precision, {name: float(f"{value:.3g}") for name, value in found.items()}, flush=True)
    result = {
        "command": "python benchmarks/training_cost.py --measure",
        "machine": machine(),
        "seeds": [0],
        "figures": figures,
        "intervals": {},
    }
    write_json(ROOT / "benchmarks" / "results" / "training_cost_measured.json", result)


def _measured(config: Config, precision: str) -> dict[str, float]:
    """Milliseconds (median) and peak memory of a step: forward, backward and optimiser, of all networks."""
    device = torch.device("cuda")
    module, batch = _module(config).to(device), _batch(config).to(device)
    module.objective.classifier.to(device)
    optimiser = torch.optim.Adam([p for p in module.parameters() if p.requires_grad], lr=1e-4)
    torch.cuda.reset_peak_memory_stats()
    seconds = []
    for _ in range(WARM_UP + TIMED):
        torch.cuda.synchronize()
        began = time.perf_counter()
        with torch.autocast("cuda", torch.bfloat16, enabled=precision == "bf16-mixed"):
            loss = _loss(module, batch)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
        torch.cuda.synchronize()
        seconds.append(time.perf_counter() - began)
    step = statistics.median(seconds[WARM_UP:])
    return {
        "milliseconds": 1000 * step,
        "images_per_second": len(batch.images) / step,
        "swaps_per_second": config.cae.pairs / step,
        "peak_gib": torch.cuda.max_memory_allocated() / GIBIBYTE,
        "training_minutes": step * config.cae.max_steps / 60,
    }


def _loss(module: CAEModule, batch: Batch) -> Tensor:
    """All terms of all networks, unweighted: weights do not change what a step costs."""
    objective = module.objective
    swaps = objective.swaps(batch.images, *module.classifiers.read(batch))
    others = objective.other_terms(swaps, penalise=False, query=False)
    terms = objective.generator_terms(swaps)
    return torch.stack([term.sum() for term in (terms | others).values()]).sum()


def _config(recipe: Sequence[str]) -> Config:
    words = [str(ROOT / word) if word.endswith(".yaml") else word for word in recipe]
    return parse(["cae", *words, "name=cost"], {"cae": ""}, "training_cost.py").config


def _part(config: Config) -> Config:
    cae = dataclasses.replace(config.cae, recipients=config.cae.recipients // PART, pairs=config.cae.pairs // PART)
    return dataclasses.replace(
        config, cae=cae, data=dataclasses.replace(config.data, batch_size=config.data.batch_size // PART)
    )


def _cost(config: Config) -> dict[str, float]:
    """Operations and memory of one step after the warm-up."""
    part = _part(config)
    module, batch = _module(part), _batch(part)
    kept = _Kept()
    with FlopCounterMode(display=False) as counter, torch.autograd.graph.saved_tensors_hooks(kept.keep, lambda x: x):
        _loss(module, batch).backward()
    operations = float(counter.get_total_flops()) * PART
    trained = sum(p.numel() for p in module.parameters() if p.requires_grad)
    # weights, gradients, two moments of Adam; the averaged weights need one more copy of the CAE's
    state = 4 * (4 * trained + sum(p.numel() for p in module.cae.parameters()))
    steps = config.cae.max_steps
    return {
        "operations_per_step": operations,
        "activations_gib": kept.size * PART / GIBIBYTE,
        "state_gib": state / GIBIBYTE,
        "parameters": float(sum(p.numel() for p in module.cae.parameters())),
        "steps": float(steps),
        "batch": float(config.data.batch_size),
        "gpu_minutes_estimated": operations * steps / (PEAK * SHARE) / 60,
    }


class _Kept:
    """Sums the bytes that autograd keeps, each storage once."""

    def __init__(self) -> None:
        self.size = 0
        self._seen: set[int] = set()

    def keep(self, tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in self._seen:
            self._seen.add(storage.data_ptr())
            self.size += storage.nbytes()
        return tensor


def _module(config: Config) -> CAEModule:
    """The training of a recipe against a classifier of random weights: what it costs does not depend on them."""
    torch.manual_seed(0)
    shape = (config.data.channels, config.data.image_size, config.data.image_size)
    classes = tuple(config.data.lesions.classes)
    network = build_network(config.classifier.model, len(classes), shape[0], config.classifier.width)
    classifier = TargetClassifier(network, classes, image_shape=shape, scores="logits")
    images = torch.rand(64, *shape)
    classifiers = FrozenClassifiers(
        classifier, classifier, torch.randn(64, len(classes)), images, {}, reader_for(config.cae, classifier)
    )
    return CAEModule(shape, config.cae, classifiers).train()


def _batch(config: Config) -> Batch:
    count, side = config.data.batch_size, config.data.image_size
    images = torch.rand(count, config.data.channels, side, side)
    return Batch(images, torch.arange(count) % len(config.data.lesions.classes), [str(i) for i in range(count)])


if __name__ == "__main__":
    run_program(main)
