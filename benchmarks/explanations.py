"""Compare the explainers on photographs (EfficientNet-Lite0), or on lesions with exact masks.

    python benchmarks/explanations.py lesions --limit 120         after benchmarks/pipeline.py --only lesions
    python benchmarks/explanations.py photographs --photographs PATH --limit 40

PATH is a folder of images with ``labels.csv`` (columns file and class_index). The first ``--limit`` are explained, the
others serve the in-fills that are made from images; only photographs that the classifier has right are counted. Methods
that only ask for scores get about the same number of evaluations. Random orders, and maps that know nothing of the
classifier, are in every table. Stopped, it goes on where it was. Results go to
``benchmarks/results/explanations_<data>.json`` and from there to ``docs/results.md``.
"""

from __future__ import annotations

import argparse
import csv
import os
import platform
import sys
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from cae.cli import parse, run_program  # noqa: E402 (the script also runs without an installation)
from cae.config import Config  # noqa: E402
from cae.errors import UserError  # noqa: E402
from cae.files import read_json, write_json  # noqa: E402
from cae.runs import explanation_config  # noqa: E402
from explainers.compare import compare  # noqa: E402
from explainers.metrics import summarise  # noqa: E402
from explainers.metrics.statistics import Bootstrap, Interval  # noqa: E402

CONTROLS = ("random", "centre", "edges")
COMMON = ("occlusion", "rise", "integrated_gradients", "gradcam", *CONTROLS)
FILLS = ("masked_blur", "gray", "blur", "marginal", "gaussian")
METHODS = {
    "lesions": ("cae", "pmi", *COMMON),
    "photographs": (*(f"pmi@{fill}" for fill in FILLS), "pda", *COMMON),
}
PAIRED = ("deletion_infill_excess", "insertion_auc_excess", "deletion_auc_excess")
FEWEST_OTHERS = 20
# some 600 evaluations each: windows of a seventh of the side, an eighth of the window apart where one fill is enough
OPTIONS = {
    "lesions": ("occlusion.window=8", "occlusion.stride=2", "rise.masks=840"),
    "photographs": (
        *("occlusion.window=32", "occlusion.stride=8", "rise.masks=625", "pda.max_evaluations=627"),
        *(f"pmi@{fill}.sampler={fill}" for fill in FILLS),
        *(f"pmi@{fill}.max_evaluations=627" for fill in FILLS),
    ),
}


def main(argv: list[str]) -> None:
    """Compare, then summarise what counts."""
    arguments = _arguments(argv)
    if arguments.photographs:
        _part_photographs(arguments)
    config = _config(arguments)
    compare(config)
    folder = Path(config.runs) / config.name / "explanations" / str(config.explain.folder)
    rows = _rows(folder, arguments)
    figures = summarise(rows, resamples=2_000)
    _write(arguments, rows, figures)


