"""A toy world of three classes at three corners: of three numbers in the class code, two matter."""

from __future__ import annotations

import torch
from torch import Tensor

from cae.config import ManifoldConfig
from cae.manifold.class_manifold import ClassManifold
from cae.manifold.latent_shift import LatentShift
from cae.models.cae import Codes

CLASSES = ("a", "b", "c")
CORNERS = torch.tensor([[0.1, 0.1], [0.9, 0.1], [0.1, 0.6]])


class TwoOfThree:
    """Class code: three numbers, of which two are the grey values of the halves of an image; the third does nothing."""

    def encode(self, images: Tensor) -> Codes:
        halves = torch.stack([images[:, 0, :2].mean((1, 2)), images[:, 0, 2:].mean((1, 2))], 1)
        return Codes(torch.cat([halves, images[:, 0, :1, 0] * 0 + 0.5], 1), images[:, :, :1])

    def decode(self, class_code: Tensor, individual_code: Tensor) -> Tensor:
        rows = class_code[:, [0, 0, 1, 1]]
        return rows[:, None, :, None].expand(-1, 1, 4, 4)


class Corners:
    """Three classes by the nearest of three points in the plane of the two grey values."""

    classes, differentiable, evaluations = CLASSES, True, 0

    def features(self, images: Tensor) -> Tensor:
        return torch.stack([images[:, 0, :2].mean((1, 2)), images[:, 0, 2:].mean((1, 2))], 1)

    def probabilities(self, images: Tensor) -> Tensor:
        distance = (self.features(images)[:, None] - CORNERS[None]).square().sum(2)
        return (-60 * distance).softmax(1)


def corner_images(count: int = 90, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % 3
    halves = CORNERS[labels] + 0.03 * torch.randn(count, 2, generator=generator)
    return halves[:, [0, 0, 1, 1]][:, None, :, None].expand(-1, 1, 4, 4).clamp(0, 1).contiguous(), labels


def corner_manifold() -> ClassManifold:
    images, labels = corner_images()
    codes = TwoOfThree().encode(images).class_code
    codes[:, 2] += 0.2 * torch.randn(len(codes), generator=torch.Generator().manual_seed(5))
    ids = tuple(f"train/{number}" for number in range(len(codes)))
    return ClassManifold(codes, Corners().probabilities(images), labels, ids, CLASSES, ManifoldConfig(neighbours=5))


def shifted_world() -> tuple[LatentShift, Tensor]:
    images, _ = corner_images(60, 1)
    found = LatentShift.of(TwoOfThree(), {"target": Corners(), "oracle": Corners()}, images, batch_size=7)
    return found, Corners().probabilities(images).argmax(1)
