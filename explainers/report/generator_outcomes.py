"""What several generators of counterfactuals made of the same images, side by side, as the page takes it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from cae.canvas import opened_picture
from cae.errors import UserError
from cae.files import check_inside, damaged, read_json
from cae.generators.table import MEANINGS
from explainers.report.sprites import LADDER, Detail, reduced, sprite

LIST, FORMAT = "generators.json", "generators-1"  # of `explain.py compare-generators`
# pictures of an outcome by the page's name for each: what its file's name ends in
PICTURES = {"made": "", "end": "-end", "base": "-base", "evidence": "-evidence"}
BETTER = {"higher": "high", "lower": "low", "none": None}  # as the page's other tables have it
TRIED = 3  # images by which the detail is chosen


@dataclass
class ShownGenerators:
    """Folders of outcomes in the form that the page takes, the pictures by key, and images that did not fit."""

    folders: list[dict[str, Any]] = field(default_factory=list)
    pictures: dict[str, str] = field(default_factory=dict)
    left_out: int = 0


def generator_folders(explanations: Path) -> list[Path]:
    """Folders below ``explanations`` in which generators were compared."""
    return [path.parent for path in sorted(explanations.glob(f"*/{LIST}"))]


def shown_generators(explanations: Path, limit: int | None, budget: int) -> ShownGenerators:
    """What ``compare-generators`` left below ``explanations``.

    Args:
        explanations: of the run.
        limit: images of each folder at most, spread evenly.
        budget: characters that the pictures may take.

    Raises:
        UserError: if a list is damaged or of another version.
    """
    found, places = ShownGenerators(), generator_folders(explanations)
    for number, place in enumerate(places):
        share = (budget - sum(map(len, found.pictures.values()))) // (len(places) - number)
        _add(found, f"g{number}", place, limit, share)
    return found


def _listed(place: Path) -> dict[str, Any]:
    listed = read_json(place / LIST)
    if listed.get("format") != FORMAT:
        raise UserError(f"'{place / LIST}' is no list of this version (its format is {listed.get('format')}).")
    with damaged(place / LIST, "a list of outcomes", "`compare-generators` makes it anew"):
        for name in (*(image["file"] for image in listed["images"]), *(arm["folder"] for arm in listed["arms"])):
            check_inside(name)
    return listed


def _add(found: ShownGenerators, key: str, place: Path, limit: int | None, budget: int) -> None:
    """One folder: its table, and as many of its images as fit."""
    listed = _listed(place)
    images, arms = listed["images"], listed["arms"]
    wanted = images if limit is None else [images[n * len(images) // limit] for n in range(min(limit, len(images)))]
    detail, spent, entries = _fitting(place, wanted, arms, budget), 0, list[dict[str, Any]]()
    for number, image in enumerate(wanted):
        entry, data = _entry(f"{key}i{number}", place, image, arms, listed["classes"], detail)
        if data is None or spent + len(data) > budget:
            found.left_out += 1
            continue
        spent += len(data)
        entries.append(entry)
        found.pictures[entry["sprite"]["key"]] = data
    found.left_out += len(images) - len(wanted)
    described = [{key: arm[key] for key in ("name", "words", "control")} for arm in arms]
    folder = {"name": place.name, "images": entries, "arms": described, "baseline": listed["baseline"]}
    found.folders.append({**folder, "table": _table(place, arms)})


def _fitting(place: Path, images: Sequence[dict], arms: Sequence[dict], budget: int) -> Detail:
    tried = images[:: max(1, len(images) // TRIED)]
    for detail in LADDER:
        sizes = [len(_entry("", place, image, arms, (), detail)[1] or "") for image in tried]
        if sizes and 1.2 * sum(sizes) / len(sizes) * len(images) < budget:
            return detail
    return LADDER[-1]


def _entry(
    key: str, place: Path, image: Mapping[str, Any], arms: Sequence[dict], classes: Sequence[str], detail: Detail
) -> tuple[dict[str, Any], str | None]:
    """An image with the outcomes that are complete, and their pictures as one; None where nothing lies there yet."""
    entry = {key: image[key] for key in ("id", "label", "source", "target")} | {"key": key, "arms": []}
    tiles = [_read(place / "images" / f"{image['file']}.png")]
    for arm in arms:
        folder = place / "arms" / arm["folder"]
        outcome = read_json(folder / f"{image['file']}.json")
        if outcome:
            entry["arms"].append(
                {"name": arm["name"], **_said(outcome, classes), **_tiles(folder, image["file"], tiles)}
            )
    if not entry["arms"]:
        return entry, None
    shown = sprite(reduced(_same(tiles), detail.side), detail.quality)
    entry["sprite"] = shown.place(f"{key}s")
    return entry, shown.data


def _said(outcome: Mapping[str, Any], classes: Sequence[str]) -> dict[str, Any]:
    """What classifier and oracle see in the counterfactual and at the path's end: class and probability."""
    values = outcome["values"]
    return {
        "found": outcome["found"],
        "seconds": values.get("seconds"),
        "made": {"classifier": _best(outcome, "probabilities", classes),
                 "oracle": _best(outcome, "oracle_probabilities", classes)},
        "end": {"classifier": _best(outcome, "end_probabilities", classes),
                "oracle": _best(outcome, "end_oracle_probabilities", classes)},
    }  # fmt: skip