def _arguments(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", choices=list(METHODS))
    parser.add_argument("--photographs", type=Path, help="folder with images and labels.csv")
    parser.add_argument("--limit", type=int, default=40)
    parser.add_argument("--metrics", default="core", choices=("quick", "core", "full"))
    parser.add_argument("--runs", default="runs/benchmarks")
    arguments = parser.parse_args(argv)
    if arguments.data == "photographs" and arguments.photographs is None:
        parser.error("photographs needs --photographs PATH")
    return arguments


def _parts(arguments: argparse.Namespace) -> tuple[Path, Path]:
    """Folders of the photographs that are explained, and of the others."""
    place = Path(arguments.runs) / "photographs"
    return place / f"first_{arguments.limit}", place / f"after_{arguments.limit}"


def _part_photographs(arguments: argparse.Namespace) -> None:
    """Link the first of the list into one folder, and the rest, from which in-fills are made, into another."""
    with (arguments.photographs / "labels.csv").open(encoding="utf-8") as file:
        names = [row["file"] for row in csv.DictReader(file)]
    if len(names) < arguments.limit + FEWEST_OTHERS:
        raise UserError(
            f"--limit {arguments.limit} leaves {max(len(names) - arguments.limit, 0)} of {len(names)} photographs for "
            f"the in-fills that are made from other images; leave at least {FEWEST_OTHERS}."
        )
    for folder, part in zip(_parts(arguments), (names[: arguments.limit], names[arguments.limit :]), strict=True):
        folder.mkdir(parents=True, exist_ok=True)
        for name in part:
            if not (folder / name).exists():
                (folder / name).symlink_to((arguments.photographs / name).resolve())


def _config(arguments: argparse.Namespace) -> Config:
    recipe, name = {"lesions": ("lesions", "lesions-0"), "photographs": ("imagenet", "photographs")}[arguments.data]
    words = [
        "compare", str(ROOT / "configs" / f"{recipe}.yaml"), f"name={name}", f"runs={arguments.runs}",
        f"methods=[{','.join(METHODS[arguments.data])}]", f"explain.options=[{','.join(OPTIONS[arguments.data])}]",
        f"explain.limit={arguments.limit}", f"explain.metrics={arguments.metrics}", "explain.folder=benchmark",
    ]  # fmt: skip
    if arguments.photographs:
        explained, background = _parts(arguments)
        words += [f"explain.images={explained}", f"explain.background={background}", "classifier.runtime=onnx"]
    return explanation_config(parse(words, {"compare": ""}, "explanations.py"))


def _rows(folder: Path, arguments: argparse.Namespace) -> dict[str, dict]:
    """What was measured, by image; of photographs, those that the classifier has right."""
    found = [read_json(path) for path in sorted((folder / "measures").glob("*.json"))]
    if arguments.photographs:
        with (arguments.photographs / "labels.csv").open(encoding="utf-8") as file:
            labels = {row["file"]: int(row["class_index"]) for row in csv.DictReader(file)}
        found = [image for image in found if labels.get(image["id"]) == image["target"]]
    return {image["id"]: image["values"] for image in found}


def _differences(rows: dict[str, dict]) -> dict[str, Interval]:
    """Every information map less Occlusion and RISE, image by image, on removal metrics: positive is better."""
    found: dict[str, Interval] = {}
    methods = list(dict.fromkeys(method for values in rows.values() for method in values))
    bootstrap = Bootstrap(list(rows))
    for one in (method for method in methods if method.startswith("pmi")):
        for other in ("occlusion", "rise"):
            for metric in PAIRED:
                pairs = [(values[one].get(metric), values[other].get(metric)) for values in rows.values()]
                differences = [np.nan if None in pair else pair[0] - pair[1] for pair in pairs]
                interval = bootstrap.mean(np.array(differences, dtype=float))
                if interval is not None:
                    found[f"{one} - {other}/{metric}"] = interval
    return found


def _write(arguments: argparse.Namespace, rows: dict[str, dict], figures: list) -> None:
    kept = [figure for figure in figures if figure.mean is not None]
    paired = _differences(rows)
    shown = " --photographs PATH" if arguments.photographs else ""
    result = {
        "command": f"python benchmarks/explanations.py {arguments.data}{shown} --limit {arguments.limit} "
        f"--metrics {arguments.metrics}",
        "machine": f"{os.cpu_count()} CPU cores ({platform.machine()}), no GPU",
        "seeds": [0],
        "images": len(rows),
        "figures": {f"{figure.method}/{figure.metric}": figure.mean for figure in kept},
        "intervals": {
            f"{figure.method}/{figure.metric}": [figure.low, figure.high] for figure in kept if figure.low is not None
        },
        "differences": {name: [found.mean, found.low, found.high] for name, found in paired.items()},
    }
    write_json(ROOT / "benchmarks" / "results" / f"explanations_{arguments.data}.json", result)


if __name__ == "__main__":
    run_program(main)
