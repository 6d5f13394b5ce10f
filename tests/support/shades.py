"""Noise of two kinds, dark and bright: told apart at a glance."""

from __future__ import annotations

import torch

from cae.data.arrays import ArraySet

CLASSES, SHAPE = ("dark", "bright"), (1, 32, 32)


def shades(count: int, seed: int) -> ArraySet:
    """``count`` images of 32 x 32 pixels in turn dark (0) and bright (1)."""
    labels = torch.arange(count) % 2
    images = 0.3 * torch.rand(count, *SHAPE, generator=torch.Generator().manual_seed(seed))
    images[labels == 1] += 0.6
    return ArraySet(images, labels, ids=[f"{seed}-{index}" for index in range(count)])
