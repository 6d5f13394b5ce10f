"""Lines between class codes that ``explain.py manifold`` computed, as the map of the page takes them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from cae.manifold.class_manifold import ClassManifold
from cae.manifold.code_lines import CodeLines
from explainers.report.sprites import Sprite, reduced, sprite
from explainers.report.traversals import shown_classes

MOST_AXES = 8  # by which distances between codes are told
SIDES = (96, 64, 48)  # pixels, of a frame at most
QUALITY = 70  # of WebP
LEAST_ENDS = 2  # images between which there are lines


def read_lines(run: Path, manifold: ClassManifold) -> CodeLines | None:
    """The lines of a run; None where there are none, or they lie between images of another manifold.

    Raises:
        UserError: if the file is damaged.
    """
    path = run / "explanations" / "manifold" / "lines.safetensors"
    lines = CodeLines.load(path) if path.exists() else None
    return lines if lines is not None and set(lines.ids) <= set(manifold.ids) else None


def principal_coordinates(codes: Tensor, manifold: ClassManifold) -> list[list[float]]:
    """Codes ``(N, D)`` along the first principal axes of the manifold, in standard deviations of the codes."""
    points = manifold.points
    axes = torch.linalg.svd(points - points.mean(0), full_matrices=False).Vh[:MOST_AXES]
    placed = codes.double() / manifold.std.double() @ axes.mT
    return [[round(value, 2) for value in row] for row in placed.tolist()]


def shown_lines(
    lines: CodeLines, ids: Sequence[str], classes: Sequence[str], budget: int
) -> tuple[list[dict[str, Any]], dict[str, str]]:
    """Lines and their pictures by key: all as large as they fit, else those between fewer images.

    Args:
        lines: of the run.
        ids: of the points on the map, among them all ends of lines.
        classes: names.
        budget: characters that the pictures may take.
    """
    place = {id: number for number, id in enumerate(ids)}
    for kept, side in _ways(len(lines.ids)):
        chosen = [row for row, pair in enumerate(lines.pairs.tolist()) if max(pair) < kept]
        frames = [_sprite(lines.images[row], side) for row in chosen]
        if sum(frame.bytes for frame in frames) <= budget:
            break
    else:
        return [], {}
    made = []
    for row, frame in zip(chosen, frames, strict=True):
        start, end = lines.pairs[row].tolist()
        seen = lines.probabilities[row]
        shown = shown_classes(seen, int(seen[0].argmax()), int(seen[-1].argmax()))
        made.append({
            "sprite": frame.place(f"l{row}"), "from": place[lines.ids[start]], "to": place[lines.ids[end]],
            "classes": [classes[k] for k in shown],
            "classifier": [[round(value, 4) for value in one] for one in seen[:, shown].tolist()],
        })  # fmt: skip
    return made, {f"l{row}": frame.data for row, frame in zip(chosen, frames, strict=True)}


def _ways(ends: int) -> Iterator[tuple[int, int]]:
    """How many images lines are shown between, and how large: all of them in every size, then fewer in the smallest."""
    yield from ((ends, side) for side in SIDES)
    yield from ((kept, SIDES[-1]) for kept in range(ends - 1, LEAST_ENDS - 1, -1))


def _sprite(frames: Tensor, side: int) -> Sprite:
    return sprite(reduced(frames.float() / 255, side), QUALITY)
