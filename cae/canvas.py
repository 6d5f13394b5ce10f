"""Drawing with Pillow: tiles, colour maps, bars and small charts, fast enough for thousands of images."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from PIL.PngImagePlugin import PngInfo
from torch import Tensor

from cae.files import atomic_path, damaged
from cae.lettering import font

# Okabe and Ito 2008: eight colours that the colour-blind tell apart
OKABE_ITO = ("#0072B2", "#D55E00", "#009E73", "#E69F00", "#CC79A7", "#56B4E9", "#F0E442", "#000000")
SOURCE, TARGET, OTHER = OKABE_ITO[0], OKABE_ITO[1], "#9A9A9A"
INK, FAINT, PAPER, ACCENT = "#222222", "#6E6E6E", "#FFFFFF", "#E69F00"
DIVERGING, SEQUENTIAL = "RdBu_r", "viridis"
LEAST_SIDE, LARGEST_SIDE = 160, 320  # pixels of a tile


@contextmanager
def opened_picture(path: Path, otherwise: str) -> Iterator[Image.Image]:
    """A picture that a command of the program has drawn.

    Args:
        path: of the file.
        otherwise: what happens when it is moved away.

    Raises:
        UserError: if it is no ordinary file, damaged, or would fill memory; names it.
    """
    with damaged(path, "a picture", otherwise):
        if not path.is_file():
            raise OSError("it is no ordinary file")
        try:
            with Image.open(path) as picture:
                yield picture
        except Image.DecompressionBombError as error:
            raise ValueError(str(error)) from error


def tile_size(height: int, width: int) -> tuple[int, int]:
    """Height and width in which an image is shown: small ones enlarged by a whole factor, large ones reduced."""
    factor = -(-LEAST_SIDE // min(height, width))
    if factor > 1:
        return height * factor, width * factor
    shrink = min(1.0, LARGEST_SIDE / max(height, width))
    return round(height * shrink), round(width * shrink)


def _resized(picture: Image.Image) -> Image.Image:
    height, width = tile_size(picture.height, picture.width)
    enlarged = height >= picture.height
    return picture.resize((width, height), Image.Resampling.NEAREST if enlarged else Image.Resampling.LANCZOS)


def tile(image: Tensor) -> Image.Image:
    """An image ``(C, H, W)`` in [0, 1] as an RGB picture of ``tile_size``; C is 1 or 3."""
    array = (image.detach().cpu().clamp(0, 1) * 255).round().byte().permute(1, 2, 0).numpy()
    return _resized(Image.fromarray(np.ascontiguousarray(np.broadcast_to(array, (*array.shape[:2], 3)))))


@lru_cache
def _colours(name: str) -> np.ndarray:
    """The colour map ``name`` as ``(256, 3)`` uint8."""
    import matplotlib

    return (matplotlib.colormaps[name](np.linspace(0, 1, 256))[:, :3] * 255).round().astype(np.uint8)


def colour_mapped(values: np.ndarray, name: str, low: float, high: float) -> Image.Image:
    """A map ``(H, W)`` clipped to [low, high] in matplotlib's colour map ``name``, as a picture of ``tile_size``."""
    share = (values - low) / max(high - low, 1e-12)
    return _resized(Image.fromarray(_colours(name)[(share.clip(0, 1) * 255).round().astype(int)]))


def outline(picture: Image.Image, mask: Tensor, colour: str = "#FFFFFF", width: int = 2) -> None:
    """Draw the border of a mask ``(1, H, W)`` onto a tile, with a dark halo so that it shows on any ground."""
    plane = Image.fromarray(mask.detach().cpu().reshape(mask.shape[-2:]).numpy().astype(np.uint8) * 255)
    inside = np.asarray(plane.resize(picture.size, Image.Resampling.NEAREST)) > 0
    for thickness, ink in ((width + 1, "#000000"), (width, colour)):
        ring = _grown(inside, thickness) & ~inside
        picture.paste(ink, mask=Image.fromarray(ring.astype(np.uint8) * 255))


