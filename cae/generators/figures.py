"""The picture of a comparison: one row an image, one column a generator, and under each what changed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import Tensor

from cae.canvas import (
    DIVERGING,
    FAINT,
    INK,
    OTHER,
    PAPER,
    TARGET,
    centred,
    colour_mapped,
    font,
    opened_picture,
    outline,
    save_png,
    tile,
    tile_size,
    wrapped,
)
from cae.files import read_json

MARGIN, GAP, HEAD, CAPTION = 14, 8, 40, 34  # pixels
FULL = 0.3  # change that is shown in full colour


@dataclass(frozen=True, eq=False)
class Shown:
    """One cell: the image at the end of the path, or the counterfactual; its change; two lines under them.

    ``change`` is ``(H, W)``, signed, in the mean of the channels; None for an original. ``good`` colours the words.
    """

    image: Tensor
    change: Tensor | None
    lines: tuple[str, str]
    good: bool = True


def draw_outcomes(folder: Path, listed: Mapping[str, Any], rows: int, path: Path) -> None:
    """Draw what a folder of a comparison holds of its first images.

    Args:
        folder: of the comparison.
        listed: its ``generators.json``.
        rows: at most so many images.
        path: of the PNG.
    """
    images, arms = listed["images"][:rows], listed["arms"]
    cells = [
        [_original(folder, one), *(_outcome(folder / "arms" / arm["folder"], one, listed) for arm in arms)]
        for one in images
    ]
    masks = [_read(folder / "masks" / f"{one['file']}.png") > 0.5 if one["mask"] else None for one in images]
    title = "the end of each path, or the counterfactual; below it, what is brighter (red) or darker (blue)"
    draw_comparison(path, title, ["original", *(arm["name"] for arm in arms)], cells, masks)


def _original(folder: Path, one: Mapping[str, Any]) -> Shown:
    words = one["source"], f"to become {one['target']}"
    return Shown(_read(folder / "images" / f"{one['file']}.png"), None, words)


def _outcome(place: Path, one: Mapping[str, Any], listed: Mapping[str, Any]) -> Shown:
    """The end of a path, or the counterfactual, with what is said of it; where nothing was found, in another colour."""
    file, target = one["file"], listed["classes"].index(one["target"])
    row = read_json(place / f"{file}.json")
    kind = "" if row["end_probabilities"] is None else "end_"
    image = _read(place / f"{file}-end.png" if kind else place / f"{file}.png")
    base = place / f"{file}-base.png"
    original = base if base.exists() else place.parents[1] / "images" / f"{file}.png"
    seen = [f"classifier {row[f'{kind}probabilities'][target]:.2f}"]
    if row[f"{kind}oracle_probabilities"] is not None:
        seen.append(f"oracle {row[f'{kind}oracle_probabilities'][target]:.2f}")
    return Shown(
        image, (image - _read(original)).mean(0), (", ".join(seen), "" if row["found"] else "not found"), row["found"]
    )


def _read(path: Path) -> Tensor:
    """An image of the folder as ``(C, H, W)`` in [0, 1]."""
    with opened_picture(path, "`compare-generators` makes it anew") as picture:
        levels = np.asarray(picture, dtype=np.float32) / 255
    return torch.from_numpy(levels[None] if levels.ndim == 2 else levels.transpose(2, 0, 1).copy())


def draw_comparison(
    path: Path, title: str, columns: Sequence[str], rows: Sequence[Sequence[Shown]], masks: Sequence[Tensor | None]
) -> None:
    """Write the picture.

    Args:
        path: of the PNG.
        title: what is compared.
        columns: heading of each column, the original's first.
        rows: cells of each image, the original first.
        masks: ``(1, H, W)`` bool of each row, outlined on the original; or None.
    """
    height, width = tile_size(*rows[0][0].image.shape[-2:])
    down = 2 * height + CAPTION + 2 * GAP
    page = Image.new(
        "RGB", (2 * MARGIN + len(columns) * (width + GAP) - GAP, MARGIN + 30 + HEAD + len(rows) * down), PAPER
    )
    draw = ImageDraw.Draw(page)
    draw.text((MARGIN, MARGIN), title, fill=INK, font=font(16, bold=True))
    for number, heading in enumerate(columns):
        left = MARGIN + number * (width + GAP)
        for line, words in enumerate(wrapped(heading, width, font(13, bold=True))[:2]):
            centred(draw, words, left, MARGIN + 28 + 17 * line, width, weight="bold")
        for row, cells in enumerate(rows):
            top = MARGIN + 30 + HEAD + row * down
            _draw_cell(page, cells[number], left, top, (height, width), masks[row] if number == 0 else None)
    save_png(page, path)


def _draw_cell(page: Image.Image, cell: Shown, left: int, top: int, size: tuple[int, int], mask: Tensor | None) -> None:
    """Image, change and caption of one cell."""
    (height, width), draw = size, ImageDraw.Draw(page)
    picture = tile(cell.image)
    if mask is not None and bool(mask.any()):
        outline(picture, mask)
    page.paste(picture, (left, top))
    if cell.change is not None:
        change = np.asarray(cell.change)
        page.paste(colour_mapped(change, DIVERGING, -FULL, FULL), (left, top + height + 2))
    colours = (INK if cell.good else TARGET, FAINT if cell.good else OTHER)
    for line, (words, colour) in enumerate(zip(cell.lines, colours, strict=True)):
        centred(draw, words, left, top + 2 * height + 5 + 15 * line, width, size=12, fill=colour)
