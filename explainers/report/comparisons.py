"""Maps of several explainers beside the original, with what they cost and score, as the page takes them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from cae.canvas import opened_picture
from cae.csv_files import csv_rows
from cae.files import damaged, file_name, read_json
from explainers.explanation import Explanation
from explainers.metrics import CONTROL, HEADLINE, describe, localisation_words
from explainers.report.sprites import LADDER, Detail, grey_levels, reduced, sprite

MOST_PARTS = 12  # explanations of one image that are shown by a method which finds several
TRIED = 4  # images by which the detail is chosen
COSTS = {"evaluations": "images scored by the classifier for one map", "seconds": "wall time of one map"}


@dataclass
class ShownComparisons:
    """Folders of maps in the form that the page takes, with the pictures by key, and images that did not fit."""

    folders: list[dict[str, Any]] = field(default_factory=list)
    pictures: dict[str, str] = field(default_factory=dict)
    left_out: int = 0


@dataclass(frozen=True)
class _Image:
    """One explained image: its id, the original where it was kept, and the file of every method's map."""

    id: str
    original: Tensor | None
    maps: dict[str, Path]


def shown_comparisons(explanations: Path, classes: Sequence[str], limit: int | None, budget: int) -> ShownComparisons:
    """What ``compare`` and ``run`` left below ``explanations``, the folder ``compare`` first.

    Args:
        explanations: of the run.
        classes: names of the classes, where a folder does not say them.
        limit: images of each folder at most.
        budget: characters that maps and pictures may take.
    """
    places = [path.parent for path in sorted(explanations.glob("*/maps")) if not (path.parent / "facts.json").exists()]
    places.sort(key=lambda place: place.name != "compare")
    found = ShownComparisons()
    for number, place in enumerate(places):
        images = list(_images(place))
        if images:
            share = (budget - sum(map(len, found.pictures.values()))) // (len(places) - number)
            names = read_json(place / "classes.json", list) or classes
            _add(found, f"c{number}", place, images, names, limit, share)
    return found


def _images(place: Path) -> Iterator[_Image]:
    """Images of a folder, by the names of their files."""
    methods = sorted(path for path in (place / "maps").iterdir() if path.is_dir())
    stems = sorted({path.stem for method in methods for path in method.glob("*.safetensors")})
    for stem in stems:
        id, original = _original(place, stem)
        files = {method.name: method / f"{stem}.safetensors" for method in methods}
        yield _Image(id, original, {name: path for name, path in files.items() if path.exists()})


def _original(place: Path, stem: str) -> tuple[str, Tensor | None]:
    path = place / "images" / f"{stem}.png"
    if not path.exists():
        return str(read_json(place / "measures" / f"{stem}.json").get("id", stem)), None
    with opened_picture(path, "the command that wrote it draws it anew") as picture:
        id = json.loads(picture.text["id"])  # type: ignore[attr-defined]
        levels = np.asarray(picture, dtype=np.float32) / 255
    tensor = torch.from_numpy(levels)
    return str(id), tensor[None] if tensor.ndim == 2 else tensor.permute(2, 0, 1)


