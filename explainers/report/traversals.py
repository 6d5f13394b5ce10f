"""Traversals as the page shows them: frames of each path, what classifier and oracle say of them, and the evidence."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from cae.classifiers.batched import batched_probabilities
from cae.counterfactuals.result import Counterfactual
from cae.tables.index import IndexRow, read_index
from explainers.report.sprites import LADDER, Detail, Sprite, picture_file, reduced, sprite

Probabilities = Callable[[Tensor], Tensor]  # from images (B, C, H, W) to (B, K)

BARS = 8  # classes whose probability is shown at most
TRIED = 6  # traversals by which the detail is chosen
NUMBERS = {
    "boundary": "position of the boundary on the path",
    "margin": "lead of the target where the answer changes",
    "l1": "mean absolute change there",
    "changed_share": "pixels changed there by more than 0.05",
    "end_l1": "mean absolute change at the path's end",
    "end_changed_share": "pixels changed at the path's end",
    "end_cout": "COUT at the path's end, from -1 to 1",
    "oracle_gain": "rise of the oracle's probability of the target",
    "end_dice": "Dice of evidence and known mask",
    "sign_changes": "crossings of the boundary",
    "classifier_evaluations": "images classified in the search",
    "seconds": "seconds of search",
}


@dataclass(frozen=True)
class ResultSet:
    """One folder of results of ``traverse``: its name, place and rows."""

    name: str
    folder: Path
    rows: Sequence[IndexRow]


@dataclass
class Shown:
    """Traversals in the form that the page takes, and their pictures by key.

    Attributes:
        entries: one for each row that is shown.
        pictures: base64 text of each picture by its key.
        starts: class code of each original by the key of its entry, where it was saved.
        paths: class codes ``(P, D)`` of each path by the key of its entry.
        left_out: rows that did not fit.
        detail: how finely the frames are kept; None where there are none.
    """

    entries: list[dict[str, Any]] = field(default_factory=list)
    pictures: dict[str, str] = field(default_factory=dict)
    starts: dict[str, Tensor] = field(default_factory=dict)
    paths: dict[str, Tensor] = field(default_factory=dict)
    left_out: int = 0
    detail: Detail | None = None


def result_sets(explanations: Path) -> list[ResultSet]:
    """Every folder below ``explanations`` that holds results of ``traverse``, that of the default name first.

    Raises:
        UserError: if an index is damaged or of another version.
    """
    found = [
        ResultSet(path.parent.name, path.parent, rows)
        for path in sorted(explanations.glob("*/index.parquet"))
        if (rows := read_index(path))
    ]
    return sorted(found, key=lambda one: one.name != "traverse")


def spread(sets: Sequence[ResultSet], limit: int | None) -> list[tuple[ResultSet, IndexRow]]:
    """Rows to show: images of all sets by their place; of more than ``limit`` images, those spread evenly over it."""
    rows = [(one, row) for one in sets for row in one.rows]
    ids = list(dict.fromkeys(row.id for _, row in sorted(rows, key=lambda pair: pair[1].image)))
    if limit is not None and len(ids) > limit:
        ids = [ids[place * len(ids) // limit] for place in range(limit)]
    rank = {id: place for place, id in enumerate(ids)}
    return sorted((pair for pair in rows if pair[1].id in rank), key=lambda pair: rank[pair[1].id])


def shown_traversals(
    chosen: Sequence[tuple[ResultSet, IndexRow]],
    oracle: Probabilities | None,
    budget: int,
    ladder: Sequence[Detail] = LADDER,
) -> Shown:
    """Traversals within a budget: in the finest detail in which all of them fit, else as many as fit in the coarsest.

    Args:
        chosen: rows to show, with their sets.
        oracle: the run's second classifier, or None.
        budget: characters that pictures and entries may take.
        ladder: details to choose from, the finest first.
    """
    detail = _fitting(chosen, budget, ladder)
    found = Shown(detail=detail)
    spent = 0
    for number, (one, row) in enumerate(chosen):
        key = f"t{number}"
        made = _entry(key, one, row, detail, oracle)
        size = sum(map(len, made.pictures.values())) + 12 * len(str(made.entry)) // 10
        if spent + size > budget:
            found.left_out += 1
            continue
        spent += size
        found.entries.append(made.entry)
        found.pictures |= made.pictures
        if made.codes is not None:
            found.starts[key] = made.codes[0]
            if len(made.codes) > 1:
                found.paths[key] = made.codes
    return found


def _fitting(chosen: Sequence[tuple[ResultSet, IndexRow]], budget: int, ladder: Sequence[Detail]) -> Detail:
    """The finest detail in which a few traversals, spread over all, say that all will fit; the coarsest at worst."""
    step = max(1, len(chosen) // TRIED)
    tried = [made for one, row in chosen[::step] if (made := _saved(one, row)) is not None]
    if not tried:
        return ladder[0]
    for detail in ladder:
        mean = sum(_frames(result, detail)[0].bytes for result in tried) / len(tried)
        if 1.1 * mean * len(chosen) < budget:  # a tenth for entries, and for those that are larger
            return detail
    return ladder[-1]


@dataclass(frozen=True)
class _Made:
    entry: dict[str, Any]
    pictures: dict[str, str]
    codes: Tensor | None


def _saved(one: ResultSet, row: IndexRow) -> Counterfactual | None:
    path = one.folder / row.tensors if row.tensors else None
    return Counterfactual.load(path) if path is not None and path.exists() else None


def _entry(key: str, one: ResultSet, row: IndexRow, detail: Detail, oracle: Probabilities | None) -> _Made:
    """One row as the page takes it: with its path where it was saved, else with the pictures that were drawn of it."""
    entry = _described(key, one, row)
    result = _saved(one, row)
    if result is None:
        pictures = dict(_drawn(key, one, row, entry))
        return _Made(entry, pictures, None)
    frames, path = _frames(result, detail)
    entry |= {"sprite": frames.place(key), **_path_entry(result, path, oracle)}
    ends = (0, -1) if path.straight else tuple(torch.linspace(0, len(result.tau) - 1, 7).long().unique().tolist())
    return _Made(entry, {key: frames.data}, result.path_codes[list(ends)] if result.has_path else result.path_codes[:1])


def _described(key: str, one: ResultSet, row: IndexRow) -> dict[str, Any]:
    """What the index knows of a row."""
    numbers = [[words, value] for name, words in NUMBERS.items() if (value := getattr(row, name, None)) is not None]
    return {
        "key": key, "set": one.name, "id": row.id, "label": row.label, "source": row.source, "target": row.target,
        "status": row.status, "reason": row.reason, "references": row.references,
        "wrong": row.label is not None and row.label != row.source,
        "oracle": {"original": row.oracle_source, "boundary": row.oracle, "end_agrees": row.oracle_end_agrees},
        "numbers": numbers, "dice": row.end_dice,
    }  # fmt: skip


@dataclass(frozen=True)
class _Path:
    """Frames ``(F, C, H, W)`` at ``tau``, with the classifier's ``probabilities (F, K)``; where the boundary is."""

    images: Tensor
    tau: Tensor
    probabilities: Tensor
    boundary: int | None
    straight: bool


