"""A toy world whose swaps are known: the class is the brightness of the upper half of an image."""

from __future__ import annotations

import torch
from torch import Tensor

from cae.models.cae import Codes

CLASSES = ("low", "middle", "high")


class ToyCAE:
    """The top half of an image is the class code's, the bottom half the individual code's."""

    def encode(self, images: Tensor) -> Codes:
        top, bottom = images.chunk(2, dim=2)
        return Codes(top.mean((2, 3)), bottom)

    def decode(self, class_code: Tensor, individual_code: Tensor) -> Tensor:
        top = class_code[:, :, None, None].expand_as(individual_code)
        return torch.cat([top, individual_code], dim=2)


class StubbornCAE(ToyCAE):
    """A decoder that ignores the class code: the class stays in the individual code."""

    def encode(self, images: Tensor) -> Codes:
        return Codes(torch.zeros(len(images), 1), images)

    def decode(self, class_code: Tensor, individual_code: Tensor) -> Tensor:
        return individual_code


class ToyClassifier:
    """Three classes by the mean of the top half: below 1/3, below 2/3, above."""

    classes = CLASSES

    def features(self, images: Tensor) -> Tensor:
        return images.chunk(2, dim=2)[0].mean((2, 3))

    def probabilities(self, images: Tensor) -> Tensor:
        centres = torch.tensor([1 / 6, 0.5, 5 / 6])
        return (-80 * (self.features(images) - centres).square()).softmax(1)


def toy_images(count: int, seed: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % 3
    top = (labels[:, None, None, None] + 0.5) / 3 + 0.2 * (torch.rand(count, 1, 1, 1, generator=generator) - 0.5)
    bottom = torch.rand(count, 1, 4, 8, generator=generator)
    return torch.cat([top.expand(-1, -1, 4, 8), bottom], dim=2), labels
