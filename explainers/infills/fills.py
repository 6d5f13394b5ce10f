"""In-fills of any mask that need no drawing: constants, means of the image, blurs, noise.

Publications blur by different widths and end the kernel at different pixels; both are arguments.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from explainers.infills.blur import gaussian_blur

Fill = Callable[[Tensor, Tensor], Tensor]
"""From images ``(N, C, H, W)`` in [0, 1] and what is removed of them, ``(N, 1, H, W)`` bool, to what stands there, of
the images' shape. Most look at the images alone; what is not removed may hold anything."""


def constant(colour: float | Tensor) -> Fill:
    """A fill of one colour.

    Args:
        colour: one value in [0, 1], one for each channel ``(C,)``, or an image ``(C, H, W)``.
    """
    value = torch.as_tensor(colour)
    value = value.view(-1, 1, 1) if value.ndim < 2 else value
    return lambda images, removed: value.to(images).expand_as(images)


def image_mean(images: Tensor, removed: Tensor) -> Tensor:
    """The mean of each channel of each image, what is removed included."""
    return images.mean((2, 3), keepdim=True).expand_as(images)


def image_minimum(images: Tensor, removed: Tensor) -> Tensor:
    """The lowest value in each channel of each image, what is removed included."""
    return images.amin((2, 3), keepdim=True).expand_as(images)


def blurred(share: float, whole: Callable[[float], int] = math.ceil) -> Fill:
    """The images under a Gaussian, beyond whose border the nearest pixel counts.

    Args:
        share: its standard deviation, as a share of the images' shorter side.
        whole: how three standard deviations, where the kernel ends, become whole pixels.
    """

    def fill(images: Tensor, removed: Tensor) -> Tensor:
        deviation = share * min(images.shape[2:])
        return gaussian_blur(images, deviation, max(1, whole(3 * deviation))).clamp(0, 1)

    return fill


def uniform_noise(generator: torch.Generator) -> Fill:
    """Independent uniform noise in every pixel and channel, from a generator on the CPU."""
    return lambda images, removed: torch.rand(images.shape, generator=generator).to(images)


def masked_blur(images: Tensor, removed: Tensor) -> Tensor:
    """A wide Gaussian blur of what is kept alone; an image removed as a whole becomes its mean."""
    kept = (~removed).to(images.dtype)
    weight = _widely_blurred(kept)
    surroundings = _widely_blurred(images * kept) / weight.clamp_min(1e-6)
    area = kept.sum((2, 3), keepdim=True)
    rest = (images * kept).sum((2, 3), keepdim=True) / area.clamp_min(1)
    rest = torch.where(area > 0, rest, image_mean(images, removed))
    return torch.where(weight > 1e-6, surroundings, rest.expand_as(images))


def without(images: Tensor, removed: Tensor, fill: Fill) -> Tensor:
    """The images ``(N, C, H, W)`` with the part ``removed (N, 1, H, W)`` filled in."""
    return torch.where(removed, fill(images, removed), images)


def everywhere(image: Tensor, fill: Fill) -> Tensor:
    """What stands in the place of an image ``(C, H, W)`` that is removed as a whole."""
    everything = torch.ones(1, 1, *image.shape[1:], dtype=torch.bool, device=image.device)
    return fill(image[None], everything)[0]


def _widely_blurred(planes: Tensor) -> Tensor:
    """A Gaussian blur, its standard deviation a sixteenth of the longer side; zeros beyond the border."""
    sigma = max(planes.shape[-2:]) / 16
    return gaussian_blur(planes, sigma, int(3 * sigma + 0.5), border="constant")
