"""One photograph explained by MultiReX, its masks checked, and whether two disjoint explanations exist at all."""

from __future__ import annotations

import csv
import hashlib
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from cae.classifiers import TargetClassifier
from cae.files import atomic_path, read_json, write_json
from explainers.multirex import MultiReX
from explainers.multirex.coarse_pairs import coarse_cells, disjoint_pairs, unions
from explainers.superpixels import superpixels

SIDE = 224
MOST_REGIONS = 9  # of which all unions are tried in the search for two disjoint sufficient parts


class Remembering(MultiReX):
    """MultiReX that never scores the same pixels twice, and measures the time of the classifier alone."""

    memory: dict[bytes, np.ndarray]
    forward_seconds: float = 0.0

    def score(self, images: Tensor) -> Tensor:
        """Probabilities, from memory where they are known."""
        keys = [hashlib.blake2b(image.numpy().tobytes(), digest_size=12).digest() for image in images]
        fresh = [place for place, key in enumerate(keys) if key not in self.memory]
        if fresh:
            started = time.perf_counter()
            rows = super().score(images[fresh])
            self.forward_seconds += time.perf_counter() - started
            self.memory.update({keys[place]: row.numpy() for place, row in zip(fresh, rows, strict=True)})
        return torch.from_numpy(np.stack([self.memory[key] for key in keys]))


