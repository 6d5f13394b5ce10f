"""The conditional Gaussian in-fill: what a patch looks like given its surroundings, were images Gaussian."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from cae.errors import UserError
from explainers.infills.base import Sampler, crops, digest, noise, place_crops

LARGEST_SIDE = 16  # larger windows are modelled at a lower resolution, so that the covariance stays small
PATCHES_PER_DIMENSION = 10
LEAST_PATCHES = 10_000
RIDGE = 1e-4  # of the mean variance, added to the diagonal


@dataclass(frozen=True, eq=False)
class PatchGaussian:
    """Mean and covariance of square patches, one Gaussian for each of C decorrelated colours.

    Attributes:
        side: pixels of a patch's side, at the resolution of the model.
        colours: ``(C, C)``, its columns are the new colours in terms of the old.
        mean: ``(C, side^2)``.
        covariance: ``(C, side^2, side^2)``.
    """

    side: int
    colours: Tensor
    mean: Tensor
    covariance: Tensor


@dataclass(frozen=True, eq=False)
class Conditional:
    """Given the known pixels k, the hole h is Gaussian: mean ``mean_h + W (x_k - mean_k)``, covariance of the residual.

    Attributes:
        hole: ``(side^2,)`` bool.
        weights: ``(C, h, k)``.
        factor: ``(C, h, h)`` Cholesky factor of the residual covariance, or its diagonal's root.
    """

    hole: Tensor
    weights: Tensor
    factor: Tensor


def fit_patch_gaussian(patches: Tensor) -> PatchGaussian:
    """Mean and covariance of patches ``(P, C, side, side)``, with a ridge; float64.

    The colours are turned by the eigenvectors of the pixel colours' covariance, and modelled independently.
    """
    pixels = patches.transpose(0, 1).flatten(1).double()  # (C, P side^2)
    colours = torch.linalg.eigh(torch.cov(pixels).reshape(len(pixels), -1)).eigenvectors
    turned = torch.einsum("pcyx,cd->dpyx", patches.double(), colours).flatten(2)
    mean = turned.mean(1)
    centred = (turned - mean[:, None]).float()  # float32: the product is what takes the time
    covariance = (centred.transpose(1, 2) @ centred).double() / max(patches.shape[0] - 1, 1)
    ridge = RIDGE * covariance.diagonal(dim1=1, dim2=2).mean(1) + 1e-8
    covariance = covariance + torch.diag_embed(ridge[:, None].expand(-1, covariance.shape[-1]))
    return PatchGaussian(patches.shape[-1], colours, mean, covariance)


def condition(model: PatchGaussian, hole: Tensor, diagonal: bool = False) -> Conditional:
    """The distribution of the hole given the rest: ``W = S_hk S_kk^-1``, residual ``S_hh - W S_kh``.

    Args:
        model: of whole patches.
        hole: ``(side^2,)`` bool, the pixels to be drawn.
        diagonal: keep the variances of the residual alone, so that pixels are drawn independently.
    """
    s = model.covariance
    s_hh, s_hk, s_kk = s[:, hole][:, :, hole], s[:, hole][:, :, ~hole], s[:, ~hole][:, :, ~hole]
    if s_kk.shape[-1]:
        weights = torch.cholesky_solve(s_hk.transpose(1, 2), torch.linalg.cholesky(s_kk)).transpose(1, 2)
    else:
        weights = s_hk
    residual = s_hh - weights @ s_hk.transpose(1, 2)
    variances = residual.diagonal(dim1=1, dim2=2).clamp_min(0)
    factor = torch.diag_embed(variances.sqrt()) if diagonal else torch.linalg.cholesky(residual)
    return Conditional(hole, weights, factor)


class Gaussian(Sampler):
    """Draws from a Gaussian over the window and half a window of context around it, fitted to training images.

    Patches are fitted when a size of window is first asked for. At the borders of the image the window is no longer in
    the middle of its context; it is then conditioned on the pixels that are there, exactly. Windows of more than 16
    pixels are modelled at a lower resolution and drawn without fine texture.

    Args:
        background: ``(N, C, H, W)`` training images in [0, 1].
        diagonal: draw every pixel independently, given the context.

    Reference: Zintgraf et al. 2017, ICLR, section 3.1 (conditional sampling).
    """

    name = "gaussian"

    def __init__(self, background: Tensor, diagonal: bool = False):
        self.background, self.diagonal = background, diagonal
        if diagonal:
            self.name = "gaussian_diagonal"
        self.fingerprint = digest(background[:64])
        self._models: dict[tuple[int, int], PatchGaussian] = {}
        self._conditionals: dict[tuple[int, int, int, int], Conditional] = {}

    def sample(self, image: Tensor, tops: Tensor, size: int, n: int, generators: Sequence[torch.Generator]) -> Tensor:
        """Draw from the conditional of each window's position in its context."""
        corners, side = self._corners(tops, size, image.shape[1:])
        offsets = tops.cpu() - corners
        out = image.new_empty(len(tops), n, len(image), size, size)
        for offset in offsets.unique(dim=0):
            rows = (offsets == offset).all(1).nonzero()[:, 0]
            drawn = self._draw(crops(image, corners[rows], side), offset, size, n, [generators[m] for m in rows])
            out[rows.to(out.device)] = drawn
        return out

    def _draw(self, around: Tensor, offset: Tensor, size: int, n: int, generators: Sequence[torch.Generator]) -> Tensor:
        """Fills ``(M, n, C, size, size)`` of contexts ``(M, C, side, side)``, the window at the same offset in all."""
        count, channels, side = around.shape[:3]
        y, x = offset.tolist()
        model = self._model(size, side)
        found = self._conditional(size, side, y, x)
        hole = found.hole.to(around.device)
        known = around.clone()
        known[..., y : y + size, x : x + size] = 0  # so that lowering the resolution mixes nothing of it in
        low = F.adaptive_avg_pool2d(known, model.side).double()
        colours, mean, weights, factor = (
            part.to(around.device) for part in (model.colours, model.mean, found.weights, found.factor)
        )
        turned = torch.einsum("mcyx,cd->mdyx", low, colours).flatten(2)  # (M, C, side^2)
        expected = torch.einsum("chk,mck->mch", weights, turned[..., ~hole] - mean[:, ~hole]) + mean[:, hole]
        drawn = noise(count, n, channels * int(hole.sum()), generators).to(around.device, torch.float64)
        residual = torch.einsum("chj,mncj->mnch", factor, drawn.unflatten(2, (channels, -1)))
        whole = turned[:, None].expand(-1, n, -1, -1).clone()
        whole[..., hole] = expected[:, None] + residual
        fills = torch.einsum("mndp,cd->mncp", whole, colours).float().unflatten(-1, (model.side, model.side))
        if model.side != side:
            fills = F.interpolate(fills.flatten(0, 1), size=(side, side), mode="bilinear").unflatten(0, (count, n))
        return fills[..., y : y + size, x : x + size].clamp(0, 1)

    def bits(self, images: Tensor, rows: Tensor, tops: Tensor, size: int) -> Tensor:
        """Minus the log2-density of windows, given their context, per dimension and on 256 levels: ``(M,)``.

        Args:
            images: ``(B, C, H, W)``, dequantised, as the background must be too.
            rows: ``(M,)`` image of each window.
            tops: ``(M, 2)`` upper left pixels.
            size: side of the windows, at most 16: larger ones are modelled at a lower resolution.
        """
        corners, side = self._corners(tops, size, images.shape[2:])
        offsets, out = tops - corners, torch.zeros(len(tops), dtype=torch.float64)
        model = self._model(size, side)
        for offset in offsets.unique(dim=0):
            chosen = (offsets == offset).all(1).nonzero()[:, 0]
            found = self._conditional(size, side, *offset.tolist())
            around = place_crops(images, rows[chosen], corners[chosen], side).double()
            turned = torch.einsum("mcyx,cd->mdyx", around, model.colours).flatten(2) - model.mean
            rest = turned[..., found.hole] - torch.einsum("chk,mck->mch", found.weights, turned[..., ~found.hole])
            white = torch.linalg.solve_triangular(found.factor, rest.movedim(0, 2), upper=False)  # (C, h, M)
            scale = found.factor.diagonal(dim1=1, dim2=2).log().sum()
            dimension = rest[0].numel()
            nats = white.square().sum((0, 1)) / 2 + scale + dimension * math.log(2 * math.pi) / 2
            out[chosen] = nats / dimension / math.log(2) + math.log2(256)
        return out

    @staticmethod
    def _corners(tops: Tensor, size: int, shape: Sequence[int]) -> tuple[Tensor, int]:
        """Upper left pixels ``(M, 2)`` of the contexts, which lie inside the image, and their side."""
        margin = _margin(size, min(shape))
        side = size + 2 * margin
        return torch.minimum((tops.cpu() - margin).clamp_min(0), torch.tensor(shape) - side), side

    def _model(self, size: int, side: int) -> PatchGaussian:
        if (size, side) not in self._models:
            low = _model_side(size, side)
            self._models[size, side] = fit_patch_gaussian(training_patches(self.background, side, low))
        return self._models[size, side]

    def _conditional(self, size: int, side: int, y: int, x: int) -> Conditional:
        key = (size, side, y, x)
        if key not in self._conditionals:
            model = self._model(size, side)
            mask = torch.zeros(1, 1, side, side)
            mask[..., y : y + size, x : x + size] = 1
            hole = F.adaptive_avg_pool2d(mask, model.side).flatten() > 0
            self._conditionals[key] = condition(model, hole, self.diagonal)
        return self._conditionals[key]


