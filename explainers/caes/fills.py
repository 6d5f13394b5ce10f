"""What stands where a part of an image is removed."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from cae.errors import UserError, did_you_mean
from explainers.infills.blur import gaussian_blur

Fill = Callable[
    [Tensor, Tensor], Tensor
]  # images (N, C, H, W) and removed (N, 1, H, W) bool to images of the same shape


def black(images: Tensor, removed: Tensor) -> Tensor:
    """Zeros (before any normalisation), as Lopez-Paz et al. have it."""
    return torch.zeros_like(images)


def mean(images: Tensor, removed: Tensor) -> Tensor:
    """Each image's own mean, per channel."""
    return images.mean((2, 3), keepdim=True).expand_as(images)


def masked_blur(images: Tensor, removed: Tensor) -> Tensor:
    """A wide Gaussian blur of what is kept alone; an image removed as a whole becomes its mean."""
    kept = (~removed).to(images.dtype)
    weight = _blurred(kept)
    blurred = _blurred(images * kept) / weight.clamp_min(1e-6)
    area = kept.sum((2, 3), keepdim=True)
    rest = (images * kept).sum((2, 3), keepdim=True) / area.clamp_min(1)
    rest = torch.where(area > 0, rest, mean(images, removed))
    return torch.where(weight > 1e-6, blurred, rest.expand_as(images))


FILLS: dict[str, Fill] = {"black": black, "mean": mean, "masked_blur": masked_blur}


def resolve_fill(fill: str | Fill) -> Fill:
    """A fill by its name, or a function of the user's, as it is.

    Raises:
        UserError: for an unknown name.
    """
    if not isinstance(fill, str):
        return fill
    if fill not in FILLS:
        raise UserError(
            f"`fill` must be one of {', '.join(FILLS)} or a function, but is {fill!r}{did_you_mean(fill, FILLS)}."
        )
    return FILLS[fill]


def without(images: Tensor, removed: Tensor, fill: Fill) -> Tensor:
    """The images ``(N, C, H, W)`` with the part ``removed (N, 1, H, W)`` filled in."""
    return torch.where(removed, fill(images, removed), images)


def _blurred(planes: Tensor) -> Tensor:
    """Separable Gaussian blur, its standard deviation a sixteenth of the longer side; zeros beyond the border."""
    sigma = max(planes.shape[-2:]) / 16
    return gaussian_blur(planes, sigma, int(3 * sigma + 0.5), border="constant")
