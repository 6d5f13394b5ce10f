"""Pieces of an image: tiles, centres and discs, halves, and boxes cut in four. Pure geometry."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

REFERENCE_SIDE = 224  # short side that lengths in pixels are meant for


def scaled(length: float, shape: tuple[int, int]) -> float:
    """A length given for a short side of 224 pixels, for an image of another size."""
    return length * min(shape) / REFERENCE_SIDE


def tile_numbers(shape: tuple[int, int], side: int) -> Tensor:
    """``(H, W)`` int64: which tile of a grid of squares a pixel lies in, row by row; the last ones may be cut off."""
    rows, columns = torch.arange(shape[0]) // side, torch.arange(shape[1]) // side
    return rows[:, None] * math.ceil(shape[1] / side) + columns


def grid_centres(shape: tuple[int, int], stride: float, shift: float = 0.0) -> list[tuple[float, float]]:
    """Centres (row, column) of a grid that is symmetric about the image's centre; ``shift`` 0.5 is the grid between."""

    def along(side: int) -> list[float]:
        count = max(1, round(side / stride))
        if shift:
            count = max(1, count - 1)
        return [(side - 1) / 2 + (place - (count - 1) / 2) * stride for place in range(count)]

    return [(row, column) for row in along(shape[0]) for column in along(shape[1])]


def disc(shape: tuple[int, int], centre: tuple[float, float], radius: float) -> Tensor:
    """``(H, W)`` bool: pixels at most ``radius`` from a centre."""
    rows = torch.arange(shape[0])[:, None] - centre[0]
    columns = torch.arange(shape[1])[None] - centre[1]
    return rows.square() + columns.square() <= radius**2


def splits(shape: tuple[int, int]) -> list[Tensor]:
    """Masks that cut the image in two: halves in four directions, chequers and stripes; each stands for both parts."""
    rows = (torch.arange(shape[0])[:, None] + 0.5) / shape[0] + torch.zeros(shape)
    columns = (torch.arange(shape[1])[None] + 0.5) / shape[1] + torch.zeros(shape)
    found = [rows < 0.5, columns < 0.5, rows < columns, rows + columns < 1]
    for count in (4, 7, 3):
        row, column = (rows * count).floor(), (columns * count).floor()
        found += [(row + column) % 2 == 0, row % 2 == 0, column % 2 == 0]
    return found


class Box(NamedTuple):
    """A rectangle of pixels: rows ``top`` to ``bottom`` (exclusive), columns ``left`` to ``right`` (exclusive)."""

    top: int
    bottom: int
    left: int
    right: int
    path: str = ""

    @property
    def area(self) -> int:
        """In pixels."""
        return (self.bottom - self.top) * (self.right - self.left)

    def children(self, row: int, column: int) -> list[Box]:
        """The four parts around a point, row by row; parts without pixels are kept, so that places have meaning."""
        return [
            Box(self.top, row, self.left, column, self.path + "0"),
            Box(self.top, row, column, self.right, self.path + "1"),
            Box(row, self.bottom, self.left, column, self.path + "2"),
            Box(row, self.bottom, column, self.right, self.path + "3"),
        ]


def cut(box: Box, seed: int, tree: int) -> list[Box]:
    """Cut a box at an interior point that follows from seed, tree and the box's path; thin boxes are cut in two."""
    digest = hashlib.sha256(f"{seed} {tree} {box.path}".encode()).digest()
    row = _interior(box.top, box.bottom, digest[:8])
    column = _interior(box.left, box.right, digest[8:16])
    return [child for child in box.children(row, column) if child.area]


def _interior(low: int, high: int, noise: bytes) -> int:
    """A number strictly between two others, or the lower one if there is none."""
    return low + 1 + int.from_bytes(noise, "little") % (high - low - 1) if high - low > 1 else low


def boxes_mask(shape: tuple[int, int], boxes: Sequence[Box]) -> Tensor:
    """``(H, W)`` bool: the union of boxes."""
    mask = torch.zeros(shape, dtype=torch.bool)
    for box in boxes:
        mask[box.top : box.bottom, box.left : box.right] = True
    return mask
