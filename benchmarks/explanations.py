"""Compare the explainers on photographs (EfficientNet-Lite0), or on lesions with exact masks.

    python benchmarks/explanations.py lesions                     after benchmarks/pipeline.py --only lesions
    python benchmarks/explanations.py lesions --pretrained        the models that the package carries
    python benchmarks/explanations.py photographs --photographs PATH

PATH is a folder of images with ``labels.csv`` (columns file and class_index). Every photograph that the classifier has
right is explained. In-fills that are made from images never see the one explained: the photographs are two halves, each
explained with the other as background. The first half chooses the best in-fill, the second confirms it. ``--halves``
takes one of them at a time; the results of both are joined, as far as they have come.

Methods that only ask for scores get about the same number of evaluations. Random orders, and maps that know nothing of
the classifier, are in every table. Stopped, it goes on where it was. Results go to
``benchmarks/results/explanations_<data>.json`` and from there to ``docs/results``.
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks._machine import machine  # noqa: E402
from cae.classifiers import TargetClassifier  # noqa: E402 (the script also runs uninstalled)
from cae.config import Config  # noqa: E402
from cae.config.command_line import parse, run_program  # noqa: E402
from cae.data import ImageFiles  # noqa: E402
from cae.devices import device_of  # noqa: E402
from cae.errors import UserError  # noqa: E402
from cae.files import read_json, write_json  # noqa: E402
from cae.metrics.statistics import Bootstrap  # noqa: E402
from cae.runs.classifier_run import open_classifier  # noqa: E402
from cae.runs.run_config import explanation_config  # noqa: E402
from explainers.commands.compare import compare  # noqa: E402
from explainers.metrics import summarise  # noqa: E402
from explainers.metrics.summary import LEAST_IMAGES  # noqa: E402

FILLS = ("masked_blur", "gray", "blur", "marginal", "gaussian")
ONE_SIZE, WIDE = "pmi@one_size", "occlusion@wide"  # tell what the in-fill does from what the windows do
LESION_SCALES = "pmi@scales"
METHODS = {
    "lesions": (
        *(
            "cae",
            "pmi",
            LESION_SCALES,
            "ig",
            "occlusion",
            "rise",
            "lime",
            "integrated_gradients",
            "smoothgrad",
            "gradcam",
        ),
        *("random", "centre", "edges"),
    ),
    "photographs": (
        *(f"pmi@{fill}" for fill in FILLS),
        *("occlusion", "rise", "integrated_gradients", "gradcam", "random"),
        *(ONE_SIZE, WIDE),
    ),
}
PAIRED = ("deletion_infill_excess", "insertion_auc_excess", "deletion_auc_excess")
JUDGED = PAIRED[:2]  # by the sum of these the first half chooses an in-fill
RIVALS = ("occlusion", "rise", WIDE)
LIMITS = {"lesions": 120, "photographs": None}
# windows of three sizes, found to do better than one of 32 pixels on seven photographs of the first half
SCALES = "[[96,32,1],[64,32,1],[32,16,1]]"
# some 850 evaluations each on lesions, some 230 on photographs
OPTIONS = {
    "lesions": (
        *("occlusion.window=8", "occlusion.stride=2", "rise.masks=840", "lime.samples=840"),
        f"{LESION_SCALES}.scales=true",
    ),
    "photographs": (
        *("occlusion.window=32", "occlusion.stride=14", "rise.masks=231", "integrated_gradients.steps=20"),
        *(f"pmi@{fill}.sampler={fill}" for fill in FILLS),
        *(f"pmi@{fill}.scales={SCALES}" for fill in FILLS),
        *(f"{ONE_SIZE}.window=32", f"{ONE_SIZE}.stride=14", f"{WIDE}.window=64", f"{WIDE}.stride=12"),
    ),
}
Rows = dict[str, dict[str, dict[str, float | None]]]


@dataclass(frozen=True)
class Photographs:
    """What is known of a folder of photographs: the two halves of its files, and which of them have which class."""

    folder: Path
    labels: dict[str, int]

    @classmethod
    def read(cls, folder: Path) -> Photographs:
        """Read ``labels.csv``."""
        with (folder / "labels.csv").open(encoding="utf-8") as file:
            return cls(folder, {row["file"]: int(row["class_index"]) for row in csv.DictReader(file)})

    def half(self, number: int) -> list[str]:
        """Every other file, so that both halves hold all kinds of classes."""
        return list(self.labels)[number::2]


def main(argv: list[str]) -> None:
    """Compare, then summarise what counts."""
    arguments = _arguments(argv)
    photographs = Photographs.read(arguments.photographs) if arguments.data == "photographs" else None
    configs = [_config(arguments, half) for half in ((0, 1) if photographs else (None,))]
    for half in arguments.halves:
        if photographs:
            _link(photographs, half, configs[half])
        compare(configs[half])
    order = METHODS[arguments.data]
    parts = [_rows(config, photographs, order) for config in configs]
    _write(arguments, parts)


def _arguments(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", choices=list(METHODS))
    parser.add_argument("--photographs", type=Path, help="folder with images and labels.csv")
    parser.add_argument("--limit", type=int, help="images at most: by default 120 lesions, and all photographs")
    parser.add_argument("--metrics", default="core", choices=("quick", "core", "full"))
    parser.add_argument("--methods", nargs="+", help="only these of the methods for now; the others may join later")
    parser.add_argument("--pretrained", action="store_true", help="lesions: the models that the package carries")
    parser.add_argument("--halves", type=int, nargs="*", default=(0, 1), choices=(0, 1), help="of the photographs")
    parser.add_argument("--runs", default="runs/benchmarks")
    arguments = parser.parse_args(argv)
    if arguments.data == "photographs" and arguments.photographs is None:
        parser.error("photographs needs --photographs PATH")
    if arguments.data == "lesions":
        arguments.halves = (0,)
    elif arguments.pretrained:
        parser.error("--pretrained is for lesions")
    if arguments.limit is None:
        arguments.limit = LIMITS[arguments.data]
    return arguments


def _folders(runs: str, half: int) -> tuple[Path, Path]:
    """Folders of the photographs of a half that are explained, and of all those of the other half."""
    place = Path(runs) / "photographs"
    return place / f"half_{half}_right", place / f"half_{1 - half}"


def _link(photographs: Photographs, half: int, config: Config) -> None:
    """Link the photographs that the classifier has right into one folder, and the other half into another."""
    explained, background = _folders(config.runs, half)
    names = photographs.half(half)
    size, classifier = config.data.image_size, open_classifier(config, needs_data=False).classifier
    files = [ImageFiles(photographs.folder / name, size, config.data.channels, config.data.crop) for name in names]
    right = [name for name, file in zip(names, files, strict=True)
             if _verdict(classifier, file) == photographs.labels[name]]  # fmt: skip
    for folder, part in ((explained, right), (background, photographs.half(1 - half))):
        folder.mkdir(parents=True, exist_ok=True)
        for name in part:
            if not (folder / name).exists():
                (folder / name).symlink_to((photographs.folder / name).resolve())


@torch.inference_mode()
def _verdict(classifier: TargetClassifier, file: ImageFiles) -> int:
    return int(classifier.logits(file[0].image[None].to(device_of(classifier))).argmax())


def _config(arguments: argparse.Namespace, half: int | None) -> Config:
    recipe, name = ("lesions", "lesions-0") if half is None else ("imagenet", f"photographs-{half}")
    if arguments.pretrained:
        name = "lesions-pretrained"
    limit = arguments.limit
    if half is not None and limit is not None:
        limit = -(-limit // 2)
    methods = [name for name in METHODS[arguments.data] if name in (arguments.methods or METHODS[arguments.data])]
    options = [option for option in OPTIONS[arguments.data] if option.partition(".")[0] in methods]
    words = [
        "compare", str(ROOT / "configs" / f"{recipe}.yaml"), f"name={name}", f"runs={arguments.runs}",
        f"methods=[{','.join(methods)}]", f"explain.options={json.dumps(options)}",
        f"explain.metrics={arguments.metrics}", "explain.folder=benchmark",
        f"explain.limit={'null' if limit is None else limit}",
    ]  # fmt: skip
    if arguments.pretrained:
        words.append("pretrained=true")
    if half is not None:
        explained, background = _folders(arguments.runs, half)
        words += [f"explain.images={explained}", f"explain.background={background}", "classifier.runtime=onnx"]
        words += ["explain.batch_size=4"]  # small batches stay in the cache
    return explanation_config(parse(words, {"compare": ""}, "explanations.py"))


def _rows(config: Config, photographs: Photographs | None, order: tuple[str, ...]) -> Rows:
    """What was measured, by image; methods in this order, controls last."""
    folder = Path(config.runs) / config.name / "explanations" / str(config.explain.folder)
    found = [read_json(path) for path in sorted((folder / "measures").glob("*.json"))]
    if photographs:
        found = [image for image in found if photographs.labels[image["id"]] == image["target"]]
    place = {method: number for number, method in enumerate(order)}
    return {
        image["id"]: dict(sorted(image["values"].items(), key=lambda row: place.get(row[0], len(place))))
        for image in found
    }


def _differences(rows: Rows) -> dict[str, list[float]]:
    """Every information map less Occlusion and RISE, image by image, on removal metrics: positive is better.

    Only of pairs that share 30 images.
    """
    found: dict[str, list[float]] = {}
    bootstrap = Bootstrap(list(rows))
    methods = {method for values in rows.values() for method in values}
    for one in _information_maps(rows):
        for other in (rival for rival in RIVALS if rival in methods):
            for metric in PAIRED:
                pairs = [
                    (values.get(one, {}).get(metric), values.get(other, {}).get(metric)) for values in rows.values()
                ]
                differences = [np.nan if a is None or b is None else a - b for a, b in pairs]
                interval = bootstrap.mean(np.array(differences, dtype=float))
                if interval is not None and np.isfinite(differences).sum() >= LEAST_IMAGES:
                    found[f"{one} - {other}/{metric}"] = [interval.mean, interval.low, interval.high]
    return found


def _information_maps(rows: Rows) -> list[str]:
    methods = dict.fromkeys(method for values in rows.values() for method in values)
    return [method for method in methods if method.startswith("pmi")]


def _chosen(rows: Rows) -> str:
    """The information map with the largest sum of what it is judged by, mean over images."""

    def score(method: str) -> float:
        return sum(values.get(method, {}).get(metric) or 0.0 for values in rows.values() for metric in JUDGED)

    return max(_information_maps(rows), key=score)


def _write(arguments: argparse.Namespace, parts: list[Rows]) -> None:
    rows = {id: values for part in parts for id, values in part.items()}
    if not rows:
        raise UserError("nothing has been measured yet.")
    kept = [figure for figure in summarise(rows, resamples=2_000) if figure.mean is not None]
    result = {
        "command": _command(arguments),
        "machine": machine(),
        "seeds": [0],
        "images": len(rows),
        "counts": dict(Counter(method for values in rows.values() for method in values)),
        "figures": {f"{figure.method}/{figure.metric}": figure.mean for figure in kept},
        "intervals": {
            f"{figure.method}/{figure.metric}": [figure.low, figure.high] for figure in kept if figure.low is not None
        },
        "best": [f"{figure.method}/{figure.metric}" for figure in kept if figure.best],
        "differences": _differences(rows),
    }
    if len(parts) == 2 and all(parts):
        result["choice"] = {
            "chosen": _chosen(parts[0]),
            "images": [len(part) for part in parts],
            "development": _differences(parts[0]),
            "confirmation": _differences(parts[1]),
        }
    write_json(ROOT / "benchmarks" / "results" / f"explanations_{arguments.data}.json", result)


def _command(arguments: argparse.Namespace) -> str:
    words = f"python benchmarks/explanations.py {arguments.data}"
    if arguments.data == "photographs":
        words += " --photographs PATH"
    words += " --pretrained" if arguments.pretrained else ""
    if arguments.limit is not None:
        words += f" --limit {arguments.limit}"
    return f"{words} --metrics {arguments.metrics}"


if __name__ == "__main__":
    run_program(main)
