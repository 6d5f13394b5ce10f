"""The learned in-fill of the information maps beside simpler ones: bits per dimension of windows of test images.

    python benchmarks/samplers.py                                        lesions (embedded)
    python benchmarks/samplers.py --pneumonia data/pneumoniamnist.npz    chest X-rays too

For each data set and head the sampler is trained as ``train.py sampler`` does, then measured on the test split, which
chose no checkpoint. Simpler models are fitted to the training split. Differences to the conditional Gaussian are
paired, with an interval over images. Stopped, a training goes on where it was. Results go to
``benchmarks/results/samplers.json`` and from there to ``docs/results``.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks._machine import machine  # noqa: E402
from cae.config import Config  # noqa: E402
from cae.config.command_line import load_config, run_program  # noqa: E402 (the script also runs without an installation)
from cae.data import CAEDataModule  # noqa: E402
from cae.data.selection import evenly_spread  # noqa: E402
from cae.files import read_json, write_json  # noqa: E402
from cae.metrics.statistics import Bootstrap  # noqa: E402
from explainers.infills.learned import LearnedSampler  # noqa: E402
from explainers.infills.training import BASELINE_IMAGES, sampler_command  # noqa: E402
from explainers.infills.window_bits import window_bits  # noqa: E402

RECIPES = {"lesions": "lesions", "pneumonia": "medmnist"}
HEADS = ("lowrank", "categorical")
RIVAL = "gaussian"


def main(argv: list[str]) -> None:
    """Train and measure, and write the file of results after each training."""
    arguments = _arguments(argv)
    figures: dict[str, float] = {}
    intervals: dict[str, list[float]] = {}
    for name in arguments.only or [name for name in RECIPES if name != "pneumonia" or arguments.pneumonia]:
        for head in arguments.heads:
            config = _config(arguments, name, head)
            sampler_command(config)
            _measure(config, f"{name}/", head, figures, intervals)
            _write(arguments, figures, intervals)


def _arguments(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=list(RECIPES))
    parser.add_argument("--heads", nargs="+", choices=HEADS, default=list(HEADS))
    parser.add_argument("--steps", type=int, default=1500, help="training steps")
    parser.add_argument("--options", nargs="*", default=[], metavar="KEY=VALUE", help="further options of train.py")
    parser.add_argument("--pneumonia", type=Path, help="path of pneumoniamnist.npz, which is not part of the project")
    parser.add_argument("--runs", default="runs/benchmarks", help="folder of the runs; finished trainings are reused")
    arguments = parser.parse_args(argv)
    if "pneumonia" in (arguments.only or []) and arguments.pneumonia is None:
        parser.error("--only pneumonia needs --pneumonia PATH")
    return arguments


def _config(arguments: argparse.Namespace, name: str, head: str) -> Config:
    words = [
        f"name=sampler-{name}-{head}", f"runs={arguments.runs}", f"sampler.head={head}", "resume=last",
        f"sampler.max_steps={arguments.steps}", *arguments.options,
    ]  # fmt: skip
    if name == "pneumonia":
        words.append(f"data.path={arguments.pneumonia}")
    return load_config([ROOT / "configs" / f"{RECIPES[name]}.yaml"], words)


def _measure(
    config: Config, prefix: str, head: str, figures: dict[str, float], intervals: dict[str, list[float]]
) -> None:
    """Put the bits of a trained sampler, and of the simpler models, into the tables of figures."""
    folder = Path(config.runs) / config.name
    data = CAEDataModule(config.data)
    data.setup()
    distribution = LearnedSampler.load(folder).distribution
    asked = evenly_spread(data.dataset("test"), BASELINE_IMAGES)
    found = window_bits(
        distribution, evenly_spread(data.train, BASELINE_IMAGES), asked, config.sampler.validation_crops
    )
    bits = {head if model == "learned" else model: values.double() for model, values in found.bits.items()}
    bits |= {f"{head} - {RIVAL}": bits[head] - bits[RIVAL]}
    bootstrap = Bootstrap(list(range(len(asked))), resamples=2_000)
    for model, values in bits.items():
        interval = bootstrap.mean(_image_means(values, found.rows, len(asked)))
        if interval is not None:
            figures[prefix + model] = interval.mean
            intervals[prefix + model] = [interval.low, interval.high]
    figures[f"{prefix}{head}/training windows"] = read_json(folder / "metrics.json")["sampler/bits_train"]
    figures[f"{prefix}window"] = distribution.window
    figures[f"{prefix}images"] = len(asked)
    print({key: round(value, 3) for key, value in figures.items() if key.startswith(prefix)}, flush=True)


def _image_means(values: Tensor, rows: Tensor, count: int) -> np.ndarray:
    """Mean ``(count,)`` of the windows' values ``(M,)`` of each image."""
    sums = torch.bincount(rows, weights=values, minlength=count)
    return (sums / torch.bincount(rows, minlength=count)).numpy()


def _write(arguments: argparse.Namespace, figures: dict[str, float], intervals: dict[str, list[float]]) -> None:
    command = "python benchmarks/samplers.py"
    command += f" --only {' '.join(arguments.only)}" if arguments.only else ""
    command += " --pneumonia data/pneumoniamnist.npz" if arguments.pneumonia else ""
    command += f" --heads {' '.join(arguments.heads)} --steps {arguments.steps}"
    command += f" --options {' '.join(arguments.options)}" if arguments.options else ""
    result = {
        "command": command,
        "machine": machine(torch.get_num_threads()),
        "seeds": [0],
        "images": int(max(value for name, value in figures.items() if name.endswith("/images"))),
        "figures": figures,
        "intervals": intervals,
    }
    write_json(ROOT / "benchmarks" / "results" / "samplers.json", result)


if __name__ == "__main__":
    run_program(main)
