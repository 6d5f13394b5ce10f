"""The class encoder that reads the class code in the frozen classifier's own features."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol, cast

import torch
from torch import Tensor, nn


class Features(Protocol):
    """What a classifier shows of B images."""

    @property
    def features(self) -> Tensor:
        """``(B, F)``."""

    @property
    def maps(self) -> Sequence[Tensor]:
        """``(B, C, h, w)``, fine to coarse."""


class FeatureReader(Protocol):
    """Reads a frozen classifier from within, as ``classifiers.reading.ClassifierReader`` does."""

    @property
    def feature_size(self) -> int:
        """F."""

    @property
    def map_shapes(self) -> Sequence[tuple[int, int, int]]:
        """``(C, h, w)`` of each map."""

    def __call__(self, images: Tensor, maps: bool = True) -> Features:
        """What it shows of images ``(B, C, H, W)`` in [0, 1]; without ``maps`` features alone."""


class FeatureEncoder(nn.Module):
    """E_c that reads the class code in the frozen classifier's own features: ``c = W (phi - m) / s``.

    A class encoder that learns from a few hundred images does not tell the classifier's answers on new ones; the
    classifier's features do by construction. m and s are mean and standard deviation of the training images' features,
    set once (``calibrate``); so are those of the maps.

    Args:
        reader: of the frozen classifier.
        class_dim: D.
    """

    def __init__(self, reader: FeatureReader, class_dim: int):
        super().__init__()
        self.reader = reader
        self.head = nn.Linear(reader.feature_size, class_dim)
        self.features = Standardised(reader.feature_size)
        self.maps = nn.ModuleList(Standardised(channels) for channels, _, _ in reader.map_shapes)

    def code(self, features: Tensor) -> Tensor:
        """The classifier's features ``(B, F)`` to the code ``(B, D)``."""
        return self.head(self.features(features))

    def forward(self, images: Tensor) -> Tensor:
        """``(B, C, H, W)`` in [0, 1] to ``(B, D)``."""
        return self.code(self.reader(images, maps=False).features)

    def read(self, images: Tensor) -> tuple[Tensor, list[Tensor]]:
        """``(B, C, H, W)`` in [0, 1] to the code ``(B, D)`` and the classifier's maps ``(B, ..., h, w)``."""
        reading = self.reader(images)
        maps = [own(level) for own, level in zip(self.maps, reading.maps, strict=True)]
        return self.code(reading.features), maps

    @torch.no_grad()
    def calibrate(self, images: Tensor) -> None:
        """Take mean and spread of features and maps from images ``(N, C, H, W)`` in [0, 1]."""
        owns = [self.features, *cast(Iterable[Standardised], self.maps)]
        sums = [own.mean.new_zeros(3, len(own.mean), dtype=torch.double) for own in owns]
        for part in images.split(64):
            reading = self.reader(part)
            for place, seen in enumerate((reading.features, *reading.maps)):
                sums[place] += power_sums(seen).to(sums[place])
        for own, total in zip(owns, sums, strict=True):
            own.take(total)


def power_sums(x: Tensor) -> Tensor:
    """Count, sum and sum of squares of every channel of ``(B, channels, ...)``: ``(3, channels)`` float64."""
    values = x.double().transpose(0, 1).flatten(1)
    return torch.stack([torch.full_like(values[:, 0], values.shape[1]), values.sum(1), values.square().sum(1)])


class Standardised(nn.Module):
    """Channels brought to mean 0 and standard deviation 1, by what ``measure`` has found; constant ones to 0."""

    mean: Tensor
    scale: Tensor

    def __init__(self, channels: int):
        super().__init__()
        self.register_buffer("mean", torch.zeros(channels))
        self.register_buffer("scale", torch.ones(channels))

    def measure(self, parts: Sequence[Tensor]) -> None:
        """Take them from batches ``(B, channels, ...)``."""
        self.take(torch.stack([power_sums(part) for part in parts]).sum(0))

    def take(self, sums: Tensor) -> None:
        """Take them from the ``power_sums (3, channels)`` of all values: whole maps need not be kept."""
        count, total, squares = sums
        mean = total / count
        deviation = (squares / count - mean.square()).clamp_min(0).sqrt()
        self.mean.copy_(mean)
        # a channel that hardly ever differs from its mean would blow up what little it has
        self.scale.copy_(torch.where(deviation > 1e-3 * deviation.max(), 1 / deviation, torch.zeros_like(deviation)))

    def forward(self, x: Tensor) -> Tensor:
        """``(B, channels, ...)`` to the same shape."""
        shape = (1, -1, *(1,) * (x.ndim - 2))
        return (x - self.mean.view(shape)) * self.scale.view(shape)