def _grown(inside: np.ndarray, steps: int) -> np.ndarray:
    """The region ``(H, W)`` with all pixels that are at most so many steps, along rows and columns, away from it."""
    for _ in range(steps):
        wide = np.pad(inside, 1)
        inside = inside | wide[:-2, 1:-1] | wide[2:, 1:-1] | wide[1:-1, :-2] | wide[1:-1, 2:]
    return inside


def png_bytes(picture: Image.Image) -> bytes:
    """The picture as the bytes of a PNG file."""
    buffer = io.BytesIO()
    picture.save(buffer, format="PNG")
    return buffer.getvalue()


def save_png(picture: Image.Image, path: str | Path, **texts: str) -> None:
    """Write a picture as PNG, atomically; ``texts`` are kept in the file beside it."""
    notes = PngInfo()
    for key, text in texts.items():
        notes.add_text(key, text)
    with atomic_path(path) as temporary:
        picture.save(temporary, format="PNG", pnginfo=notes)


def show_picture(picture: Image.Image) -> None:
    """Show a picture, pixel by pixel, in a window of matplotlib or in the output of a notebook."""
    import matplotlib.pyplot as plt

    resolution = 100
    figure = plt.figure(figsize=(picture.width / resolution, picture.height / resolution), dpi=resolution)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.imshow(np.asarray(picture), interpolation="nearest")
    axes.set_axis_off()
    plt.show()


def placeholder(size: tuple[int, int], text: str) -> Image.Image:
    """A grey tile of ``size`` (width, height) that says in words why there is nothing to see."""
    picture = Image.new("RGB", size, "#F2F2F2")
    draw, face = ImageDraw.Draw(picture), font(12)
    lines = wrapped(text, size[0] - 12, face)
    draw.multiline_text(
        (size[0] / 2, size[1] / 2), "\n".join(lines), fill=FAINT, font=face, anchor="mm", align="center", spacing=4
    )
    return picture


def wrapped(text: str, width: float, face: ImageFont.FreeTypeFont) -> list[str]:
    """The text in lines of at most ``width`` pixels, broken between words."""
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if lines[-1] and face.getlength(longer) > width:
            lines.append(word)
        else:
            lines[-1] = longer
    return lines


def fitted(text: str, width: float, face: ImageFont.FreeTypeFont) -> str:
    """The text, shortened with an ellipsis where it is wider than ``width`` pixels."""
    if face.getlength(text) <= width:
        return text
    while text and face.getlength(text + "…") > width:
        text = text[:-1]
    return text.rstrip() + "…"


def centred(
    draw: ImageDraw.ImageDraw,
    text: str,
    left: float,
    top: float,
    width: float,
    size: int = 13,
    fill: str = INK,
    weight: str = "normal",
) -> None:
    """Write one line centred over ``width`` pixels, smaller where it needs be.

    Args:
        draw: of the picture.
        text: shortened with an ellipsis where it fits at no size.
        left: of the space, in pixels.
        top: of the line, in pixels.
        width: of the space, in pixels.
        size: of the font, in pixels, at most.
        fill: colour.
        weight: ``normal`` or ``bold``.
    """
    bold = weight == "bold"
    while size > 10 and font(size, bold).getlength(text) > width:
        size -= 1
    face = font(size, bold)
    draw.text((left + width / 2, top), fitted(text, width, face), fill=fill, font=face, anchor="ma")


def probability_bar(
    draw: ImageDraw.ImageDraw,
    left: int,
    top: int,
    width: int,
    name: str,
    probability: float,
    colour: str,
    height: int = 17,
) -> None:
    """One class as a horizontal bar: its length is the probability, its name and number stand in it."""
    draw.rectangle((left, top, left + width - 1, top + height - 1), fill="#EEEEEE")
    filled = round(probability * width)
    if filled > 0:
        draw.rectangle((left, top, left + filled - 1, top + height - 1), fill=tint(colour))
        draw.rectangle((left, top, left + min(3, filled) - 1, top + height - 1), fill=colour)
    number, face = f"{probability:.2f}", font(12)
    space = width - face.getlength(number) - 14
    middle = top + height / 2
    draw.text((left + 6, middle), fitted(name, space, face), fill=INK, font=face, anchor="lm")
    draw.text((left + width - 4, middle), number, fill=INK, font=face, anchor="rm")


