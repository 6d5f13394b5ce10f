"""Scores of many images do not depend on how many are scored at once."""

from __future__ import annotations

import torch
from torch import nn

from cae.classifiers import TargetClassifier
from cae.classifiers.batched import batched_features, batched_probabilities


class Pixels(nn.Module):
    """Features: two pixels of an image; logits: twice those."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(2, 2, bias=False)
        self.head.weight.data = 2 * torch.eye(2)

    def features(self, images: torch.Tensor) -> torch.Tensor:
        return images[:, 0, 0, :2]

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.head(self.features(images))


def test_probabilities_and_features_are_those_of_one_batch_in_order_and_without_gradients():
    classifier = TargetClassifier(Pixels(), ("a", "b"), image_shape=(1, 4, 4))
    images = torch.rand(7, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    for batch_size in (1, 3, 64):
        probabilities = batched_probabilities(classifier, images, batch_size)
        features = batched_features(classifier, images, batch_size)
        assert torch.allclose(probabilities, classifier.probabilities(images), atol=1e-6)
        assert torch.allclose(features, classifier.features(images), atol=1e-6)
        assert not probabilities.requires_grad
        assert probabilities.dtype == features.dtype == torch.float32
