"""The map of the classes: codes of training images and of explained ones in the plane, with small pictures of them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from cae.csv_files import csv_rows
from cae.errors import UserError
from cae.files import damaged, read_tensors
from cae.manifold.class_manifold import ClassManifold
from cae.manifold.image_codes import sampled_rows
from cae.manifold.projection import embed
from explainers.report.shown_lines import principal_coordinates, read_lines, shown_lines
from explainers.report.sprites import reduced, sprite
from explainers.report.traversals import Shown

MOST_POINTS = 1000  # training codes on the map
MOST_LISTED = 60  # outliers and likely label errors that are listed
THUMBNAIL_SIDES = (48, 32)  # pixels, of the small pictures
THUMBNAIL_QUALITY = 70
SHEET = 240  # small pictures in one sprite
LEAST_CODES = 4


@dataclass(frozen=True)
class Room:
    """Characters that small pictures, and frames of lines between codes, may take."""

    thumbnails: int
    lines: int


@dataclass
class ShownMap:
    """The map in the form that the page takes, and its pictures by key."""

    content: dict[str, Any] = field(default_factory=dict)
    pictures: dict[str, str] = field(default_factory=dict)


def shown_map(
    run: Path, manifold: ClassManifold, traversals: Shown, methods: Sequence[str], seed: int, room: Room
) -> ShownMap:
    """Training codes and those of the explained images, laid out by every method.

    Args:
        run: folder of the run, in which lists and small pictures of ``explain.py manifold`` may lie.
        manifold: codes of the training images.
        traversals: with the codes of their originals and paths.
        methods: ``pca``, ``tsne``, ``umap``.
        seed: of the sample, of t-SNE and UMAP.
        room: that the pictures may take.
    """
    lists = {name: _listed(run / "explanations" / "manifold" / f"{name}.csv") for name in ("label_issues", "outliers")}
    medoids = [found.medoid for k in range(len(manifold.classes)) if (found := manifold.prototypes(k)) is not None]
    lines = read_lines(run, manifold)
    ends = [] if lines is None else [manifold.ids.index(id) for id in lines.ids]
    rows = _sample(manifold, lists, [*medoids, *ends], seed)
    width = manifold.codes.shape[1]
    starts = _starts(traversals, width)
    codes = torch.cat([manifold.codes[rows], *(code[None] for code in starts.values())])
    if len(codes) < LEAST_CODES:
        return ShownMap()
    content: dict[str, Any] = {
        "points": _training_points(manifold, rows, lists, set(medoids), set(ends))
        + _explained_points(traversals, starts),
        "layouts": _layouts(manifold, codes, methods, seed),
        "paths": _paths(manifold, traversals, codes, seed),
        "places": principal_coordinates(codes, manifold),
        "ends": _ends(manifold, traversals),
        "lists": lists,
        "classes": list(manifold.classes),
    }
    ids = [manifold.ids[row] for row in rows.tolist()]
    pictures = _thumbnails(run, ids, room.thumbnails, content)
    if lines is not None:
        content["lines"], frames = shown_lines(lines, ids, manifold.classes, room.lines)
        pictures |= frames
    return ShownMap(content, pictures)


def _sample(manifold: ClassManifold, lists: Mapping[str, list[dict]], medoids: Sequence[int], seed: int) -> Tensor:
    """Rows of the manifold on the map: a sample, with all prototypes and all images on the lists."""
    listed = {entry["id"] for entries in lists.values() for entry in entries if entry.get("split") == "train"}
    named = [row for row, id in enumerate(manifold.ids) if id in listed]
    sample = sampled_rows(len(manifold), MOST_POINTS, seed).tolist()
    return torch.tensor(sorted({*sample, *named, *medoids}))


def _starts(traversals: Shown, width: int) -> dict[str, Tensor]:
    """Class code ``(width,)`` of each explained image, by its id; codes of another embedding are left out."""
    entries = {entry["key"]: entry["id"] for entry in traversals.entries}
    codes = reversed(traversals.starts.items())
    return {entries[key]: code for key, code in codes if len(code) == width}


def _training_points(
    manifold: ClassManifold, rows: Tensor, lists: Mapping[str, list[dict]], medoids: set[int], ends: set[int]
) -> list[dict[str, Any]]:
    marked = {name: {entry["id"] for entry in entries} for name, entries in lists.items()}
    points = []
    for row in rows.tolist():
        id, label, predicted = manifold.ids[row], int(manifold.labels[row]), int(manifold.predictions[row])
        marks = [name for name, ids in marked.items() if id in ids]
        points.append(
            {
                "id": id,
                "split": "train",
                "label": label,
                "prediction": predicted,
                "probability": round(float(manifold.probabilities[row, predicted]), 4),
                "marks": [name for name, of in (("prototype", medoids), ("line_end", ends)) if row in of] + marks,
            }
        )
    return points


def _explained_points(traversals: Shown, starts: Mapping[str, Tensor]) -> list[dict[str, Any]]:
    by_id: dict[str, list[dict]] = {}
    for entry in traversals.entries:
        by_id.setdefault(entry["id"], []).append(entry)
    points = []
    for id in starts:
        entry = next(one for one in by_id[id] if "classifier" in one)
        names = entry["classes"]
        points.append(
            {
                "id": id,
                "split": "explained",
                "label": entry["label"],
                "prediction": entry["source"],
                "probability": entry["classifier"][0][names.index(entry["source"])],
                "marks": [],
                "traversals": [one["key"] for one in by_id[id]],
            }
        )
    return points


def _layouts(manifold: ClassManifold, codes: Tensor, methods: Sequence[str], seed: int) -> list[dict[str, Any]]:
    found = []
    for method in methods:
        try:
            embedding = embed(codes, method, seed, train=manifold.codes if method == "pca" else None)
        except UserError:  # UMAP is not installed where the report is made
            continue
        found.append(
            {
                "method": method,
                "axes": embedding.axes,
                "trust": round(embedding.trustworthiness, 3),
                "xy": _rounded(embedding.coordinates),
            }
        )
    return found


def _paths(manifold: ClassManifold, traversals: Shown, codes: Tensor, seed: int) -> dict[str, list[list[float]]]:
    """Paths on the map of principal axes, the only one on which a line between codes is a line."""
    paths = {key: path for key, path in traversals.paths.items() if path.shape[1] == codes.shape[1]}
    if not paths:
        return {}
    lengths = [len(path) for path in paths.values()]
    flat = embed(torch.cat([*paths.values(), codes[:LEAST_CODES]]), "pca", seed, train=manifold.codes)
    parts = flat.coordinates[: sum(lengths)].split(lengths)
    return {key: _rounded(part) for key, part in zip(paths, parts, strict=True)}


def _ends(manifold: ClassManifold, traversals: Shown) -> dict[str, list[float]]:
    """Where each path ends, in the coordinates by which distances between codes are told."""
    ends = {key: path[-1] for key, path in traversals.paths.items() if path.shape[1] == manifold.codes.shape[1]}
    if not ends:
        return {}
    return dict(zip(ends, principal_coordinates(torch.stack([*ends.values()]), manifold), strict=True))


def _rounded(coordinates: Tensor) -> list[list[float]]:
    return [[round(float(x), 3), round(float(y), 3)] for x, y in coordinates]


def _listed(path: Path) -> list[dict[str, Any]]:
    """The first rows of a list that ``explain.py manifold`` wrote; none where it is not there."""
    if not path.exists():
        return []
    with damaged(path, "CSV", "`explain.py manifold` writes it anew"):
        rows = [dict(row) for row in csv_rows(path)[:MOST_LISTED]]
        if any("id" not in row for row in rows):
            raise ValueError("it has no column 'id'")
    return rows


def read_thumbnails(run: Path) -> dict[str, Tensor]:
    """Small pictures ``(C, h, w)`` uint8 of training images by id, as ``explain.py manifold`` keeps them."""
    path = run / "explanations" / "manifold" / "thumbnails.safetensors"
    if not path.exists():
        return {}
    with damaged(path, "small pictures", "`explain.py manifold` makes them anew"):
        tensors = read_tensors(path, "thumbnails")[1]
        ids = json.loads(bytes(tensors["ids"].tolist()))
        return dict(zip(ids, tensors["images"], strict=True))


def _thumbnails(run: Path, ids: Sequence[str], budget: int, content: dict[str, Any]) -> dict[str, str]:
    """Small pictures of training points, as many as fit; notes at each point which tile is its own."""
    known = read_thumbnails(run)
    places = [place for place, id in enumerate(ids) if id in known]
    if not places:
        return {}
    images = torch.stack([known[ids[place]] for place in places]).float() / 255
    for side in THUMBNAIL_SIDES:
        small = reduced(images, side)
        sheets = [sprite(part, THUMBNAIL_QUALITY) for part in small.split(SHEET)]
        if sum(sheet.bytes for sheet in sheets) <= budget:
            break
    else:
        content["thumbnails_left_out"] = len(places)
        return {}
    content["sheets"] = [sheet.place(f"map{number}") for number, sheet in enumerate(sheets)]
    for tile, place in enumerate(places):
        content["points"][place]["tile"] = [tile // SHEET, tile % SHEET]
    return {f"map{number}": sheet.data for number, sheet in enumerate(sheets)}