def _add(
    found: ShownComparisons,
    key: str,
    place: Path,
    images: Sequence[_Image],
    classes: Sequence[str],
    limit: int | None,
    budget: int,
) -> None:
    """One folder: its table, and as many of its images as fit."""
    wanted = images if limit is None else [images[n * len(images) // limit] for n in range(min(limit, len(images)))]
    detail, spent, entries = _fitting(wanted, classes, budget), 0, list[dict[str, Any]]()
    for number, image in enumerate(wanted):
        entry, pictures = _entry(f"{key}i{number}", image, classes, place, detail)
        size = sum(map(len, pictures.values())) + len(str(entry))
        if spent + size > budget:
            found.left_out += 1
            continue
        spent += size
        entries.append(entry)
        found.pictures |= pictures
    found.left_out += len(images) - len(wanted)
    methods = sorted({name for image in images for name in image.maps})
    found.folders.append({"name": place.name, "images": entries, "methods": methods, "table": _table(place)})


def _fitting(images: Sequence[_Image], classes: Sequence[str], budget: int) -> Detail:
    tried = images[:: max(1, len(images) // TRIED)]
    for detail in LADDER:
        sizes = [sum(map(len, _entry("", image, classes, None, detail)[1].values())) for image in tried]
        if 1.2 * sum(sizes) / len(sizes) * len(images) < budget:
            return detail
    return LADDER[-1]


def _entry(
    key: str, image: _Image, classes: Sequence[str], place: Path | None, detail: Detail
) -> tuple[dict[str, Any], dict[str, str]]:
    """An image with the maps of all methods, and what some of them show besides."""
    loaded = [(name, Explanation.load(path)) for name, path in image.maps.items()]
    maps = [_unit_map(one.attribution[0, 0]) for _, one in loaded]
    tiles = [values for values, _ in maps]
    methods = [
        {"tile": tile, "largest": largest, **_method(name, one, classes), **_parts(one, tiles)}
        for tile, ((name, one), (_, largest)) in enumerate(zip(loaded, maps, strict=True))
    ]
    # without loss: what lies between two values of a map is no value of it
    sheet = sprite(grey_levels(tiles, detail.side), None)
    entry: dict[str, Any] = {"key": key, "id": image.id, "maps": sheet.place(f"{key}m"), "methods": methods}
    pictures = {f"{key}m": sheet.data, **_add_images(entry, image.original, [one for _, one in loaded], detail)}
    if place is not None:
        _score(entry, place, image)
    return entry, pictures


def _method(name: str, one: Explanation, classes: Sequence[str]) -> dict[str, Any]:
    """What one method was asked, and what it cost."""
    target = int(one.target[0])
    return {
        "name": name,
        "signed": bool((one.attribution < 0).any()),
        "target": classes[target] if target < len(classes) else f"class {target}",
        "probability": round(float(one.probabilities[0, target]), 4),
        "evaluations": int(one.evaluations[0]),
        "seconds": round(one.seconds, 3),
    }


def _add_images(
    entry: dict[str, Any], original: Tensor | None, explanations: Sequence[Explanation], detail: Detail
) -> dict[str, str]:
    """The original and the pictures that methods show, as one picture by its key; notes in the entry which is which."""
    pictured = [_picture(one) for one in explanations]
    kept = [tile for tile in (original, *pictured) if tile is not None]
    if not kept:
        return {}
    channels = max(len(tile) for tile in kept)
    stacked = torch.stack([tile.expand(channels, *tile.shape[1:]) for tile in kept])
    shown = sprite(reduced(stacked, detail.side), detail.quality)
    key, numbers = f"{entry['key']}o", iter(range(len(kept)))
    entry["originals"] = shown.place(key)
    entry["original_tile"] = next(numbers) if original is not None else None
    for method, tile in zip(entry["methods"], pictured, strict=True):
        if tile is not None:
            method["picture_tile"] = next(numbers)
    return {key: shown.data}


def _unit_map(values: Tensor) -> tuple[Tensor, float]:
    """A map ``(H, W)`` with 0 at the middle of [0, 1] and its largest size at an end, and that size."""
    finite = torch.nan_to_num(values.float(), 0.0, 0.0, 0.0)
    largest = float(finite.abs().max())
    return (finite / (largest or 1.0)) * (127 / 255) + 128 / 255, largest


def _parts(one: Explanation, tiles: list[Tensor]) -> dict[str, Any]:
    """Single explanations of a method that finds several: their masks as further tiles, and what is known of each."""
    extras = one.extras[0]
    masks = extras.get("masks")
    if not isinstance(masks, Tensor) or masks.ndim != 3 or not len(masks):
        return {}
    parts = []
    for number, mask in enumerate(masks[:MOST_PARTS]):
        parts.append(
            {
                "tile": len(tiles),
                "size": round(float(mask.float().mean()), 4),
                "confidence": _number(extras.get("confidences"), number),
                "without": _number(extras.get("complement_confidences"), number),
            }
        )
        tiles.append(mask.float())
    return {"parts": parts, "found": len(masks)}


def _number(values: Any, place: int) -> float | None:
    return round(float(values[place]), 4) if values is not None and values[place] is not None else None


def _picture(one: Explanation) -> Tensor | None:
    """The picture ``(C, H, W)`` that a method shows in place of a map, in [0, 1]."""
    picture = one.extras[0].get("explanation")
    return picture.clamp(0, 1) if isinstance(picture, Tensor) and picture.ndim == 3 else None


def _score(entry: dict[str, Any], place: Path, image: _Image) -> None:
    """Scores of each map, where they were measured."""
    values = read_json(place / "measures" / f"{file_name(image.id)}.json").get("values", {})
    for method in entry["methods"]:
        row = values.get(method["name"], {})
        method["scores"] = {name: row[name] for name in HEADLINE if isinstance(row.get(name), float)}


def _table(place: Path) -> dict[str, Any] | None:
    """The main figures of all methods, the control among them, with intervals; None where nothing was measured."""
    figures = read_json(place / "table.json", list)
    if not figures:
        return None
    shown = [
        name for name in HEADLINE if name not in COSTS and any(f["metric"] == name and f["count"] for f in figures)
    ]
    cells = {(f["method"], f["metric"]): f for f in figures}
    methods = list(dict.fromkeys(f["method"] for f in figures))
    costs = _costs(place / "costs.csv")
    columns = [{"name": name, "words": describe(name).words, "better": describe(name).better} for name in shown]
    columns += [{"name": name, "words": words, "better": "low"} for name, words in COSTS.items()]
    rows = []
    for method in methods:
        values = [_cell(cells.get((method, name))) for name in shown]
        values += [_cost(costs.get((method, name))) for name in COSTS]
        rows.append({"method": method, "control": method == CONTROL, "cells": values})
    images = max(f["count"] + f["undefined"] for f in figures)
    masks = localisation_words(((f["metric"], f["count"]) for f in figures), images)
    return {"columns": columns, "rows": rows, "images": images, "masks": masks}


def _cell(figure: dict[str, Any] | None) -> dict[str, Any]:
    if figure is None or figure["mean"] is None:
        return {"value": None, "text": "–", "interval": "", "best": False}
    text = f"{figure['mean']:.3f}"
    between = ""
    if figure["low"] is not None and figure["high"] is not None:
        between = f"{figure['low']:.3f} to {figure['high']:.3f}"
    return {"value": figure["mean"], "text": text, "interval": between, "best": figure["best"]}


def _cost(values: list[float] | None) -> dict[str, Any]:
    mean = sum(values) / len(values) if values else None
    text = "–" if mean is None else f"{mean:,.0f}" if mean >= 100 else f"{mean:.3g}"
    return {"value": mean, "text": text, "interval": "", "best": False}


def _costs(path: Path) -> dict[tuple[str, str], list[float]]:
    found: dict[tuple[str, str], list[float]] = {}
    if path.exists():
        with damaged(path, "CSV", "the command that wrote it makes it anew"):
            for row in csv_rows(path):
                for name in COSTS:
                    found.setdefault((row["method"], name), []).append(float(row[name]))
    return found
