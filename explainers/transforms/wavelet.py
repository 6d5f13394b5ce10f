"""Wavelets over pytorch-wavelets, which only this file imports: the DWT and the dual-tree complex transform."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from cae.errors import UserError
from explainers.transforms.representation import LOW_PASS, Band

with warnings.catch_warnings():  # version 1.3.0 asks setuptools for its data files the old way
    warnings.simplefilter("ignore")
    import pywt
    from pytorch_wavelets import DTCWTForward, DTCWTInverse, DWTForward, DWTInverse

EXTENSIONS = ("automatic", "zero")


class WaveletSystem:
    """The separable DWT of images of one size, its coefficients packed in one vector.

    Where ``2^levels`` divides both sides the transform is periodised, hence orthonormal. Elsewhere the image is
    extended symmetrically, and the coefficients are slightly more than the pixels.

    Args:
        height: rows of the images.
        width: columns of the images.
        wavelet: a name that PyWavelets knows; the gradients are exact for orthogonal ones.
        levels: octaves; by default five, or as many as leave the coarsest longer than the filter.
        extension: ``automatic`` as above, or ``zero`` as the published code extends.
        dtype: of images and coefficients.
        device: of the same.

    Raises:
        UserError: for an unknown wavelet, one that is not orthogonal, or more levels than the image has.
    """

    name = "wavelet"

    def __init__(
        self,
        height: int,
        width: int,
        wavelet: str = "db3",
        levels: int | None = None,
        extension: str = "automatic",
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
    ):
        try:
            filters = pywt.Wavelet(wavelet)
        except ValueError as error:
            raise UserError(
                f"`wavelet` must be a name that PyWavelets knows, such as 'db3', not {wavelet!r}."
            ) from error
        if not filters.orthogonal:
            raise UserError(f"`wavelet` must be orthogonal (haar, dbN, symN, coifN), but {wavelet!r} is not.")
        most = most_levels(height, width, filters.dec_len)
        self.levels = min(5, most) if levels is None else levels
        if not 1 <= self.levels <= most:
            raise UserError(f"`levels` must be in [1, {most}] for {height} x {width} pixels, but is {self.levels}.")
        self.shape = (height, width)
        whole = height % 2**self.levels == 0 and width % 2**self.levels == 0
        self.mode = "zero" if extension == "zero" else "periodization" if whole else "symmetric"
        # synthesis is the same map for every extension but the periodic one; the library's gradient of it is exact
        # under the name "zero" only
        synthesis = "periodization" if self.mode == "periodization" else "zero"
        self._forward = DWTForward(self.levels, wavelet, self.mode).to(device, dtype)
        self._inverse = DWTInverse(wavelet, synthesis).to(device, dtype)
        low, high = self._forward(torch.zeros(1, 1, height, width, dtype=dtype, device=device))
        shapes = [(LOW_PASS, 1, low.shape[-2:])]
        shapes += [(scale, 3, part.shape[-2:]) for scale, part in enumerate(reversed(high))]
        self._parts = [(slice(start, start + count * h * w), (count, h, w)) for start, count, h, w in _starts(shapes)]
        self.bands = _measured_bands(self, shapes, dtype, device)

    def analyse(self, images: Tensor) -> Tensor:
        """Coefficients ``(..., n)`` of images ``(..., H, W)``."""
        low, high = self._forward(images.reshape(-1, 1, *self.shape))
        parts = [low.flatten(1), *(part.flatten(1) for part in reversed(high))]
        return torch.cat(parts, 1).unflatten(0, images.shape[:-2]) if images.ndim > 2 else torch.cat(parts, 1)[0]

    def synthesise(self, coefficients: Tensor) -> Tensor:
        """Images ``(..., H, W)`` of coefficients ``(..., n)``."""
        flat = coefficients.reshape(-1, coefficients.shape[-1])
        grids = [flat[:, place].reshape(-1, 1, *shape) for place, shape in self._parts]
        images = self._inverse((grids[0][:, :, 0], grids[:0:-1]))
        return images[:, 0, : self.shape[0], : self.shape[1]].reshape(*coefficients.shape[:-1], *self.shape)

    def synthesise_low(self, coefficients: Tensor) -> Tensor:
        """Images ``(..., H, W)`` of low-pass coefficients alone."""
        return self.synthesise(F.pad(coefficients, (0, self._parts[-1][0].stop - coefficients.shape[-1])))


class DualTreeSystem:
    """The dual-tree complex wavelet transform of images of one size: nearly shift-invariant, six directions per scale.

    Real and imaginary parts count as bands of their own. The image is extended to a multiple of ``2^levels`` pixels.

    Args:
        height: rows of the images.
        width: columns of the images.
        levels: octaves; by default four, or as many as the image has.
        dtype: of images and coefficients.
        device: of the same.

    Reference: Kingsbury 2001, "Complex wavelets for shift invariant analysis and filtering of signals".
    """

    name = "dual_tree"

    def __init__(
        self,
        height: int,
        width: int,
        levels: int | None = None,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
    ):
        most = max(1, min(height, width).bit_length() - 3)
        self.levels = min(4, most) if levels is None else levels
        if not 1 <= self.levels <= most:
            raise UserError(f"`levels` must be in [1, {most}] for {height} x {width} pixels, but is {self.levels}.")
        self.shape = (height, width)
        unit = 2**self.levels
        self._padding = (0, -width % unit, 0, -height % unit)
        # the library makes its tables in the default type
        self._forward = DTCWTForward(J=self.levels).to(device, dtype)
        self._inverse = DTCWTInverse().to(device, dtype)
        low, high = self._forward(self._extended(torch.zeros(1, 1, height, width, dtype=dtype, device=device)))
        shapes = [(LOW_PASS, 1, low.shape[-2:])]
        shapes += [(scale, 12, part.shape[3:5]) for scale, part in enumerate(reversed(high))]
        self._parts = [(slice(start, start + count * h * w), (count, h, w)) for start, count, h, w in _starts(shapes)]
        self.bands = _measured_bands(self, shapes, dtype, device)

    def analyse(self, images: Tensor) -> Tensor:
        """Coefficients ``(..., n)`` of images ``(..., H, W)``."""
        low, high = self._forward(self._extended(images.reshape(-1, 1, *self.shape)))
        # (N, 1, 6, h, w, 2) to (N, 12, h, w): the parts of a direction lie side by side
        grids = [part[:, 0].movedim(-1, 2).flatten(1) for part in reversed(high)]
        return torch.cat([low.flatten(1), *grids], 1).reshape(*images.shape[:-2], -1)

    def synthesise(self, coefficients: Tensor) -> Tensor:
        """Images ``(..., H, W)`` of coefficients ``(..., n)``."""
        flat = coefficients.reshape(-1, coefficients.shape[-1])
        grids = [flat[:, place].reshape(-1, *shape) for place, shape in self._parts]
        high = [grid.unflatten(1, (6, 2)).movedim(2, -1)[:, None].contiguous() for grid in grids[:0:-1]]
        images = self._inverse((grids[0], high))
        return images[:, 0, : self.shape[0], : self.shape[1]].reshape(*coefficients.shape[:-1], *self.shape)

    def synthesise_low(self, coefficients: Tensor) -> Tensor:
        """Images ``(..., H, W)`` of low-pass coefficients alone."""
        return self.synthesise(F.pad(coefficients, (0, self._parts[-1][0].stop - coefficients.shape[-1])))

    def _extended(self, planes: Tensor) -> Tensor:
        return F.pad(planes, self._padding, mode="replicate") if any(self._padding) else planes


def most_levels(height: int, width: int, filter_length: int) -> int:
    """Octaves until the coarsest image to be filtered is shorter than the filter."""
    levels, side = 1, min(height, width)
    while side // 2 >= filter_length:
        side, levels = side // 2, levels + 1
    return levels


@lru_cache(maxsize=4)
def wavelet_system(
    height: int,
    width: int,
    wavelet: str = "db3",
    levels: int | None = None,
    extension: str = "automatic",
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
) -> WaveletSystem:
    """The wavelet system of a size, built once; see ``WaveletSystem``."""
    return WaveletSystem(height, width, wavelet, levels, extension, dtype, device)


@lru_cache(maxsize=4)
def dual_tree_system(
    height: int,
    width: int,
    levels: int | None = None,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
) -> DualTreeSystem:
    """The dual-tree system of a size, built once; see ``DualTreeSystem``."""
    return DualTreeSystem(height, width, levels, dtype, device)


def _starts(shapes: Sequence[tuple[int, int, Any]]) -> list[tuple[int, int, int, int]]:
    """Start in the vector, number of bands, height and width of each scale."""
    found, start = [], 0
    for _, count, (h, w) in shapes:
        found.append((start, count, int(h), int(w)))
        start += count * h * w
    return found


@torch.no_grad()
def _measured_bands(
    system: WaveletSystem | DualTreeSystem,
    shapes: Sequence[tuple[int, int, Any]],
    dtype: torch.dtype,
    device: torch.device | str,
) -> tuple[Band, ...]:
    """Bands whose energy and position are read off the atom in the middle of each, which the border does not cut."""
    height, width = system.shape
    starts = _starts(shapes)
    total = starts[-1][0] + starts[-1][1] * starts[-1][2] * starts[-1][3]
    bands = []
    for (scale, _, _), (start, count, h, w) in zip(shapes, starts, strict=True):
        for direction in range(count):
            first = start + direction * h * w
            probe = torch.zeros(total, dtype=dtype, device=device)
            probe[first + h // 2 * w + w // 2] = 1
            energy = system.synthesise(probe).double().square().cpu()
            norm = energy.sum()
            row = float(energy.sum(1) @ torch.arange(height, dtype=torch.float64) / norm)
            column = float(energy.sum(0) @ torch.arange(width, dtype=torch.float64) / norm)
            origin = (row - h // 2 * height / h, column - w // 2 * width / w)
            share = float(norm) * h * w / (height * width)
            bands.append(Band(slice(first, first + h * w), scale, direction, h, w, share, origin))
    return tuple(bands)
