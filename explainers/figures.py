"""Pictures of explanations: the original beside every method's map, all on one scale."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from PIL import Image, ImageDraw
from torch import Tensor

from cae.canvas import (
    DIVERGING,
    FAINT,
    INK,
    PAPER,
    SOURCE,
    TARGET,
    centred,
    colour_bar,
    colour_mapped,
    outline,
    probability_bar,
    save_png,
    tile,
)
from cae.lettering import font

if TYPE_CHECKING:  # an explanation draws itself with this module
    from explainers.explanation import Explanation

GAP, TITLE, BARS = 12, 26, 3  # pixels; BARS: classes shown below the original
PER_ROW = 6  # tiles beside each other
SHOWN = 24  # images of a batch that are drawn
FAR = 0.25  # of the largest value


def explanation_figure(
    image: Tensor,
    explanations: Sequence[Explanation],
    classes: Sequence[str],
    title: str,
    path: str | Path,
    mask: Tensor | None = None,
) -> None:
    """Draw one image with the maps of several methods.

    Args:
        image: ``(C, H, W)`` in [0, 1].
        explanations: of this image alone, each of length 1; the first one's target and probabilities are shown.
        classes: names of the classes.
        title: line at the top.
        path: PNG file to write.
        mask: ``(1, H, W)`` bool, outlined in every map.
    """
    original = tile(image)
    if mask is not None and bool(mask.any()):
        outline(original, mask)
    tiles = [_titled(original, "original", _probability_bars(original, explanations[0], classes))]
    tiles += [_map_tile(found, mask) for found in explanations]
    save_png(_framed(_arranged(tiles, _scale()), title), path)


def maps_picture(
    explanation: Explanation, classes: Sequence[str] | None = None, images: Tensor | None = None
) -> Image.Image:
    """The maps of a batch, each with the class explained, its probability and the largest value; of at most 24 images.

    Args:
        explanation: of one image or more.
        classes: names of the K classes; without them, the numbers are shown.
        images: ``(B, C, H, W)`` in [0, 1], what was explained, drawn beside the maps.
    """
    names = classes or [f"class {k}" for k in range(explanation.probabilities.shape[1])]
    if images is not None:
        return _beside_images(explanation, names, images)
    tiles = []
    for place in range(min(len(explanation), SHOWN)):
        values, words = displayed(explanation.attribution[place, 0].detach().cpu())
        picture = colour_mapped(values.numpy(), DIVERGING, -1.0, 1.0)
        target = int(explanation.target[place])
        below = Image.new("RGB", (picture.width, 20 * (BARS - 1)), PAPER)
        draw = ImageDraw.Draw(below)
        probability_bar(
            draw, 0, 0, picture.width, names[target], float(explanation.probabilities[place, target]), TARGET
        )
        centred(draw, words, 0, 21, picture.width, 12, fill=FAINT)
        tiles.append(_titled(picture, f"image {place}" if len(explanation) > 1 else "attribution", below))
    rest = len(explanation) - len(tiles)
    title = explanation.method + (f": {len(tiles)} of {len(explanation)} images" if rest else "")
    return _framed(_arranged(tiles, _scale()), title)


def _beside_images(explanation: Explanation, names: Sequence[str], images: Tensor) -> Image.Image:
    """Every image with the most probable classes, and its map to the right of it."""
    tiles = []
    for place in range(min(len(explanation), SHOWN)):
        one, original = explanation[place], tile(images[place])
        title = f"image {place}" if len(explanation) > 1 else "original"
        tiles += [_titled(original, title, _probability_bars(original, one, names)), _map_tile(one, None)]
    return _framed(_arranged(tiles, _scale()), f"{explanation.method}: {names[int(explanation.target[0])]}")


def displayed(attribution: Tensor) -> tuple[Tensor, str]:
    """A map ``(H, W)`` in [-1, 1] as it is coloured, and in words what the colours reach to.

    A map that is far from zero throughout, such as that of RISE, whose level says nothing, begins at its value nearest
    to zero.
    """
    low, high = (float(value) for value in attribution.aminmax())
    nearest = max(low, 0.0) + min(high, 0.0)
    if abs(nearest) < FAR * max(high, -low):
        nearest = 0.0
    shifted = attribution - nearest
    largest = float(shifted.abs().max())
    words = f"largest value {max(high, -low):.3g}"
    if nearest:
        words = f"values {low:.3g} to {high:.3g}"
    return shifted / max(largest, torch.finfo(attribution.dtype).tiny), words


def _map_tile(found: Explanation, mask: Tensor | None) -> Image.Image:
    values, words = displayed(found.attribution[0, 0].cpu())
    picture = colour_mapped(values.numpy(), DIVERGING, -1.0, 1.0)
    if mask is not None and bool(mask.any()):
        outline(picture, mask, "#111111", 1)
    evaluations = int(found.evaluations[0])
    cost = f"{evaluations} evaluation{'s' if evaluations != 1 else ''}, {_seconds(found.seconds)}"
    return _titled(picture, found.method, _lines(picture.width, [cost, words]))


def _probability_bars(original: Image.Image, found: Explanation, classes: Sequence[str]) -> Image.Image:
    """Bars of the most probable classes; the one explained is orange."""
    probabilities, target = found.probabilities[0], int(found.target[0])
    order = probabilities.argsort(descending=True)[:BARS].tolist()
    if target not in order:
        order[-1] = target
    picture = Image.new("RGB", (original.width, 20 * BARS), PAPER)
    draw = ImageDraw.Draw(picture)
    for row, k in enumerate(order):
        probability_bar(
            draw, 0, 20 * row, original.width, classes[k], float(probabilities[k]), TARGET if k == target else SOURCE
        )
    return picture


def _lines(width: int, lines: Sequence[str]) -> Image.Image:
    picture = Image.new("RGB", (width, 20 * BARS), PAPER)
    draw = ImageDraw.Draw(picture)
    for row, line in enumerate(lines):
        centred(draw, line, 0, 18 * row + 2, width, 12, fill=FAINT)
    return picture


def _titled(picture: Image.Image, title: str, below: Image.Image) -> Image.Image:
    framed = Image.new("RGB", (picture.width, TITLE + picture.height + 6 + below.height), PAPER)
    centred(ImageDraw.Draw(framed), title, 0, 6, picture.width, 13)
    framed.paste(picture, (0, TITLE))
    framed.paste(below, (0, TITLE + picture.height + 6))
    return framed


def _scale(width: int = 360) -> Image.Image:
    picture = Image.new("RGB", (width, 32), PAPER)
    colour_bar(picture, 10, 0, picture.width - 20, DIVERGING, ("against", "for"), "share of the largest value")
    return picture


def _framed(picture: Image.Image, title: str) -> Image.Image:
    framed = Image.new("RGB", (picture.width, picture.height + 30), PAPER)
    framed.paste(picture, (0, 30))
    ImageDraw.Draw(framed).text((GAP, 8), title, fill=INK, font=font(14, bold=True))
    return framed


def _arranged(tiles: Sequence[Image.Image], scale: Image.Image) -> Image.Image:
    columns = min(PER_ROW, len(tiles))
    rows = -(-len(tiles) // columns)
    width, height = tiles[0].width + GAP, tiles[0].height + GAP
    picture = Image.new("RGB", (max(columns * width, scale.width) + GAP, rows * height + GAP + scale.height), PAPER)
    left = GAP + (picture.width - columns * width - GAP) // 2
    for place, part in enumerate(tiles):
        picture.paste(part, (left + place % columns * width, GAP + place // columns * height))
    picture.paste(scale, ((picture.width - scale.width) // 2, rows * height + GAP))
    return picture


def _seconds(value: float) -> str:
    return f"{value * 1000:.0f} ms" if value < 1 else f"{value:.1f} s"
