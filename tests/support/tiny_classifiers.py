"""Small classifiers whose answers are known, for every test of the explainers."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from cae.classifiers import TargetClassifier
from cae.classifiers.networks import PlainConvNet
from explainers.base import Instance


class LinearHead(nn.Module):
    """Logits ``(B, K)`` linear in the pixels: ``weight (K, C, H, W)`` summed against the image."""

    def __init__(self, weight: Tensor, bias: Tensor | None = None):
        super().__init__()
        self.weight = nn.Parameter(weight)
        self.bias = nn.Parameter(torch.zeros(len(weight)) if bias is None else bias)

    def forward(self, images: Tensor) -> Tensor:
        return images.flatten(1) @ self.weight.flatten(1).T + self.bias


def names(count: int) -> list[str]:
    return [f"class {k}" for k in range(count)]


def linear_classifier(weight: Tensor, bias: Tensor | None = None) -> TargetClassifier:
    """A classifier of logits linear in the pixels, ``weight (K, C, H, W)``."""
    return TargetClassifier(LinearHead(weight, bias), names(len(weight)), image_shape=tuple(weight.shape[1:]))


def small_network(channels: int = 1, classes: int = 3, size: int = 32, seed: int = 0) -> TargetClassifier:
    """An untrained convolutional classifier, the same for the same seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = PlainConvNet(classes, channels, width=8)
    return TargetClassifier(network, names(classes), image_shape=(channels, size, size))


def black_box(channels: int = 1, classes: int = 3, size: int = 32) -> TargetClassifier:
    """The same as a function of NumPy arrays, without gradients."""
    network = small_network(channels, classes, size).network

    def scores(images):
        with torch.no_grad():
            return network(torch.from_numpy(images)).numpy()

    return TargetClassifier(scores, names(classes), image_shape=(channels, size, size), scores="logits")


def random_images(count: int, channels: int = 1, size: int = 32, seed: int = 0) -> Tensor:
    """Smooth noise in [0, 1], so that windows differ."""
    noise = torch.rand(count, channels, size // 4, size // 4, generator=torch.Generator().manual_seed(seed))
    return nn.functional.interpolate(noise, size=(size, size), mode="bilinear").clamp(0, 1)


def instance(classifier: TargetClassifier, image: Tensor, target: int = 0, seed: int = 1) -> Instance:
    """An image as the explainers see it."""
    with torch.no_grad():
        return Instance(image, target, classifier.probabilities(image[None])[0], seed)


def precise(channels: int = 1, size: int = 32, seed: int = 0) -> TargetClassifier:
    """The small network in double precision."""
    return small_network(channels, size=size, seed=seed).double()


def discerning(channels: int = 1, seed: int = 0) -> TargetClassifier:
    """The small network with verdicts that differ, so that masks have something to keep."""
    classifier = small_network(channels, seed=seed)
    with torch.no_grad():
        classifier.network.get_submodule("head").weight.mul_(100)
    return classifier
