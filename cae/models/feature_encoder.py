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
        readings = [self.reader(part) for part in images.split(64)]
        self.features.measure([reading.features for reading in readings])
        for place, own in enumerate(cast(Iterable[Standardised], self.maps)):
            own.measure([reading.maps[place] for reading in readings])


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
        flat = torch.cat([part.double().flatten(2) if part.ndim > 2 else part.double()[..., None] for part in parts])
        deviation = flat.std((0, 2), correction=0)
        self.mean.copy_(flat.mean((0, 2)))
        # a channel that hardly ever differs from its mean would blow up what little it has
        self.scale.copy_(torch.where(deviation > 1e-3 * deviation.max(), 1 / deviation, torch.zeros_like(deviation)))

    def forward(self, x: Tensor) -> Tensor:
        """``(B, channels, ...)`` to the same shape."""
        shape = (1, -1, *(1,) * (x.ndim - 2))
        return (x - self.mean.view(shape)) * self.scale.view(shape)
