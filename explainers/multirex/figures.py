"""All explanations of an image side by side, each with what the classifier says about it alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image, ImageDraw
from torch import Tensor

from cae.canvas import (
    FAINT,
    INK,
    OKABE_ITO,
    PAPER,
    SEQUENTIAL,
    SOURCE,
    TARGET,
    centred,
    colour_bar,
    colour_mapped,
    outline,
    probability_bar,
    tile,
)
from cae.files import atomic_path
from cae.lettering import font
from explainers.explanation import Explanation

GAP, HEAD, TITLE, LINE, LINES = 12, 30, 24, 18, 4  # pixels; LINES: of words below a tile
PER_ROW = 6
DIMMED = 0.3  # brightness of hidden pixels, so that the place in the image can be seen
COLOURS = tuple(colour for colour in OKABE_ITO if colour != "#000000")
REMARKS = {
    "background_sufficient": "The fill alone already has this class: no part of the image explains it.",
    "target_not_top1": "The image is not seen as this class, and neither is any part that was tried.",
    "none_found": "No sufficient part was found.",
    "budget": "The budget ended before any part was certified minimal.",
}


def multirex_figure(image: Tensor, found: Explanation, classes: Sequence[str], title: str, path: str | Path) -> None:
    """Draw an image, its map, and every explanation with size, confidence alone and hidden, and certificate.

    Args:
        image: ``(C, H, W)`` in [0, 1].
        found: of this image alone, by ``multirex`` or ``multirex_published``.
        classes: names of the classes.
        title: line at the top.
        path: PNG file to write.
    """
    extras = found.extras[0]
    target = int(found.target[0])
    tiles = [_original(image, found, classes, target), _map(found, extras)]
    tiles += [_explanation(image, extras, number) for number in range(extras["count"])]
    columns = min(PER_ROW, len(tiles))
    rows = -(-len(tiles) // columns)
    width, height = tiles[0].width + GAP, tiles[0].height + GAP
    words = REMARKS.get(extras["status"], "")
    picture = Image.new("RGB", (columns * width + GAP, HEAD + rows * height + GAP + (LINE if words else 0)), PAPER)
    draw = ImageDraw.Draw(picture)
    draw.text((GAP, 8), title, fill=INK, font=font(14, bold=True))
    for place, part in enumerate(tiles):
        picture.paste(part, (GAP + place % columns * width, HEAD + place // columns * height))
    if words:
        centred(draw, words, 0, picture.height - LINE - 4, picture.width, 12, fill=FAINT)
    with atomic_path(path) as temporary:
        picture.save(temporary)


def _original(image: Tensor, found: Explanation, classes: Sequence[str], target: int) -> Image.Image:
    probabilities = found.probabilities[0]
    order = probabilities.argsort(descending=True)[:3].tolist()
    if target not in order:
        order[-1] = target
    picture = _framed(tile(image), "original", [])
    draw = ImageDraw.Draw(picture)
    top = picture.height - LINES * LINE
    for row, k in enumerate(order):
        colour = TARGET if k == target else SOURCE
        probability_bar(draw, 0, top + 20 * row, picture.width, classes[k], float(probabilities[k]), colour)
    return picture


def _map(found: Explanation, extras: Mapping[str, Any]) -> Image.Image:
    values = found.attribution[0, 0].cpu().numpy()
    low, high = float(values.min()), float(values.max())
    picture = _framed(colour_mapped(values, SEQUENTIAL, low, high), extras["map"], [])
    colour_bar(picture, 0, picture.height - LINES * LINE, picture.width, SEQUENTIAL, (f"{low:.2f}", f"{high:.2f}"))
    words = f"{int(found.evaluations[0])} evaluations"
    centred(ImageDraw.Draw(picture), words, 0, picture.height - 2 * LINE + 2, picture.width, 12, fill=FAINT)
    return picture


def _explanation(image: Tensor, extras: Mapping[str, Any], number: int) -> Image.Image:
    mask = extras["masks"][number].to(image.device)
    picture = tile(torch.where(mask, image, DIMMED * image))
    outline(picture, mask[None], COLOURS[number % len(COLOURS)])
    finest = extras["certificates"][number]["finest"]
    hidden = extras["complement_confidences"][number]
    lines = [
        f"alone {extras['confidences'][number]:.2f} ({extras['relative_confidences'][number]:.0%} of the image's)",
        "image without it: not scored" if hidden is None else f"image without it {hidden:.2f}",
        f"{extras['sizes'][number]:.1%} of the pixels",
        f"no tile of {finest} px can go" if finest else "not certified minimal",
    ]
    return _framed(picture, f"explanation {number + 1}", lines)


def _framed(picture: Image.Image, title: str, lines: Sequence[str]) -> Image.Image:
    """A tile under its title, with room for four lines below."""
    framed = Image.new("RGB", (picture.width, TITLE + picture.height + 6 + LINES * LINE), PAPER)
    draw = ImageDraw.Draw(framed)
    centred(draw, title, 0, 4, picture.width, 13)
    framed.paste(picture, (0, TITLE))
    for row, line in enumerate(lines):
        centred(draw, line, 0, TITLE + picture.height + 6 + row * LINE, picture.width, 12, fill=FAINT)
    return framed
