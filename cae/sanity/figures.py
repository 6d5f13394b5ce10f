"""The picture of a sanity test: examples in rows, originals beside maps, and below them what was demanded and found."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageDraw
from torch import Tensor

from cae.canvas import FAINT, INK, PAPER, SEQUENTIAL, centred, colour_mapped, outline, tile, tile_size, wrapped
from cae.files import atomic_path
from cae.lettering import font
from cae.sanity.criteria import Rule

MARGIN, GAP, HEAD, CAPTION, LINE = 16, 10, 40, 20, 18  # pixels
PASSED, FAILED = "#00694D", "#A84800"  # readable on white, told apart by the colour-blind; the word says it too
EXAMPLES = 4  # rows
FAINTEST = 0.02  # largest change of a map that is shown at full brightness


@dataclass(frozen=True, eq=False)
class Cell:
    """A picture with a caption: an image ``(C, H, W)`` in [0, 1], or a map ``(H, W)``, not negative.

    ``outlined (1, H, W)`` bool is drawn around what the reader is to compare it with.
    """

    values: Tensor
    caption: str
    outlined: Tensor | None = None


def sanity_figure(
    path: Path, title: str, columns: Sequence[str], rows: Sequence[Sequence[Cell]], rules: Sequence[Rule]
) -> None:
    """Write one PNG: title, columns of images and maps, and the rules in words.

    Args:
        path: of the PNG.
        title: what was tested.
        columns: heading of each column.
        rows: cells of each example; images of one size.
        rules: what had to be true, with what came of it.
    """
    height, width = tile_size(*rows[0][0].values.shape[-2:])
    page_width = 2 * MARGIN + len(columns) * (width + GAP) - GAP
    lines = [line for rule in rules for line in _sentences(rule, page_width - 2 * MARGIN)]
    top = MARGIN + 30
    below = top + HEAD + len(rows) * (height + CAPTION + GAP)
    page = Image.new("RGB", (page_width, below + len(lines) * LINE + MARGIN), PAPER)
    draw = ImageDraw.Draw(page)
    draw.text((MARGIN, MARGIN), title, fill=INK, font=font(17, bold=True))
    for number, heading in enumerate(columns):
        left = MARGIN + number * (width + GAP)
        for line, words in enumerate(wrapped(heading, width, font(12))[:2]):
            centred(draw, words, left, top + line * 16, width, size=12, fill=FAINT)
        for row, cells in enumerate(rows):
            corner = left, top + HEAD + row * (height + CAPTION + GAP)
            page.paste(_picture(cells[number]), corner)
            centred(draw, cells[number].caption, left, corner[1] + height + 3, width, size=12)
    for number, (words, colour) in enumerate(lines):
        draw.text((MARGIN, below + number * LINE), words, fill=colour, font=font(13))
    with atomic_path(path) as temporary:
        page.save(temporary, format="PNG")


def _picture(cell: Cell) -> Image.Image:
    if cell.values.ndim == 3:
        picture = tile(cell.values)
    else:
        picture = colour_mapped(cell.values.numpy(), SEQUENTIAL, 0.0, max(float(cell.values.max()), FAINTEST))
    if cell.outlined is not None and bool(cell.outlined.any()):
        outline(picture, cell.outlined)
    return picture


def _sentences(rule: Rule, width: int) -> list[tuple[str, str]]:
    """Lines of text, each with its colour: passed or failed with what was demanded, then what was found."""
    outcome, colour = ("PASS", PASSED) if rule.passed else ("FAIL", FAILED)
    face = font(13)
    demanded = [(line, colour) for line in wrapped(f"{outcome}: {rule.demand}", width, face)]
    return demanded + [(line, INK) for line in wrapped(f"found: {rule.found}", width, face)]
