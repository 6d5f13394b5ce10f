"""What a representation of images is to the mask explainers: coefficients in bands, packed in one vector."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

LOW_PASS = -1  # the `scale` of the low-pass band


@dataclass(frozen=True)
class Band:
    """One band of a representation: a grid of coefficients at equal spacing.

    Attributes:
        place: where the band lies in the vector of all coefficients.
        scale: 0 for the coarsest, growing towards fine detail; ``LOW_PASS`` for the low-pass.
        direction: number within the scale.
        height: rows of the grid.
        width: columns of the grid.
        energy: pixel variance that white noise of variance 1 in this band makes, on average over the image.
        origin: position in pixels (row, column) of the band's first atom.
    """

    place: slice
    scale: int
    direction: int
    height: int
    width: int
    energy: float
    origin: tuple[float, float] = (0.0, 0.0)

    @property
    def count(self) -> int:
        """Coefficients of the band."""
        return self.height * self.width


class Representation(Protocol):
    """A linear transform T with a linear inverse S on its range (``S T = id``), both differentiable."""

    name: str

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width of the images."""

    @property
    def bands(self) -> Sequence[Band]:
        """The bands, in the order of the vector; the first is the one that carries the mean."""

    def analyse(self, images: Tensor) -> Tensor:
        """Coefficients ``(..., n)`` of images ``(..., H, W)``."""

    def synthesise(self, coefficients: Tensor) -> Tensor:
        """Images ``(..., H, W)`` of coefficients ``(..., n)``."""

    def synthesise_low(self, coefficients: Tensor) -> Tensor:
        """Images ``(..., H, W)`` of the first band's coefficients alone, ``(..., n of the band)``."""


class PixelRepresentation:
    """The pixels themselves: one band.

    Args:
        height: rows of the images.
        width: columns of the images.
    """

    name = "pixel"

    def __init__(self, height: int, width: int):
        self.shape = (height, width)
        self.bands = (Band(slice(0, height * width), 0, 0, height, width, 1.0),)

    def analyse(self, images: Tensor) -> Tensor:
        """Flatten images ``(..., H, W)`` to ``(..., H W)``."""
        return images.flatten(-2)

    def synthesise(self, coefficients: Tensor) -> Tensor:
        """Images ``(..., H, W)`` of vectors ``(..., H W)``."""
        return coefficients.unflatten(-1, self.shape)

    synthesise_low = synthesise


def per_coefficient(bands: Sequence[Band], values: Tensor) -> Tensor:
    """One value per band ``(..., K)``, repeated for each of its coefficients: ``(..., n)``."""
    counts = torch.tensor([band.count for band in bands], device=values.device)
    return values.repeat_interleave(counts, dim=-1)


def pixel_weights(bands: Sequence[Band], shape: tuple[int, int]) -> Tensor:
    """Pixels that one coefficient of each band stands for, ``(K,)`` float64: ``H W / (h w)``."""
    pixels = shape[0] * shape[1]
    return torch.tensor([pixels / band.count for band in bands], dtype=torch.float64)


def planes(bands: Sequence[Band], coefficients: Tensor) -> list[Tensor]:
    """The vector ``(..., n)`` cut into one grid ``(..., h, w)`` per band."""
    return [coefficients[..., band.place].unflatten(-1, (band.height, band.width)) for band in bands]


def spread(band: Band, plane: Tensor, shape: tuple[int, int]) -> Tensor:
    """A band's grid ``(..., h, w)`` at all pixels ``(..., H, W)``: circular linear interpolation between the atoms."""
    rows = _interpolation(shape[0], band.height, band.origin[0], plane)
    columns = _interpolation(shape[1], band.width, band.origin[1], plane)
    return rows @ plane @ columns.mT


def _interpolation(pixels: int, count: int, origin: float, like: Tensor) -> Tensor:
    """Weights ``(pixels, count)``: coefficient i lies at pixel ``origin + i pixels / count``, circularly."""
    if count == pixels and origin == 0:
        return torch.eye(pixels, dtype=like.dtype, device=like.device)
    place = ((torch.arange(pixels, dtype=torch.float64) - origin) * count / pixels) % count
    low = place.floor()
    share = (place - low).to(like.dtype)
    weights = torch.zeros(pixels, count, dtype=like.dtype)
    row = torch.arange(pixels)
    weights.index_put_((row, low.long() % count), 1 - share, accumulate=True)
    weights.index_put_((row, (low.long() + 1) % count), share, accumulate=True)
    return weights.to(like.device)


LEAST_ENERGY = 1e-12  # of coefficients whose entropy is asked for


def energy_entropy(coefficients: Tensor) -> Tensor:
    """Entropy of the shares of energy, in nats: ``H = -sum q log q``, ``q = c^2 / sum c^2``, over the last two axes.

    Reference: Kolek et al. 2023, arXiv:2211.12857, CP-Entropy.
    """
    energy = coefficients.square()
    # a mask of zeros has entropy 0, and slopes that are finite
    shares = energy / energy.sum((-2, -1), keepdim=True).clamp_min(LEAST_ENERGY)
    # not xlogy, whose gradient at 0 is infinite
    return -(shares * shares.clamp_min(torch.finfo(energy.dtype).tiny).log()).sum((-2, -1))