def training_patches(background: Tensor, side: int, low: int) -> Tensor:
    """Patches ``(P, C, low, low)`` of random places, half of them mirrored, seeded.

    Ten for each dimension, and 10,000 at least: with fewer, small windows are modelled worse than they could be.

    Args:
        background: ``(N, C, H, W)`` images.
        side: pixels of a patch's side.
        low: the same after averaging.
    """
    if min(background.shape[2:]) < side:
        raise UserError(
            f"the Gaussian in-fill needs training images of at least {side} pixels a side for this window, but they "
            f"are {tuple(background.shape[2:])}."
        )
    generator = torch.Generator().manual_seed(0)
    count = max(PATCHES_PER_DIMENSION * low * low, LEAST_PATCHES)
    which = torch.randint(len(background), (count,), generator=generator)
    limits = torch.tensor(background.shape[2:]) - side + 1
    places = (torch.rand(count, 2, generator=generator) * limits).long()
    patches = []
    for row, (y, x) in zip(which.tolist(), places.tolist(), strict=True):
        patches.append(F.adaptive_avg_pool2d(background[row, :, y : y + side, x : x + side].float(), low))
    found = torch.stack(patches)
    mirrored = torch.rand(count, generator=generator) < 0.5
    return torch.where(mirrored[:, None, None, None], found.flip(-1), found)


def _margin(size: int, shortest: int) -> int:
    """Pixels of context on each side: half the window, or what the image has."""
    return min(size // 2, (shortest - size) // 2)


def _model_side(size: int, side: int) -> int:
    """Pixels of the context's side at the resolution of the model."""
    return side if size <= LARGEST_SIDE else max(round(side * LARGEST_SIDE / size), 1)
