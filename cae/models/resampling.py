"""Resampling of maps, written as what is fast: matrix products and convolutions of small maps.

PyTorch's own bilinear resampling has a slow backward pass on GPUs, above all in half precision, and pools and spreads
every level of a pyramid apart.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

FINEST_SQUARE = 4  # side in pixels of the smallest squares that ``surroundings`` takes means over
COARSER_SHARE = 0.1  # what squares of twice the side count


def bilinear(x: Tensor, size: tuple[int, int] | torch.Size) -> Tensor:
    """Maps ``(B, C, h, w)`` resampled to ``size``, the edges of both aligned: ``(B, C, H, W)``."""
    if x.shape[-2:] == tuple(size):
        return x
    if not x.is_cuda:
        return F.interpolate(x, size=tuple(size), mode="bilinear", align_corners=False)
    rows, columns = (_like(_interpolation(int(a), int(b)), x) for a, b in zip(x.shape[-2:], size, strict=True))
    # along channels-last memory both are products of one matrix with a batch
    last = x.permute(0, 2, 3, 1)
    tall = (rows @ last.flatten(2)).unflatten(2, last.shape[2:])
    return (columns @ tall).permute(0, 3, 1, 2)


def doubled_convolution(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Maps ``(B, C, h, w)`` with every pixel repeated 2 x 2, convolved by ``weight (O, C, 3, 3)``: ``(B, O, 2h, 2w)``.

    Each of the four pixels that one became sees 2 x 2 of the former ones: that is a convolution of the small maps to
    4 O channels, which are then laid out side by side.
    """
    phases = _like(_PHASES, weight)
    kernels = torch.einsum("pay,qbx,ocyx->opqcab", phases, phases, weight).flatten(0, 2)
    outputs = F.conv2d(x, kernels.contiguous(memory_format=torch.channels_last), padding=1)
    images = F.pixel_shuffle(outputs, 2)
    return images if bias is None else images + bias[:, None, None]


# where the taps of a kernel fall on the former pixels -1, 0 and 1: for the first and the second pixel of each pair
_PHASES = np.array([[[1, 0, 0], [0, 1, 1], [0, 0, 0]], [[0, 0, 0], [1, 1, 0], [0, 0, 1]]], np.float32)


def _like(matrix: np.ndarray, x: Tensor) -> Tensor:
    """The matrix as a tensor of the kind of another; kept as an array, it is a constant to what traces the model."""
    return torch.as_tensor(matrix, dtype=x.dtype, device=x.device)


def surroundings(images: Tensor, mask: Tensor) -> Tensor:
    """What the pixels outside a mask suggest for each place: means of ever larger squares, the near ones first.

    A square counts as far as it lies outside the mask, and every doubling of its side a tenth as much, so that a hole
    is filled from its border. ``images (B, C, H, W)`` and ``mask (B, 1, H, W)`` in [0, 1] to the shape of the images.
    """
    kept = 1 - mask
    total = _pyramid(torch.cat([images * kept, kept], dim=1))
    return total[:, :-1] / (total[:, -1:] + 1e-4)


def _pyramid(x: Tensor) -> Tensor:
    """Means over squares, each level spread out again bilinearly, and their weighted sum, of ``(B, C, H, W)``.

    ``sum_l a_l U_l (P_l X P_l^T) U_l^T`` with P_l for means and U_l for spreading, of all levels in four products.
    """
    height, width = int(x.shape[-2]), int(x.shape[-1])  # where a model is traced, they are tensors
    sides = tuple(FINEST_SQUARE * 2**level for level in range(16) if FINEST_SQUARE * 2**level <= min(height, width))
    if not sides:
        return torch.zeros_like(x)
    matrices = _pyramid_matrices(height, width, sides)
    # in full precision: what lies far from a large mask counts a thousandth of what lies near
    with torch.autocast(x.device.type, enabled=False):
        x = x.float() if x.dtype in (torch.float16, torch.bfloat16) else x
        pool_rows, spread_rows, pool_columns, spread_columns, share = (_like(matrix, x) for matrix in matrices)
        means = pool_rows @ (x @ pool_columns.T)
        return spread_rows @ (share * means) @ spread_columns.T


@lru_cache(maxsize=32)
def _pyramid_matrices(height: int, width: int, sides: tuple[int, ...]) -> tuple[np.ndarray, ...]:
    """Means and spreads of all levels, one below and one beside another, and what each pair of rows counts."""
    rows, columns = [[_means(length, side) for side in sides] for length in (height, width)]
    spread_rows = np.concatenate([_interpolation(len(level), height) for level in rows], 1)
    spread_columns = np.concatenate([_interpolation(len(level), width) for level in columns], 1)
    share = np.zeros((spread_rows.shape[1], spread_columns.shape[1]), np.float32)
    top = left = 0
    for level, (a, b) in enumerate(zip(rows, columns, strict=True)):
        share[top : top + len(a), left : left + len(b)] = COARSER_SHARE**level
        top, left = top + len(a), left + len(b)
    return np.concatenate(rows), spread_rows, np.concatenate(columns), spread_columns, share


def _means(length: int, side: int) -> np.ndarray:
    """``(ceil(length / side), length)``: means over runs of ``side``; the last may be shorter."""
    members = np.arange(length)[None] // side == np.arange(-(-length // side))[:, None]
    return (members / members.sum(1, keepdims=True)).astype(np.float32)


@lru_cache(maxsize=64)
def _interpolation(short: int, long: int) -> np.ndarray:
    """``(long, short)``: linear interpolation, the edges of both aligned."""
    place = np.clip((np.arange(long) + 0.5) * short / long - 0.5, 0, short - 1)
    return np.maximum(1 - np.abs(place[:, None] - np.arange(short)[None]), 0).astype(np.float32)