def tint(colour: str, share: float = 0.45) -> str:
    """A colour mixed with white, so that black text can be read on it."""
    channels = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return "#" + "".join(f"{round(share * channel + (1 - share) * 255):02X}" for channel in channels)


def colour_bar(
    picture: Image.Image, left: int, top: int, width: int, name: str, ends: tuple[str, str], middle: str = ""
) -> None:
    """A colour map as a bar of 10 pixels with the values at its ends (and its middle) written below."""
    gradient = Image.fromarray(_colours(name)[None]).resize((width, 10), Image.Resampling.BILINEAR)
    picture.paste(gradient, (left, top))
    draw, face = ImageDraw.Draw(picture), font(12)
    draw.rectangle((left, top, left + width - 1, top + 9), outline="#BBBBBB")
    draw.text((left, top + 13), ends[0], fill=INK, font=face, anchor="la")
    draw.text((left + width, top + 13), ends[1], fill=INK, font=face, anchor="ra")
    if middle:
        draw.text((left + width / 2, top + 13), middle, fill=INK, font=face, anchor="ma")


def probability_curves(
    size: tuple[int, int], x: Sequence[float], lines: Sequence[tuple[Sequence[float], str, int]], mark: float | None
) -> Image.Image:
    """Probabilities along a path as a small chart with axes from 0 to 1.

    Args:
        size: width and height in pixels.
        x: positions in [0, 1].
        lines: values in [0, 1], colour, width in pixels; later ones are drawn on top.
        mark: position of a dashed vertical line, or None.
    """
    width, height = size
    scale = 2  # drawn twice as large, then reduced: Pillow's lines are not smoothed
    picture = Image.new("RGB", (width * scale, height * scale), PAPER)
    draw = ImageDraw.Draw(picture)
    left, right, top, bottom = 46 * scale, (width - 14) * scale, 8 * scale, (height - 38) * scale

    def at(u: float, v: float) -> tuple[float, float]:
        return left + u * (right - left), bottom - v * (bottom - top)

    for value in (0.0, 0.5, 1.0):
        draw.line((*at(0, value), *at(1, value)), fill="#DDDDDD", width=scale)
    if mark is not None:
        dashes = np.arange(0, 1, 0.06)
        for low in dashes:
            draw.line((*at(mark, low), *at(mark, min(1, low + 0.03))), fill=ACCENT, width=2 * scale)
    for values, colour, thickness in lines:
        points = [at(u, v) for u, v in zip(x, values, strict=True)]
        draw.line(points, fill=colour, width=thickness * scale, joint="curve")
    picture = picture.resize(size, Image.Resampling.LANCZOS)
    _draw_axes(picture, left // scale, right // scale, top // scale, bottom // scale)
    return picture


def _draw_axes(picture: Image.Image, left: int, right: int, top: int, bottom: int) -> None:
    """Numbers and names of the two axes of a chart with these borders."""
    draw, face = ImageDraw.Draw(picture), font(11)
    for value, label in ((0.0, "0"), (0.5, "0.5"), (1.0, "1")):
        draw.text((left - 6, bottom - value * (bottom - top)), label, fill=FAINT, font=face, anchor="rm")
        draw.text((left + value * (right - left), bottom + 4), label, fill=FAINT, font=face, anchor="ma")
    draw.text(((left + right) / 2, bottom + 19), "position on the path τ", fill=INK, font=face, anchor="ma")
    word = Image.new("RGB", (70, 16), PAPER)
    ImageDraw.Draw(word).text((35, 8), "probability", fill=INK, font=face, anchor="mm")
    word = word.rotate(90, expand=True)
    picture.paste(word, (2, (top + bottom - word.height) // 2))
