"""Random changes of a training batch, on its device, without a loop over images."""

from __future__ import annotations

import torch
from torch import Tensor


def random_shift(images: Tensor, pixels: int) -> Tensor:
    """Each image of ``(B, C, H, W)`` moved by up to ``pixels`` in both directions; edges are continued outwards."""
    if pixels == 0:
        return images
    batch, _, height, width = images.shape
    offsets = torch.randint(-pixels, pixels + 1, (2, batch, 1), device=images.device)
    rows = (torch.arange(height, device=images.device) + offsets[0]).clamp(0, height - 1)  # (B, H)
    columns = (torch.arange(width, device=images.device) + offsets[1]).clamp(0, width - 1)  # (B, W)
    index = torch.arange(batch, device=images.device)
    moved = images[index[:, None, None], :, rows[:, :, None], columns[:, None, :]]  # (B, H, W, C)
    return moved.permute(0, 3, 1, 2)


def random_noise(images: Tensor, largest: float) -> Tensor:
    """Gaussian noise on ``(B, C, H, W)`` in [0, 1], its standard deviation uniform in [0, largest] for each image."""
    if largest == 0:
        return images
    level = torch.rand(len(images), 1, 1, 1, device=images.device, dtype=images.dtype) * largest
    return (images + level * torch.randn_like(images)).clamp(0, 1)
