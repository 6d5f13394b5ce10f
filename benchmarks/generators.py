"""Generators of counterfactuals compared on the runs of ``pipeline.py``, on a CPU.

    python benchmarks/generators.py                          lesions: 48 images, 800 steps for the trained generators
    python benchmarks/generators.py --data pneumonia --path data/pneumoniamnist.npz
    python benchmarks/generators.py --data folder --path data/my_images --as my_images --arms ours gradient shuffled
    python benchmarks/generators.py --limit 240 --steps 5000 --width 64 --arms ours residual residual@1 residual@2

The run is that of ``benchmarks/pipeline.py --only DATA`` with the same seed and ``--runs``, and is trained where it is
not there. The command is ``explain.py compare-generators`` on it, stopped and continued like that one. Results go to
``benchmarks/results/generators_<data>.json``; the picture, of data that may be shown, to
``docs/images/generators_<data>.png``.
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
from benchmarks.pipeline import PATHS, RECIPES, data_name, run_of, train  # noqa: E402
from cae.commands.compare_generators import compare_generators  # noqa: E402
from cae.config import GeneratorsConfig  # noqa: E402
from cae.config.command_line import parse, run_program  # noqa: E402
from cae.files import read_json, write_json  # noqa: E402
from cae.runs.run_config import explanation_config  # noqa: E402

SHOWN = ("lesions", "pneumonia")  # data that the program draws, or whose licence allows it (CC BY 4.0)


def main(argv: Sequence[str]) -> None:
    """Compare, then write figures and picture."""
    arguments = _arguments(argv)
    run = run_of(arguments.data, arguments.seed, arguments)
    options = [
        *train(arguments.data, arguments.seed, run, arguments.path),
        f"generators.arms=[{','.join(arguments.arms)}]", f"generators.limit={arguments.limit}",
        f"generators.steps={arguments.steps}", f"generators.width={arguments.width}",
        f"cae.validate_every={arguments.steps}", "cae.validation_pairs=60", "trainer.accelerator=cpu",
        "trainer.threads=1", "logging.progress=false",
    ]  # fmt: skip
    parsed = parse(["compare-generators", *options], {"compare-generators": ""}, "benchmarks/generators.py")
    compare_generators(explanation_config(parsed))
    folder = run / "explanations" / "generators"
    facts = {"command": _command(arguments), "machine": machine(1, "cpu"), "seeds": [arguments.seed]}
    settings = {"steps": arguments.steps, "width": arguments.width}
    data = data_name(arguments.data, arguments)
    write_json(
        ROOT / "benchmarks" / "results" / f"generators_{data}.json",
        {**facts, "settings": settings, **collected(folder)},
    )
    if data in SHOWN:
        shutil.copyfile(folder / "generators.png", ROOT / "docs" / "images" / f"generators_{data}.png")


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


def _command(arguments: argparse.Namespace) -> str:
    """The command, its paths as a reader would have them."""
    words = ["python benchmarks/generators.py --data", arguments.data, "--arms", *arguments.arms]
    if arguments.path:
        words += ["--path", PATHS[arguments.data]]
    if arguments.data == "folder":
        words += ["--as", arguments.called]
    words += [f"--seed {arguments.seed}"] if arguments.seed else []
    return " ".join([*words, f"--limit {arguments.limit} --steps {arguments.steps} --width {arguments.width}"])


def _arguments(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", choices=list(RECIPES), default="lesions")
    parser.add_argument("--path", type=Path, help="of data that are no part of the project")
    parser.add_argument("--as", dest="called", default="folder", help="name of the folder's run and results")
    parser.add_argument("--seed", type=int, default=0, help="of the run")
    parser.add_argument("--limit", type=int, default=48, help="images")
    parser.add_argument("--steps", type=int, default=800, help="training steps of each trained generator")
    parser.add_argument("--width", type=int, default=8, help="channels of the residual network (published: 64)")
    parser.add_argument("--arms", nargs="+", default=GeneratorsConfig().arms, help="generators")
    parser.add_argument("--runs", default="runs/benchmarks", help="folder of the runs")
    arguments = parser.parse_args(argv)
    if arguments.data in PATHS and arguments.path is None:
        parser.error(f"--data {arguments.data} needs --path PATH")
    return arguments


if __name__ == "__main__":
    run_program(main)
