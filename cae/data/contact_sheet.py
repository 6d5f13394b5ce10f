"""A page of images of every class and split, with their masks drawn in: what the classifier will be shown."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageDraw

from cae.canvas import FAINT, INK, PAPER, centred, outline, placeholder, save_png, tile
from cae.data.selection import readable
from cae.data.splits import SPLITS
from cae.data.types import Sample, Splits
from cae.lettering import font

ACROSS = {"train": 4, "val": 2, "test": 2}  # images of each class
MOST_CLASSES = 24
CELL, GAP, MARGIN, HEAD, LABEL = 160, 8, 24, 58, 22
MASK = "#F0E442"


def contact_sheet(splits: Splits, path: str | Path, title: str) -> None:
    """Write the page: a row for each class, columns for the splits, masks outlined in yellow.

    Args:
        splits: the open source.
        path: PNG file to write.
        title: what the source is.
    """
    classes = splits.classes[:MOST_CLASSES]
    columns = sum(ACROSS.values())
    width = 2 * MARGIN + columns * (CELL + GAP) + (len(SPLITS) - 1) * GAP
    row = CELL + LABEL + 20
    page = Image.new("RGB", (width, HEAD + LABEL + len(classes) * row + MARGIN), PAPER)
    draw = ImageDraw.Draw(page)
    draw.text((MARGIN, 12), title, fill=INK, font=font(15, True))
    shown = (
        "" if len(classes) == len(splits.classes) else f"; the first {len(classes)} of {len(splits.classes)} classes"
    )
    draw.text((MARGIN, 34), f"as the program sees them; masks in yellow{shown}", fill=FAINT, font=font(12))
    left = MARGIN
    for name in SPLITS:
        span = ACROSS[name] * (CELL + GAP) - GAP
        centred(draw, name, left, HEAD, span, size=14, weight="bold")
        for number, cls in enumerate(classes):
            _row(page, splits, name, number, cls, (left, HEAD + LABEL + number * row))
        left += span + 2 * GAP
    save_png(page, path)


def _row(page: Image.Image, splits: Splits, name: str, number: int, cls: str, corner: tuple[int, int]) -> None:
    """The images of one class and split, with the class above and the ids below them."""
    left, top = corner
    draw = ImageDraw.Draw(page)
    samples = _samples(splits, name, number)
    draw.text((left, top + 2), cls, fill=INK, font=font(12))
    for place in range(ACROSS[name]):
        x = left + place * (CELL + GAP)
        if place >= len(samples):
            if not samples and place == 0:
                page.paste(placeholder((CELL, CELL), "no image"), (x, top + 18))
            continue
        page.paste(_cell(samples[place]), (x, top + 18))
        centred(draw, Path(samples[place].id).name, x, top + 18 + CELL + 2, CELL, size=11, fill=FAINT)


def _samples(splits: Splits, name: str, number: int) -> Sequence[Sample]:
    """Some readable images of a class, evenly spread over those of the split; those with a mask first."""
    images = getattr(splits, name)
    members = (images.labels == number).nonzero()[:, 0].tolist()
    wanted = ACROSS[name]
    places = [members[i * len(members) // wanted] for i in range(wanted)] if len(members) > wanted else members
    return [sample for _, sample in readable(images, places, [])]


def _cell(sample: Sample) -> Image.Image:
    """An image with its mask's outline, on a square of the page's grid."""
    picture = tile(sample.image)
    if sample.mask is not None and bool(sample.mask.any()):
        outline(picture, sample.mask, MASK)
    picture.thumbnail((CELL, CELL), Image.Resampling.LANCZOS)
    cell = Image.new("RGB", (CELL, CELL), "#F2F2F2")
    cell.paste(picture, ((CELL - picture.width) // 2, (CELL - picture.height) // 2))
    return cell
