"""A fast digital shearlet transform by FFT: a Parseval frame of real coefficients, for any height and width.

Cone-adapted directional windows as in ShearLab (Kutyniok, Lim and Reisenhofer 2016, arXiv:1402.5670), but with
band-limited filters whose squares sum to 1 on every frequency, so that the adjoint is the inverse; each scale is
sampled on the smallest grid that holds its frequencies, which loses nothing.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from cae.errors import UserError
from explainers.transforms.representation import LOW_PASS, Band

SMALLEST_SIDE = 8
MOST_SCALES = 4


def smooth_step(t: Tensor) -> Tensor:
    """A step from 0 to 1 over [0, 1] with ``v(t) + v(1 - t) = 1``: Meyer's polynomial under a sine squared."""
    t = t.clamp(0, 1)
    return (math.pi / 2 * t**4 * (35 - 84 * t + 70 * t**2 - 20 * t**3)).sin() ** 2


def default_scales(height: int, width: int) -> int:
    """As many scales, at most four, as leave no band empty."""
    return min(max(int(math.log2(min(height, width))) - 2, 1), MOST_SCALES)


def default_levels(scales: int) -> tuple[int, ...]:
    """Shear levels per scale, coarse to fine, by parabolic scaling: 1, 1, 2, 2; a scale has ``4 2^level`` bands."""
    return tuple((j + 2) // 2 for j in range(scales))


def slopes(sx: Tensor, sy: Tensor) -> Tensor:
    """Direction of frequencies as a slope with period 4: ``sy/sx`` in the horizontal cone, else ``2 - sx/sy``."""
    flat = sx.abs() >= sy.abs()
    steep = 2 - sx / torch.where(flat, 1, sy)
    return torch.where(flat, sy / torch.where(sx == 0, 1, sx), steep)


def squared_windows(sx: Tensor, sy: Tensor, levels: Sequence[int]) -> Tensor:
    """Squares of all filters ``(K, ...)`` at normalised frequencies in [-1, 1]; they sum to 1.

    Args:
        sx: horizontal frequencies, 1 for half a cycle per pixel.
        sy: vertical frequencies, likewise.
        levels: shear level of each scale, coarse to fine.
    """
    scales = len(levels)
    radius, slope = torch.maximum(sx.abs(), sy.abs()), slopes(sx, sy)
    rises = [smooth_step(2.0 ** (scales - j + 1) * radius - 1) for j in range(scales)]
    windows = [1 - rises[0]]
    for j, level in enumerate(levels):
        ring = rises[j] - rises[j + 1] if j + 1 < scales else rises[j]
        count = 4 * 2**level
        for k in range(count):
            distance = (slope - 4 * k / count + 2).remainder(4).sub(2).abs()
            windows.append(ring * (1 - smooth_step(distance * count / 4)))
    return torch.stack(windows)


def half_spectrum(height: int, width: int) -> tuple[Tensor, Tensor]:
    """Normalised frequencies ``sx, sy (H, W // 2 + 1)`` of ``rfft2``, float64; rows in FFT order."""
    rows = torch.fft.fftfreq(height, 1 / height, dtype=torch.float64)
    columns = torch.arange(width // 2 + 1, dtype=torch.float64)
    sy, sx = torch.meshgrid(2 * rows / height, 2 * columns / width, indexing="ij")
    return sx, sy


def frame_filters(height: int, width: int, levels: Sequence[int]) -> Tensor:
    """Real, even filters ``(K, H, W // 2 + 1)`` float64 whose squares sum to 1 in every bin."""
    sx, sy = half_spectrum(height, width)
    squares = squared_windows(sx, sy, levels)
    # frequencies that are their own alias stand for both signs: the mean keeps the filters even
    mirrored = squared_windows(sx, -sy, levels)
    own_alias = torch.zeros(height, width // 2 + 1, dtype=torch.bool)
    if height % 2 == 0:
        own_alias[height // 2] = True
    if width % 2 == 0:
        own_alias[:, width // 2] = True
    squares = torch.where(own_alias, (squares + mirrored) / 2, squares)
    return (squares / squares.sum(0)).sqrt()


def full_spectrum_sum(half: Tensor, width: int) -> Tensor:
    """Sum over the full spectrum of an even quantity given on the half spectrum ``(..., H, W // 2 + 1)``."""
    twice = torch.full((width // 2 + 1,), 2.0, dtype=half.dtype, device=half.device)
    twice[0] = 1
    if width % 2 == 0:
        twice[-1] = 1
    return (half * twice).sum((-2, -1))


@dataclass(frozen=True, eq=False)
class _Group:
    """Bands of one scale on one grid: their filters and their place in the vector.

    The filters ``(k, h, w // 2 + 1, 2)`` stand twice, for real and imaginary parts: a product with a complex spectrum
    would make them complex first, and one that broadcasts over the two parts is four times slower on a CPU.
    """

    paired: Tensor
    height: int
    width: int
    place: slice

    @property
    def filters(self) -> Tensor:
        """Filters ``(k, h, w // 2 + 1)``."""
        return self.paired[..., 0]


class ShearletSystem:
    """A Parseval frame of shearlets for images of one size; build it with ``shearlet_system``, which keeps it.

    ``synthesise`` is both the adjoint and the inverse of ``analyse``; each is the other's gradient.

    Args:
        height: rows of the images, at least 8.
        width: columns of the images, at least 8.
        levels: shear level of each scale, coarse to fine.
        decimate: sample each scale on the smallest grid without aliasing, instead of on every pixel.
        dtype: of images and coefficients, float32 or float64.
        device: of the same.

    Raises:
        UserError: for a side below 8, or more scales or directions than the image has frequencies for.
    """

    name = "shearlet"

    def __init__(
        self,
        height: int,
        width: int,
        levels: Sequence[int],
        decimate: bool = True,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
    ):
        if min(height, width) < SMALLEST_SIDE:
            raise UserError(f"Shearlets need images of at least 8 x 8 pixels, but got {height} x {width}.")
        self.shape = (height, width)
        self.levels = tuple(levels)
        self.decimate = decimate
        filters = frame_filters(height, width, self.levels)
        energies = full_spectrum_sum(filters**2, width) / (height * width)
        if bool((energies == 0).any()):
            raise UserError(
                f"`levels` {self.levels} leave shearlets without any frequency at {height} x {width} pixels; "
                f"take fewer scales or directions (default: {default_levels(default_scales(height, width))})."
            )
        self.groups: list[_Group] = []
        self.bands: list[Band] = []
        counts = [1, *(4 * 2**level for level in self.levels)]
        first = 0
        for scale, count in enumerate(counts, LOW_PASS):
            h, w = self._grid(scale)
            rows = torch.cat([torch.arange(h - h // 2), torch.arange(height - h // 2, height)])
            cropped = filters[first : first + count, rows, : w // 2 + 1].to(device, dtype)
            start = self.bands[-1].place.stop if self.bands else 0
            paired = cropped[..., None].expand(*cropped.shape, 2).contiguous()
            self.groups.append(_Group(paired, h, w, slice(start, start + count * h * w)))
            for k in range(count):
                place = slice(start + k * h * w, start + (k + 1) * h * w)
                self.bands.append(Band(place, scale, k, h, w, float(energies[first + k])))
            first += count

    @property
    def count(self) -> int:
        """Coefficients of one plane."""
        return self.bands[-1].place.stop

    def analyse(self, images: Tensor) -> Tensor:
        """Coefficients ``(..., n)`` of images ``(..., H, W)``."""
        if tuple(images.shape[-2:]) != self.shape:
            raise UserError(f"This shearlet system is for images (..., {self.shape[0]}, {self.shape[1]}), "
                            f"but got {tuple(images.shape)}.")  # fmt: skip
        return _Analysis.apply(images, self)

    def synthesise(self, coefficients: Tensor) -> Tensor:
        """Images ``(..., H, W)`` of coefficients ``(..., n)``."""
        if coefficients.shape[-1] != self.count:
            raise UserError(f"This shearlet system has {self.count} coefficients, but got {coefficients.shape[-1]}.")
        return _Synthesis.apply(coefficients, self)

    def synthesise_low(self, coefficients: Tensor) -> Tensor:
        """Images ``(..., H, W)`` of low-pass coefficients ``(..., h w)`` alone."""
        return _LowSynthesis.apply(coefficients, self)

    def split(self, spectrum: Tensor, which: slice = slice(None)) -> Tensor:
        """Coefficients of the groups ``which`` from the ortho-normalised half spectrum of images."""
        height = self.shape[0]
        parts = []
        for group in self.groups[which]:
            upper, lower = group.height - group.height // 2, group.height // 2
            columns = spectrum[..., : group.width // 2 + 1]
            kept = columns if group.height == height else torch.cat(
                [columns[..., :upper, :], columns[..., height - lower :, :]], -2
            )  # fmt: skip
            bands = torch.view_as_real(kept).unsqueeze(-4) * group.paired
            grids = torch.fft.irfft2(torch.view_as_complex(bands), (group.height, group.width), norm="ortho")
            parts.append(grids.flatten(-3))
        return torch.cat(parts, -1) if len(parts) > 1 else parts[0]

    def merge(self, coefficients: Tensor, which: slice = slice(None)) -> Tensor:
        """Ortho-normalised half spectrum of the images whose groups ``which`` have these coefficients."""
        height, width = self.shape
        lead = coefficients.shape[:-1]
        spectrum = coefficients.new_zeros((*lead, height, width // 2 + 1, 2))
        start = self.groups[which][0].place.start
        for group in self.groups[which]:
            grids = coefficients[..., group.place.start - start : group.place.stop - start]
            grids = grids.reshape(*lead, len(group.filters), group.height, group.width)
            bands = torch.view_as_real(torch.fft.rfft2(grids, norm="ortho"))
            summed = bands.mul_(group.paired).sum(-4)
            upper, lower, columns = group.height - group.height // 2, group.height // 2, group.width // 2 + 1
            spectrum[..., :upper, :columns, :] += summed[..., :upper, :, :]
            spectrum[..., height - lower :, :columns, :] += summed[..., upper:, :, :]
        return torch.view_as_complex(spectrum)

    def _grid(self, scale: int) -> tuple[int, int]:
        """Rows and columns on which a scale is sampled."""
        if not self.decimate or scale == len(self.levels) - 1:
            return self.shape
        limit = 2.0 ** -(len(self.levels) - 1 - scale)  # the filters vanish from this frequency on
        height, width = (min(2 * math.ceil(limit * side / 2), side) for side in self.shape)
        return height, width


class _Analysis(torch.autograd.Function):
    """T, whose gradient is S; nothing is saved."""

    @staticmethod
    def forward(ctx, images, system):
        ctx.system = system
        return system.split(torch.fft.rfft2(images, norm="ortho"))

    @staticmethod
    def backward(ctx, gradient):
        return _Synthesis.apply(gradient, ctx.system), None


class _Synthesis(torch.autograd.Function):
    """S, whose gradient is T; nothing is saved."""

    @staticmethod
    def forward(ctx, coefficients, system):
        ctx.system = system
        return torch.fft.irfft2(system.merge(coefficients), system.shape, norm="ortho")

    @staticmethod
    def backward(ctx, gradient):
        return _Analysis.apply(gradient, ctx.system), None


class _LowSynthesis(torch.autograd.Function):
    """S of the low-pass band alone."""

    @staticmethod
    def forward(ctx, coefficients, system):
        ctx.system = system
        return torch.fft.irfft2(system.merge(coefficients, slice(0, 1)), system.shape, norm="ortho")

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient):
        return ctx.system.split(torch.fft.rfft2(gradient, norm="ortho"), slice(0, 1)), None


@lru_cache(maxsize=4)
def _kept_system(
    height: int, width: int, levels: tuple[int, ...], decimate: bool, dtype: torch.dtype, device: torch.device
) -> ShearletSystem:
    return ShearletSystem(height, width, levels, decimate, dtype, device)


def shearlet_system(
    height: int,
    width: int,
    levels: Sequence[int] | None = None,
    decimate: bool = True,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
) -> ShearletSystem:
    """The shearlet system of a size, built once per size, type and device; see ``ShearletSystem``."""
    if min(height, width) < SMALLEST_SIDE:
        raise UserError(f"Shearlets need images of at least 8 x 8 pixels, but got {height} x {width}.")
    chosen = tuple(levels) if levels is not None else default_levels(default_scales(height, width))
    return _kept_system(height, width, chosen, decimate, dtype, torch.device(device))


def shearlet_transform(images: Tensor, levels: Sequence[int] | None = None, decimate: bool = True) -> list[Tensor]:
    """Shearlet coefficients of images ``(..., H, W)``: one tensor ``(..., bands, h, w)`` per scale, low-pass first.

    >>> coefficients = shearlet_transform(torch.rand(2, 3, 64, 48))
    >>> [tuple(scale.shape) for scale in coefficients[:2]]
    [(2, 3, 1, 8, 6), (2, 3, 8, 16, 12)]
    """
    if images.ndim < 2:
        raise UserError(f"Images must be (..., H, W), but are {tuple(images.shape)}.")
    system = shearlet_system(images.shape[-2], images.shape[-1], levels, decimate, images.dtype, images.device)
    flat = system.analyse(images)
    return [
        flat[..., group.place].unflatten(-1, (len(group.filters), group.height, group.width)) for group in system.groups
    ]


def inverse_shearlet_transform(
    coefficients: Sequence[Tensor], shape: tuple[int, int], levels: Sequence[int] | None = None, decimate: bool = True
) -> Tensor:
    """Images ``(..., *shape)`` of what ``shearlet_transform`` gave, with the same ``levels`` and ``decimate``."""
    some = coefficients[0]
    system = shearlet_system(*shape, levels, decimate, some.dtype, some.device)
    return system.synthesise(torch.cat([scale.flatten(-3) for scale in coefficients], -1))
