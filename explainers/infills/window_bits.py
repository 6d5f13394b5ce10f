"""How well in-fills predict windows: bits per dimension of the learned one and of simpler ones, on the same windows."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from explainers.infills.base import place_crops
from explainers.infills.gaussian import LARGEST_SIDE, Gaussian
from explainers.infills.likelihood import dequantised, histogram_bits, level_counts
from explainers.infills.patch_distribution import PatchDistribution
from explainers.infills.windows import fixed_windows


@dataclass(frozen=True, eq=False)
class WindowBits:
    """Bits per dimension of windows of some images under several models.

    Attributes:
        rows: ``(M,)`` image of each window.
        tops: ``(M, 2)`` upper left pixels.
        bits: ``(M,)`` by model: ``learned``, ``histogram``, and, for windows of 16 pixels at most,
            ``diagonal_gaussian`` and ``gaussian``.
    """

    rows: Tensor
    tops: Tensor
    bits: dict[str, Tensor]


@torch.inference_mode()
def window_bits(distribution: PatchDistribution, seen: Tensor, images: Tensor, count: int) -> WindowBits:
    """Bits per dimension of the learned in-fill and of simpler ones, on the same windows.

    Args:
        distribution: the learned one.
        seen: ``(N, C, H, W)`` training images, which the simpler ones are fitted to.
        images: ``(B, C, H, W)`` whose windows are measured.
        count: windows at least, as many of every image.
    """
    window = distribution.window
    rows, tops = fixed_windows(len(images), -(-count // len(images)), images.shape, window, seed=1)
    found = {
        "learned": bits_of(distribution, images, rows, tops),
        "histogram": histogram_bits(level_counts(seen), place_crops(images, rows, tops, window)),
    }
    if window <= LARGEST_SIDE:
        generator = torch.Generator().manual_seed(3)
        known = dequantised(seen, torch.rand(seen.shape, generator=generator))
        asked = dequantised(images, torch.rand(images.shape, generator=generator))
        for name, diagonal in (("diagonal_gaussian", True), ("gaussian", False)):
            found[name] = Gaussian(known, diagonal).bits(asked, rows, tops, window)
    return WindowBits(rows, tops, found)


@torch.inference_mode()
def bits_of(distribution: PatchDistribution, images: Tensor, rows: Tensor, tops: Tensor) -> Tensor:
    """Bits per dimension ``(M,)`` of windows, on the CPU."""
    device = next(distribution.parameters()).device
    generator = torch.Generator().manual_seed(4)
    parts = []
    for part in torch.arange(len(rows)).split(256):
        some, place = images[rows[part]].to(device), tops[part].to(device)
        parts.append(distribution.bits(some, torch.arange(len(part), device=device), place, generator).float().cpu())
    return torch.cat(parts)
