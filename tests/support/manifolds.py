"""Small class manifolds whose geometry is known."""

from __future__ import annotations

import math

import torch

from cae.manifold.class_manifold import ClassManifold


def half_circle(count: int = 200) -> torch.Tensor:
    angle = torch.linspace(0, math.pi, count, dtype=torch.float64)
    return torch.stack([angle.cos(), angle.sin()], dim=1)


def manifold_of(codes, bright, **options) -> ClassManifold:
    """A manifold of two classes with the given probabilities of the second."""
    codes, bright = torch.as_tensor(codes, dtype=torch.float32), torch.as_tensor(bright, dtype=torch.float32)
    probabilities = torch.stack([1 - bright, bright], dim=1)
    ids = tuple(f"image {number}" for number in range(len(codes)))
    return ClassManifold(codes, probabilities, (bright > 0.5).long(), ids, ("dark", "bright"), **options)


def random_manifold(count: int = 60, seed: int = 0, **options) -> ClassManifold:
    generator = torch.Generator().manual_seed(seed)
    codes = torch.randn(count, 3, generator=generator) * torch.tensor([1.0, 5.0, 0.1])
    return manifold_of(codes, torch.rand(count, generator=generator), **options)


def three_blobs() -> tuple[torch.Tensor, torch.Tensor]:
    """Sixty codes ``(60, 3)`` in three separate clouds, and the class of each."""
    generator = torch.Generator().manual_seed(0)
    classes = torch.arange(60) % 3
    return 4 * torch.eye(3)[classes] + 0.3 * torch.randn(60, 3, generator=generator), classes
