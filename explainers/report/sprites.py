"""Pictures for a file without other files: tiles of equal size in one WebP picture, as text."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from cae.canvas import opened_picture

WIDEST = 12  # tiles beside each other


@dataclass(frozen=True)
class Detail:
    """How finely a picture is kept: frames of a path at most, WebP quality (None: lossless), largest side in pixels."""

    frames: int
    quality: int | None
    side: int

    @property
    def words(self) -> str:
        """The same in words."""
        kept = "lossless" if self.quality is None else f"WebP quality {self.quality}"
        return f"{self.frames} frames of a path at most, {kept}, sides of {self.side} pixels at most"


# from what is wanted to what is still worth looking at
LADDER = (
    Detail(21, None, 256),
    Detail(21, 90, 256),
    Detail(15, 80, 224),
    Detail(11, 75, 192),
    Detail(9, 65, 160),
    Detail(7, 55, 128),
)


@dataclass(frozen=True)
class Sprite:
    """Tiles in one picture: its bytes as base64 text, its kind, tiles beside each other, and their sizes in pixels."""

    data: str
    columns: int
    count: int
    width: int
    height: int

    @property
    def bytes(self) -> int:
        """Length of the text."""
        return len(self.data)

    def place(self, key: str) -> dict[str, Any]:
        """What the page must know to draw a tile of it."""
        return {"key": key, "columns": self.columns, "count": self.count, "width": self.width, "height": self.height}


def reduced(images: Tensor, side: int) -> Tensor:
    """Images ``(N, C, H, W)`` whose largest side is at most ``side`` pixels, by means of areas."""
    scale = side / max(images.shape[-2:])
    if scale >= 1:
        return images
    height, width = (max(1, round(length * scale)) for length in images.shape[-2:])
    return F.interpolate(images, size=(height, width), mode="area")


def sprite(tiles: Tensor, quality: int | None) -> Sprite:
    """Tiles ``(N, C, H, W)`` in [0, 1], C = 1 or 3, as one picture.

    Args:
        tiles: at least one.
        quality: of WebP from 1 to 100; None keeps every level of 256.
    """
    count, channels, height, width = tiles.shape
    columns = min(count, WIDEST, max(1, 16000 // width))  # a WebP picture has at most 16383 pixels a side
    rows = math.ceil(count / columns)
    levels = (tiles.detach().cpu().clamp(0, 1) * 255).round().to(torch.uint8).numpy()
    sheet = np.zeros((rows * height, columns * width, channels), np.uint8)
    for place, tile in enumerate(levels):
        top, left = place // columns * height, place % columns * width
        sheet[top : top + height, left : left + width] = tile.transpose(1, 2, 0)
    picture = Image.fromarray(sheet[..., 0] if channels == 1 else sheet)
    return Sprite(base64_webp(picture, quality), columns, count, width, height)


def base64_webp(picture: Image.Image, quality: int | None) -> str:
    """A picture as WebP in base64."""
    buffer = io.BytesIO()
    if quality is None:
        picture.save(buffer, format="WEBP", lossless=True, quality=40, method=2)
    else:
        picture.save(buffer, format="WEBP", quality=quality, method=3)
    return base64.b64encode(buffer.getvalue()).decode("ascii")


def picture_file(path: Path, width: int = 1600) -> tuple[str, int, int]:
    """A picture that another command drew, as base64 WebP no wider than ``width``, with its size in pixels."""
    with opened_picture(path, "the command that drew it draws it anew") as opened:
        picture = opened.convert("RGB")
    if picture.width > width:
        picture = picture.resize((width, round(picture.height * width / picture.width)), Image.Resampling.LANCZOS)
    data = min((base64_webp(picture, quality) for quality in (None, 85)), key=len)
    return data, picture.width, picture.height


def grey_levels(values: Sequence[Tensor], side: int) -> Tensor:
    """Maps ``(H, W)`` of any sizes as tiles ``(N, 1, H, W)`` of the first one's, no larger than ``side``."""
    height, width = values[0].shape
    same = [F.interpolate(v[None, None].float(), size=(height, width), mode="nearest")[0] for v in values]
    return reduced(torch.stack(same), side)
