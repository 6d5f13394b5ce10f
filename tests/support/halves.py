"""A classifier of two features, the means of the left and the right half of an image, and masks that fit it."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from cae.classifiers import TargetClassifier
from explainers.caes.ncc import CausationNetwork, NeuralCausation

SIZE = 8


class Halves(nn.Module):
    """Features ``(N, 2)``: mean of the left half, mean of the right half; a linear head of K or of one score."""

    def __init__(self, weight: Tensor):
        super().__init__()
        self.head = nn.Linear(2, len(weight), bias=False)
        self.head.weight.data.copy_(weight)

    def features(self, images: Tensor) -> Tensor:
        left, right = images[..., : SIZE // 2], images[..., SIZE // 2 :]
        return torch.stack([left.mean((1, 2, 3)), right.mean((1, 2, 3))], 1)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.features(images))


def halves(*rows: list[float]) -> TargetClassifier:
    """The classifier with these rows of head weights, one for a single score, K for K classes."""
    names = [f"class {k}" for k in range(max(2, len(rows)))]
    return TargetClassifier(Halves(torch.tensor(rows)), names, image_shape=(1, SIZE, SIZE))


def left_masks(count: int) -> Tensor:
    masks = torch.zeros(count, 1, SIZE, SIZE, dtype=torch.bool)
    masks[..., : SIZE // 2] = True
    return masks


def positive_images(count: int, seed: int = 0, size: int = SIZE) -> Tensor:
    return 0.1 + 0.9 * torch.rand(count, 1, size, size, generator=torch.Generator().manual_seed(seed))


def untrained_ncc(networks: int = 2) -> NeuralCausation:
    """Networks that know nothing, but answer differently to different clouds."""
    made = []
    with torch.random.fork_rng(devices=[]):
        for seed in range(networks):
            torch.manual_seed(seed)
            network = CausationNetwork(10).eval()
            network.classify[-1].weight.data *= 100
            made.append(network)
    return NeuralCausation(made)