def path_frames(result: Counterfactual, most: int) -> _Path:
    """At most ``most`` points of the path, its ends among them, and the counterfactual at its place between them."""
    count = len(result.tau)
    wanted = max(2, most - result.found)
    rows = torch.linspace(0, count - 1, min(count, wanted)).round().long().unique()
    tau, images = result.tau[rows].double(), result.path_images[rows]
    probabilities = result.path_probabilities[rows]
    boundary = None
    if result.counterfactual is not None and result.boundary is not None and result.boundary_probabilities is not None:
        boundary = int((tau < result.boundary).sum())
        same = boundary < len(tau) and abs(float(tau[boundary]) - result.boundary) < 1e-9
        after = boundary + same
        tau = torch.cat([tau[:boundary], tau.new_tensor([result.boundary]), tau[after:]])
        images = torch.cat([images[:boundary], result.counterfactual[None], images[after:]])
        probabilities = torch.cat(
            [probabilities[:boundary], result.boundary_probabilities[None], probabilities[after:]]
        )
    straight = count < 3 or _is_straight(result.path_codes)
    return _Path(images, tau, probabilities, boundary, straight)


def _is_straight(codes: Tensor) -> bool:
    whole = (codes[-1] - codes[0]).norm()
    length = (codes[1:] - codes[:-1]).norm(dim=1).sum()
    return bool(length <= whole * 1.001 + 1e-9)


def _frames(result: Counterfactual, detail: Detail) -> tuple[Sprite, _Path]:
    """Frames of the path, then the original where the path does not start at it, then the evidence where there is."""
    path = path_frames(result, detail.frames)
    tiles = [path.images]
    if result.output == "decoded":
        tiles.append(result.original[None])
    if result.evidence is not None:
        evidence = result.evidence / result.evidence.max().clamp_min(1e-12)
        tiles.append(evidence.expand(path.images.shape[1:])[None])
    return sprite(reduced(torch.cat(tiles), detail.side), detail.quality), path


def _path_entry(result: Counterfactual, path: _Path, oracle: Probabilities | None) -> dict[str, Any]:
    frames = len(path.images)
    seen = path.probabilities if oracle is None else torch.cat([path.probabilities, oracle(path.images)])
    shown = shown_classes(seen, result.source, result.target)
    probabilities = [[round(float(p), 4) for p in row] for row in seen[:, shown]]
    decoded = result.output == "decoded"
    return {
        "classes": [result.classes[k] for k in shown],
        "tau": [round(float(position), 5) for position in path.tau],
        "classifier": probabilities[:frames],
        "oracle_path": probabilities[frames:] if oracle is not None else None,
        "boundary": path.boundary,
        "original_tile": frames if decoded else 0,
        "evidence_tile": frames + decoded if result.evidence is not None else None,
        "output": result.output,
    }


def shown_classes(probabilities: Tensor, source: int, target: int) -> list[int]:
    """Classes whose bars are shown: source, target, then those that are ever most probable, ``BARS`` at most."""
    others = probabilities.max(0).values.argsort(descending=True).tolist()
    return list(dict.fromkeys([source, target, *others]))[:BARS]


def _drawn(key: str, one: ResultSet, row: IndexRow, entry: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Pictures of a row whose path was not saved: the strip, or the images that were."""
    names = {"strip": row.strip} if row.strip and (one.folder / row.strip).exists() else {
        "counterfactual": row.counterfactual_image, "path's end": row.end_image, "evidence": row.evidence_image,
    }  # fmt: skip
    entry["pictures"] = []
    for place, (words, name) in enumerate(names.items()):
        if name and (one.folder / name).exists():
            data, width, height = picture_file(one.folder / name)
            entry["pictures"].append({"key": f"{key}p{place}", "words": words, "width": width, "height": height})
            yield f"{key}p{place}", data


def oracle_probabilities(oracle: Any, batch_size: int) -> Probabilities:
    """The probabilities of a second classifier, in batches."""

    return partial(batched_probabilities, oracle, batch_size=batch_size)
