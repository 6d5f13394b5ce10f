"""Pictures that a masked representation is judged by: what is kept, and what is put in place of the rest."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from explainers.infills.blur import gaussian_blur
from explainers.transforms.representation import Representation, per_coefficient

COMPOSITIONS = ("displayed", "moved", "noise", "mean", "blur", "pyramid")
NOISES = ("global", "band", "published")
PYRAMID_LEVELS, PYRAMID_SIGMA = 8, 20.0  # pixels; Fong et al. 2019
BLUR_SHARE = 1 / 12  # standard deviation of the blurred baseline, of the shorter side


@dataclass(frozen=True, eq=False)
class Fill:
    """What replaces the removed coefficients of one image.

    Attributes:
        half_widths: ``(K,)`` of the uniform noise of each band.
        means: ``(K,)`` of the noise; beyond the first band 0 unless the published noise is asked for.
        colour: whether each channel has noise of its own.
    """

    half_widths: Tensor
    means: Tensor
    colour: bool = False


def matched_fill(representation: Representation, grey: Tensor, pixels: Tensor, kind: str) -> Fill:
    """Noise calibrated in closed form: synthesised, it varies over pixels as the image does.

    Noise of standard deviation ``s_k`` in band k has pixel variance ``sum_k s_k^2 f_k`` with the band's ``energy`` f_k.

    Args:
        representation: with its bands.
        grey: ``(n,)`` coefficients of the channel mean.
        pixels: ``(H, W)`` the channel mean itself.
        kind: ``global``, the bands' own spread times one factor; ``band``, each band carries the image's own energy.
    """
    bands = representation.bands
    spread = torch.stack([grey[band.place].std(correction=0) for band in bands])
    energy = torch.tensor([band.energy for band in bands], dtype=grey.dtype, device=grey.device)
    wanted = pixels.std(correction=0)
    if kind == "band":
        carried = torch.tensor([band.count / pixels.numel() for band in bands], dtype=grey.dtype, device=grey.device)
        deviations = spread * (carried / energy).sqrt()
    else:
        deviations = spread
    made = (deviations.square() * energy).sum().sqrt()
    deviations = deviations * wanted / made.clamp_min(torch.finfo(grey.dtype).tiny)
    means = torch.zeros_like(spread)
    means[0] = grey[bands[0].place].mean()
    return Fill(deviations * math.sqrt(3), means)


def published_fill(representation: Representation, coefficients: Tensor) -> Fill:
    """Noise as the published code has it: uniform within one standard deviation of the mean of the coefficients.

    Shearlets: per band of the channel mean, the same noise in all channels. Wavelets and pixels: pooled over channels
    and directions of a scale, noise of its own in each channel.

    Reference: Kolek et al. 2023, arXiv:2211.12857, as its code has it.
    """
    grey = representation.name == "shearlet"
    values = coefficients.mean(0, keepdim=True) if grey else coefficients
    means, widths = [], []
    for band in representation.bands:
        pool = [b.place for b in representation.bands if b.scale == band.scale] if not grey else [band.place]
        some = torch.cat([values[:, place].flatten() for place in pool])
        means.append(some.mean())
        widths.append(some.std())
    return Fill(torch.stack(widths), torch.stack(means), colour=not grey)


def draw_noise(representation: Representation, fill: Fill, shape: Sequence[int], generator: torch.Generator) -> Tensor:
    """Centred uniform noise ``(*shape, n)`` with the fill's half-widths."""
    n = representation.bands[-1].place.stop
    like = fill.half_widths
    noise = torch.empty(*shape, n, dtype=like.dtype, device=like.device).uniform_(-1, 1, generator=generator)
    for band, width in zip(representation.bands, fill.half_widths, strict=True):
        noise[..., band.place] *= width
    return noise


def picture_counts(compositions: Sequence[str], samples: int) -> list[int]:
    """Pictures that each composition takes."""
    return [samples if name == "noise" else 1 for name in compositions]


def compose(
    representation: Representation,
    mask: Tensor,
    coefficients: Tensor,
    compositions: Sequence[str],
    noise: Tensor | None,
    means: Tensor,
    blurred: Tensor | None,
) -> tuple[Tensor, Tensor]:
    """Pictures of the compositions, sharing syntheses: with S linear, noise costs one per antithetic pair.

    Args:
        representation: T and S.
        mask: ``(A, M, n)`` in [0, 1], M = 1 or C.
        coefficients: ``(A, C, n)``.
        compositions: of ``displayed`` (on black), ``moved`` (the same, moved by the caller), ``mean`` (on the mean's
            flat grey), ``noise``, ``blur``.
        noise: ``(A, S / 2, n)``, each used with both signs.
        means: ``(A,)`` mean of the first band of the grey image.
        blurred: ``(A, C, n)`` coefficients of the blurred image.

    Returns:
        ``(A, E, C, H, W)`` in [0, 1], and the mean intensity ``(A,)`` of what is shown, in [0, 1].
    """
    kept = representation.synthesise(mask * coefficients)
    first = representation.bands[0].place
    parts = []
    mixed = kept
    if {"mean", "noise"} & set(compositions):
        mixed = kept + representation.synthesise_low((1 - mask[..., first]) * means[:, None, None])
    for name in compositions:
        if name in ("displayed", "moved"):
            parts.append(kept[:, None])
        elif name == "mean":
            parts.append(mixed[:, None])
        elif name == "blur":
            rest = (1 - mask) * _needed(blurred, "blur", "blurred")
            parts.append((kept + representation.synthesise(rest))[:, None])
        else:
            drawn = _needed(noise, "noise", "noise")
            swing = representation.synthesise((1 - mask)[:, None] * drawn[:, :, None])
            parts += [mixed[:, None] + swing, mixed[:, None] - swing]
    return torch.cat(parts, 1).clamp(0, 1), intensity(kept)