def photographs(folder: Path) -> Iterator[tuple[str, Tensor, int]]:
    """Names, centre-cropped squares and classes of the photographs of a folder, in the order of its ``labels.csv``."""
    with (folder / "labels.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        picture = Image.open(folder / row["file"]).convert("RGB")
        yield Path(row["file"]).stem, square(picture), int(row["class_index"])


def square(picture: Image.Image) -> Tensor:
    """``(3, 224, 224)`` in [0, 1]: short side resized (bicubic), centre cropped."""
    scale = SIDE / min(picture.size)
    size = (max(SIDE, round(picture.width * scale)), max(SIDE, round(picture.height * scale)))
    picture = picture.resize(size, Image.Resampling.BICUBIC)
    left, top = (size[0] - SIDE) // 2, (size[1] - SIDE) // 2
    array = np.asarray(picture.crop((left, top, left + SIDE, top + SIDE))).copy()
    return torch.from_numpy(array).permute(2, 0, 1).float() / 255


def predicted(name: str, image: Tensor, classifier: Callable[[], TargetClassifier], work: Path) -> int:
    """The class that the classifier sees, kept in the folder of work; it is called for where that is not known yet."""
    known = read_json(work / "predictions.json")
    if name not in known:
        with torch.inference_mode():
            known[name] = int(classifier().probabilities(image[None]).argmax())
        write_json(work / "predictions.json", known)
    return int(known[name])


def explain(
    path: Path, key: str, image: Tensor, classifier: TargetClassifier, *, seed: int = 0, **options: Any
) -> dict[str, Any]:
    """Figures of one setting for one photograph; those that are in the file already are left alone.

    Args:
        path: of the photograph's JSON; what the classifier said is kept beside it.
        key: of the setting in that file.
        image: ``(3, H, W)``.
        classifier: that is explained.
        seed: of the search.
        options: of MultiReX.
    """
    results = read_json(path)
    if key not in results:
        explainer = Remembering(classifier, **options)
        with remembered(path) as explainer.memory:
            found = explainer(image[None], seed=seed)
        results[key] = _figures(found.extras[0]) | _checked(found, explainer, image)
        write_json(path, results)
        run = results[key]
        print(f"{key} {path.stem}: {run['count']} explanations, {run['evaluations']} evaluations", flush=True)
    return results[key]


@contextmanager
def remembered(path: Path) -> Iterator[dict[bytes, np.ndarray]]:
    """What the classifier said of a photograph, read from beside its JSON and written back at the end."""
    path = path.with_suffix(".npz")
    memory: dict[bytes, np.ndarray] = {}
    if path.exists():
        with np.load(path) as kept:
            memory = {bytes.fromhex(key): row for key, row in zip(kept["keys"].tolist(), kept["rows"], strict=True)}
    known = len(memory)
    yield memory
    if len(memory) > known:
        with atomic_path(path) as temporary:
            np.savez(temporary, keys=np.array([key.hex() for key in memory]), rows=np.stack(list(memory.values())))


def search_pairs(
    path: Path, image: Tensor, classifier: TargetClassifier, thresholds: Sequence[float], judges: Sequence[str]
) -> None:
    """Whether two disjoint parts keep the class, by trying every union of the regions of each judge (``REGIONS``)."""
    results = read_json(path)
    pairs = results.setdefault("pairs", {})
    for judge in (judge for judge in judges if judge not in pairs):
        with remembered(path) as memory:
            shares = shares_of_unions(image, REGIONS[judge](image), classifier, memory)
        pairs[judge] = {
            f"{threshold:g}": bool(disjoint_pairs([code for code, share in shares.items() if share >= threshold]))
            for threshold in thresholds
        }
        write_json(path, results)
        print(f"{judge}, {path.stem}: two exist: {pairs[judge]}", flush=True)


def shares_of_unions(
    image: Tensor, regions: Tensor, classifier: TargetClassifier, memory: dict[bytes, np.ndarray]
) -> dict[int, float]:
    """For each union of regions that keeps the class the share of its probability that is kept.

    Args:
        image: ``(3, H, W)``.
        regions: ``(H, W)`` int64, numbers from 0 on.
        classifier: that is asked.
        memory: of what it has said.

    Returns:
        By code of the union, whose bit k stands for region k.
    """
    scorer = Remembering(classifier, batch_size=1)
    scorer.memory = memory
    whole = scorer.score(image[None])[0]
    target = int(whole.argmax())
    mean_colour = classifier.preprocess.mean.reshape(-1, 1, 1)
    kept = {}
    for code in range(1, 2 ** (int(regions.max()) + 1) - 1):
        shown = torch.where(unions(regions, [code]), image, mean_colour)
        scores = scorer.score(shown[None])[0]
        if int(scores.argmax()) == target:
            kept[code] = float(scores[target] / whole[target])
    return kept


def few_superpixels(image: Tensor) -> Tensor:
    """``(H, W)`` numbers of nine superpixels or fewer."""
    counts = range(MOST_REGIONS, 0, -1)
    return next(regions for count in counts if int((regions := superpixels(image, count)).max()) < MOST_REGIONS)


REGIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "cells": lambda image: coarse_cells((image.shape[1], image.shape[2])),
    "superpixels": few_superpixels,
}


def _figures(extras: Any) -> dict[str, Any]:
    return {
        "count": extras["count"],
        "status": extras["status"],
        "ran_out": extras["ran_out"],
        "pixels": extras["pixels"],
        "confidences": extras["confidences"],
        "finest": [certificate["finest"] for certificate in extras["certificates"]],
        "evaluations": extras["evaluations"]["total"],
        "stages": extras["evaluations"],
    }


def _checked(found: Any, explainer: Remembering, image: Tensor) -> dict[str, Any]:
    """Every mask scored again from scratch, alone: does it keep the class, and are the masks disjoint?"""
    masks = found.extras[0]["masks"]
    mean_colour = explainer.classifier.preprocess.mean.reshape(-1, 1, 1)
    holds = []
    for mask in masks:
        shown = torch.where(mask, image, mean_colour)[None]
        probabilities = explainer.classifier.probabilities(shown)[0]
        whole = float(found.probabilities[0, found.target[0]])
        enough = float(probabilities[found.target[0]]) >= explainer.threshold * whole - 1e-5
        holds.append(bool(int(probabilities.argmax()) == int(found.target[0]) and enough))
    return {"holds": holds, "disjoint": bool(int(masks.sum(0).max()) <= 1) if len(masks) else True}
