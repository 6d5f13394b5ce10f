"""What a training step of the CAE costs: time, kernels, operations, share of the machine's convolution rate.

    python benchmarks/training_step.py                          the present code
    python benchmarks/training_step.py --against COMMIT         beside a former commit, in turns, as ratios
    python benchmarks/training_step.py --cases gpu              on a GPU: float32 and bf16, within four minutes

Steps are taken by the program's own training, with everything that belongs to one: data, Lightning, losses of all
networks, clipping, optimiser, averages. A former commit is checked out beside the project (``git worktree``) and timed
in turns with the present one, so that whatever else the machine does meets both; compared are the processor's
milliseconds of both on a CPU, those of the clock on a GPU. Kernels are those of the device; on a CPU, which has none,
the innermost operations that touch data. Results go to ``benchmarks/results/training_step.json`` or
``training_step_gpu.json``, and from there to ``docs/results``.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import torch
import torch.nn.functional as F

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks._machine import machine  # noqa: E402
from cae.config.command_line import run_program  # noqa: E402
from cae.errors import UserError  # noqa: E402
from cae.files import write_json  # noqa: E402

LESIONS = ["configs/lesions.yaml"]
DEEPER = ["cae.model.individual_downsampling=3", "cae.model.class_downsampling=5"]
PUBLISHED = [*LESIONS, "cae.preset=published", "data.image_size=256", "data.channels=3"]
CASES = {
    "cpu": {
        "lesions 64": LESIONS,
        "lesions 128": [*LESIONS, "data.image_size=128", *DEEPER],
    },
    "published": {"published 256, one pair": [*PUBLISHED, "data.batch_size=2"]},
    "gpu": {
        **{
            f"lesions {side} {precision}": [
                *LESIONS, f"data.image_size={side}", *deeper, f"trainer.precision={precision}",
            ]
            for side, deeper in ((64, []), (128, DEEPER), (256, DEEPER))
            for precision in ("32-true", "bf16-mixed")
        },
        **{
            f"gpu.yaml {side} {precision}": [
                *LESIONS, "configs/gpu.yaml", f"data.image_size={side}", *DEEPER, f"trainer.precision={precision}",
            ]
            for side in (128, 256)
            for precision in ("32-true", "bf16-mixed")
        },
        "published 256, one pair 32-true": [*PUBLISHED, "data.batch_size=2"],
        "published 256, 16 pairs bf16-mixed": [*PUBLISHED, "data.batch_size=32", "trainer.precision=bf16-mixed"],
    },
}  # fmt: skip


def main(argv: list[str]) -> None:
    """Measure, print, and write the file of results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--against", metavar="COMMIT", help="a former commit to time in turns with the present code")
    parser.add_argument("--cases", choices=tuple(CASES), default="cpu")
    parser.add_argument("--rounds", type=int, default=3, help="turns of each; the ratio is the median over them")
    parser.add_argument("--steps", type=int, default=12, help="steps timed in a turn")
    arguments = parser.parse_args(argv)
    if arguments.cases == "gpu" and not torch.cuda.is_available():
        raise UserError("`--cases gpu` needs a GPU, and PyTorch finds none.")
    with tempfile.TemporaryDirectory() as folder:
        trees = {"present": ROOT} | ({"former": _worktree(arguments.against, folder)} if arguments.against else {})
        try:
            figures = _measure(trees, arguments)
        finally:
            if arguments.against:
                subprocess.run(["git", "worktree", "remove", "--force", trees["former"]], cwd=ROOT, check=True)
    suffix = "" if arguments.cases == "cpu" else f"_{arguments.cases}"
    result = {
        "command": f"python benchmarks/training_step.py {' '.join(argv)}".strip(),
        "machine": machine(),
        "seeds": [0],
        "figures": figures,
        "intervals": {},
    }
    write_json(ROOT / "benchmarks" / "results" / f"training_step{suffix}.json", result)


def _measure(trees: dict[str, Path], arguments: argparse.Namespace) -> dict[str, float]:
    rate = convolution_rate()
    figures = {"convolution_rate": rate}
    print(f"convolutions of 64 channels: {rate / 1e9:.0f} GFLOP/s")
    for case, options in CASES[arguments.cases].items():
        turns: dict[str, list[dict[str, float]]] = {name: [] for name in trees}
        for turn in range(arguments.rounds):
            # the one that began the last turn ends this one
            for name in sorted(trees, reverse=turn % 2 == 1):
                turns[name].append(_run(trees[name], options, arguments.steps, count=turn == 0))
        for name, found in turns.items():
            middle = {key: statistics.median(run[key] for run in found if key in run) for key in found[0]}
            middle["share_of_convolution_rate"] = middle["operations"] / (middle["milliseconds"] / 1e3) / rate
            figures |= {f"{case}/{name}/{key}": value for key, value in middle.items()}
            print(case, name, {key: float(f"{value:.4g}") for key, value in middle.items()}, flush=True)
        if len(trees) == 2:
            clock = "milliseconds" if torch.cuda.is_available() else "processor_ms"
            ratios = [a[clock] / b[clock] for a, b in zip(turns["former"], turns["present"], strict=True)]
            figures[f"{case}/speedup"] = statistics.median(ratios)
            print(f"{case}: {statistics.median(ratios):.2f} times the steps ({min(ratios):.2f} to {max(ratios):.2f})")
    return figures


def convolution_rate() -> float:
    """Operations a second that this machine reaches in a convolution that suits it, forward, in float32 (GPU: bf16)."""
    cuda = torch.cuda.is_available()
    device, dtype = ("cuda", torch.bfloat16) if cuda else ("cpu", torch.float32)
    x = torch.randn(64 if cuda else 4, 64, 64, 64, device=device, dtype=dtype).to(memory_format=torch.channels_last)
    weight = torch.randn(64, 64, 3, 3, device=device, dtype=dtype).to(memory_format=torch.channels_last)
    best = float("inf")
    for _ in range(20):
        if cuda:
            torch.cuda.synchronize()
        began = time.perf_counter()
        F.conv2d(x, weight, padding=1)
        if cuda:
            torch.cuda.synchronize()
        best = min(best, time.perf_counter() - began)
    return 2 * 9 * 64 * x.numel() / best


def _run(tree: Path, options: Sequence[str], steps: int, count: bool) -> dict[str, float]:
    """Figures of one turn, in a process of its own."""
    job = json.dumps({"options": list(options), "warm_up": 3, "timed": steps, "count": count})
    command = [sys.executable, str(ROOT / "benchmarks" / "_step_runner.py"), job]
    done = subprocess.run(command, cwd=tree, capture_output=True, text=True, check=False)
    lines = [line for line in done.stdout.splitlines() if line.startswith("FIGURES ")]
    if not lines:
        raise UserError(f"the steps of {list(options)} in '{tree}' ended with: {done.stderr[-2000:]}")
    return json.loads(lines[-1].removeprefix("FIGURES "))


def _worktree(commit: str, folder: str) -> Path:
    """The former commit, checked out."""
    path = Path(folder) / "former"
    done = subprocess.run(
        ["git", "worktree", "add", "--detach", path, commit], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise UserError(f"`--against {commit}` is no commit of this repository: {done.stderr.strip()}")
    return path


if __name__ == "__main__":
    run_program(main)