def _needed(given: Tensor | None, composition: str, name: str) -> Tensor:
    if given is None:
        raise ValueError(f"The composition `{composition}` needs `{name}`, but it is None.")
    return given


def compose_published(
    representation: Representation, mask: Tensor, coefficients: Tensor, noise: Tensor, clamp_coefficients: bool
) -> tuple[Tensor, Tensor]:
    """Noisy pictures as the published code makes them, one synthesis per sample and channel.

    Args:
        representation: T and S.
        mask: ``(A, 1, n)``.
        coefficients: ``(A, C, n)``.
        noise: ``(A, S, 1 or C, n)`` with its means.
        clamp_coefficients: clamp the coefficients to [0, 1] and leave the pixels, as for shearlets; or the reverse.

    Returns:
        ``(A, S, C, H, W)``, and the mean intensity ``(A,)``.
    """
    mixed = (mask * coefficients)[:, None] + (1 - mask)[:, None] * noise
    if clamp_coefficients:
        pictures = representation.synthesise(mixed.clamp(0, 1))
    else:
        pictures = representation.synthesise(mixed).clamp(0, 1)
    return pictures, intensity(representation.synthesise(mask * coefficients.mean(1, keepdim=True)))


def intensity(kept: Tensor) -> Tensor:
    """Mean ``(A,)`` over pixels of the channel mean of pictures ``(A, C, H, W)``, clamped to [0, 1]."""
    return kept.mean(1).clamp(0, 1).mean((-2, -1))


def blurred(images: Tensor, sigma: float) -> Tensor:
    """Images ``(..., H, W)`` under a Gaussian of standard deviation ``sigma`` pixels, reflected at the border."""
    if sigma == 0:
        return images
    return gaussian_blur(images, sigma, math.ceil(3 * sigma), border="reflect")


def moved(pictures: Tensor, names: Sequence[str], by: tuple[int, int], factor: float) -> Tensor:
    """Pictures of one image seen from elsewhere: all but ``displayed`` shifted, and ``moved`` enlarged as well.

    Whole pixels only: between them interpolation would smooth the finest scales away, and charge the mask for it.

    Args:
        pictures: ``(E, C, H, W)``.
        names: the composition of each.
        by: pixels down and right, circular.
        factor: by which ``moved`` pictures are enlarged about their centre, with black around smaller ones.
    """
    views = []
    for picture, name in zip(pictures, names, strict=True):
        view = picture if name == "displayed" else picture.roll(by, (-2, -1))
        views.append(enlarged(view, factor) if name == "moved" and factor != 1 else view)
    return torch.stack(views)


def enlarged(picture: Tensor, factor: float) -> Tensor:
    """A picture ``(C, H, W)`` enlarged about its centre by linear interpolation, black where nothing is known."""
    steps = torch.tensor([[[1 / factor, 0, 0], [0, 1 / factor, 0]]], dtype=picture.dtype, device=picture.device)
    grid = F.affine_grid(steps, [1, *picture.shape], align_corners=False)
    return F.grid_sample(picture[None], grid, align_corners=False)[0]


def blur_pyramid(image: Tensor) -> Tensor:
    """An image ``(C, H, W)`` at eight widths of blur from 20 pixels to none, ``(8, C, H, W)``: a mask of 1 keeps it."""
    sigmas = [PYRAMID_SIGMA * (1 - level / (PYRAMID_LEVELS - 1)) for level in range(PYRAMID_LEVELS)]
    return torch.stack([blurred(image, sigma) for sigma in sigmas])


def compose_pyramid(mask: Tensor, pyramids: Tensor) -> Tensor:
    """Pictures ``(A, 1, C, H, W)``: each pixel blurred by as much as its mask ``(A, 1, H, W)`` lacks to 1.

    Reference: Fong, Patrick and Vedaldi 2019, arXiv:1910.08485, section 3.1 and its code.
    """
    level = mask[:, None] * (PYRAMID_LEVELS - 1)  # (A, 1, 1, H, W)
    steps = torch.arange(PYRAMID_LEVELS, device=mask.device).view(1, -1, 1, 1, 1)
    weights = (1 - (level - steps).abs()).clamp_min(0)
    return (weights * pyramids).sum(1, keepdim=True)


def fill_means(representation: Representation, fill: Fill) -> Tensor:
    """Mean of the noise for every coefficient, ``(n,)``."""
    return per_coefficient(representation.bands, fill.means)