def _best(outcome: Mapping[str, Any], name: str, classes: Sequence[str]) -> list[Any] | None:
    row = outcome.get(name)
    if not row or not classes:
        return None
    best = max(range(len(row)), key=row.__getitem__)
    return [classes[best], round(row[best], 4)]


def _tiles(folder: Path, file: str, tiles: list[Tensor]) -> dict[str, int]:
    """Add the pictures of an outcome that there are; which tile is which."""
    numbers = {}
    for name, suffix in PICTURES.items():
        path = folder / f"{file}{suffix}.png"
        if path.exists():
            numbers[f"{name}_tile"] = len(tiles)
            tiles.append(_read(path))
    return numbers


def _read(path: Path) -> Tensor:
    """A picture as ``(C, H, W)`` in [0, 1]."""
    with opened_picture(path, "`compare-generators` makes it anew") as opened:
        levels = torch.from_numpy(np.asarray(opened.convert("L" if opened.mode == "L" else "RGB"), np.float32) / 255)
    return levels[None] if levels.ndim == 2 else levels.permute(2, 0, 1)


def _same(tiles: Sequence[Tensor]) -> Tensor:
    """Tiles of one size and one number of channels, those of the first and the most."""
    channels, size = max(len(tile) for tile in tiles), tiles[0].shape[1:]
    resized = (
        F.interpolate(tile[None], size=size, mode="nearest")[0] if tile.shape[1:] != size else tile for tile in tiles
    )
    return torch.stack([tile.expand(channels, *size) for tile in resized])


def _table(place: Path, arms: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    """The figures of all arms over all images, with intervals; None where there are none yet."""
    figures = read_json(place / "table.json", list)
    if not figures:
        return None
    cells = {(figure["arm"], figure["metric"]): figure for figure in figures}
    names = list(dict.fromkeys(figure["metric"] for figure in figures))
    rows = [
        {
            "method": arm["name"],
            "control": arm["control"],
            "cells": [_cell(cells.get((arm["name"], name))) for name in names],
        }
        for arm in arms
    ]
    return {
        "columns": [_column(name) for name in names],
        "rows": rows,
        "images": max(figure["images"] for figure in figures),
    }


def _column(name: str) -> dict[str, Any]:
    """A column's name, what it says, and which direction is better; one of another version has its name alone."""
    words, better = MEANINGS.get(name, (name.replace("_", " "), "none"))
    return {"name": name, "words": words, "better": BETTER[better]}


def _cell(figure: Mapping[str, Any] | None) -> dict[str, Any]:
    if figure is None or figure["mean"] is None:
        return {"value": None, "text": "–", "interval": "", "best": False}
    low, high = figure.get("low"), figure.get("high")
    between = f"{low:.3f} to {high:.3f}" if low is not None and high is not None and low < high else ""
    return {"value": figure["mean"], "text": f"{figure['mean']:.3f}", "interval": between, "best": False}
