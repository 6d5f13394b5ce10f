"""Generators of counterfactuals compared: the shipped embedding of the lesions beside the others, on a CPU.

    python benchmarks/generators.py                          48 images, 800 steps for the trained generators
    python benchmarks/generators.py --limit 240 --steps 5000 --width 64 --arms ours residual residual@1 residual@2

The command is ``explain.py compare-generators`` on the models that the package carries: it is stopped and continued
like that one, in the folder ``--runs``. Results go to ``benchmarks/results/generators_lesions.json``, the picture to
``docs/images/generators_lesions.png``.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks._machine import machine  # noqa: E402 (the script also runs without an installation)
from cae.commands.compare_generators import compare_generators  # noqa: E402
from cae.config import GeneratorsConfig  # noqa: E402
from cae.config.command_line import parse, run_program  # noqa: E402
from cae.files import read_json, write_json  # noqa: E402
from cae.runs.run_config import explanation_config  # noqa: E402

RESULT = ROOT / "benchmarks" / "results" / "generators_lesions.json"
PICTURE = ROOT / "docs" / "images" / "generators_lesions.png"
SEED = 0


def main(argv: Sequence[str]) -> None:
    """Compare, then write figures and picture."""
    arguments = _arguments(argv)
    options = [
        "pretrained=true", "name=generators", f"runs={arguments.runs}", f"seed={SEED}",
        f"generators.arms=[{','.join(arguments.arms)}]", f"generators.limit={arguments.limit}",
        f"generators.steps={arguments.steps}", f"generators.width={arguments.width}",
        f"cae.validate_every={arguments.steps}", "cae.validation_pairs=60", "trainer.accelerator=cpu",
        "trainer.threads=1", "logging.progress=false",
    ]  # fmt: skip
    parsed = parse(["compare-generators", "lesions", *options], {"compare-generators": ""}, "benchmarks/generators.py")
    compare_generators(explanation_config(parsed))
    folder = Path(arguments.runs) / "generators" / "explanations" / "generators"
    command = " ".join(["python benchmarks/generators.py", *_without_runs(argv)])
    facts = {"command": command, "machine": machine(1, "cpu"), "seeds": [SEED]}
    settings = {"steps": arguments.steps, "width": arguments.width}
    write_json(RESULT, {**facts, "settings": settings, **collected(folder)})
    shutil.copyfile(folder / "generators.png", PICTURE)
    print(f"written: {RESULT.relative_to(ROOT)}, {PICTURE.relative_to(ROOT)}")


def collected(folder: Path) -> dict[str, Any]:
    """The figures of a comparison's folder as ``ARM/METRIC``, with intervals, and differences to the baseline."""
    listed, rows = read_json(folder / "generators.json"), read_json(folder / "table.json", list)
    names = {f"{row['arm']}/{row['metric']}": row for row in rows}
    minutes = {
        f"{arm['name']}/training_minutes": arm["training_seconds"] / 60
        for arm in listed["arms"]
        if arm["training_seconds"] is not None
    }
    return {
        "images": len(listed["images"]),
        "arms": {arm["name"]: arm["words"] for arm in listed["arms"]},
        "figures": {name: row["mean"] for name, row in names.items()} | minutes,
        "intervals": {name: [row["low"], row["high"]] for name, row in names.items() if row["low"] is not None},
        "differences": {
            name: [row["difference"], row["difference_low"], row["difference_high"]]
            for name, row in names.items()
            if row["difference"] is not None
        },
    }


def _without_runs(argv: Sequence[str]) -> list[str]:
    """The arguments but for the folder of runs, which says nothing of the figures."""
    place = list(argv).index("--runs") if "--runs" in argv else len(argv)
    return [*argv[:place], *argv[place + 2 :]]


def _arguments(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--limit", type=int, default=48, help="images")
    parser.add_argument("--steps", type=int, default=800, help="training steps of each trained generator")
    parser.add_argument("--width", type=int, default=8, help="channels of the residual network (published: 64)")
    parser.add_argument("--arms", nargs="+", default=GeneratorsConfig().arms, help="generators")
    parser.add_argument("--runs", default="runs", help="folder of runs")
    return parser.parse_args(argv)


if __name__ == "__main__":
    run_program(main)
