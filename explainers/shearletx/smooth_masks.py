"""Smooth masks: a coarse grid of values made a mask of all pixels by a smooth maximum over shifted bumps.

Reference: Fong, Patrick and Vedaldi 2019, arXiv:1910.08485, section 3.2 (max-convolution), constants as in its code.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

STEP, WIDTH = 7, 21.0  # pixels: spacing of the grid, radius of a bump
TEMPERATURE = 1 / 20
_REACH = 4  # cells to each side, where a bump is cut off


def grid_shape(height: int, width: int) -> tuple[int, int]:
    """Rows and columns of the grid for an image."""
    return -(-height // STEP), -(-width // STEP)


def bump(distance: Tensor) -> Tensor:
    """Height of a bump at a distance in pixels: flat at 1 up to half its radius, then a Gaussian fall."""
    return (-2 * (distance / WIDTH - 0.5).clamp_min(0).square()).exp()


def smooth_mask(grid: Tensor, height: int, width: int) -> Tensor:
    """Masks ``(A, height, width)`` in [0, 1] of grids ``(A, rows, columns)`` in [0, 1].

    Each pixel takes the softmax-weighted mean of ``bump x value`` over the cells around it, divided by what a grid of
    ones gives there: the published mean leaves a few per cent to 1, so that no mask keeps the image.
    """
    side = 2 * _REACH + 1
    padded = F.pad(grid[:, None], (_REACH,) * 4, mode="replicate")
    around = F.unfold(padded, side)[:, None]  # (A, 1, side^2, cells); values become (A, STEP^2, side^2, cells)
    bumps = _bumps(grid)[None, :, :, None]
    pooled = (_soft_maximum(bumps * around) / _soft_maximum(bumps)).clamp_max(1)  # (A, STEP^2, cells)
    return F.fold(pooled, (grid.shape[1] * STEP, grid.shape[2] * STEP), STEP, stride=STEP)[:, 0, :height, :width]


def _soft_maximum(values: Tensor) -> Tensor:
    """Softmax-weighted mean over axis 2."""
    return (values * (values / TEMPERATURE).softmax(2)).sum(2)


def _bumps(like: Tensor) -> Tensor:
    """Heights ``(STEP^2, side^2)`` of the bumps of the cells around, at each pixel of a cell."""
    pixels = torch.arange(STEP, dtype=like.dtype, device=like.device) - (STEP - 1) / 2
    cells = torch.arange(-_REACH, _REACH + 1, dtype=like.dtype, device=like.device) * STEP
    apart = pixels[:, None] - cells[None]
    squares = apart.square()[:, None, :, None] + apart.square()[None, :, None, :]
    return bump(squares.sqrt()).reshape(STEP**2, -1)
