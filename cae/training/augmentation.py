"""Random changes of a training batch, on its device, without a loop over images."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from cae.config import ClassifierConfig

SHIFT = 1 / 16  # largest shift, as a share of the side
NOISE = 0.1  # largest standard deviation of the noise, on [0, 1]
NOISY = 0.5  # share of a classifier's training images; in all of them, noise would hide evidence of a few pixels


class _ClampStraightThrough(torch.autograd.Function):
    """See ``clamp_straight_through``."""

    @staticmethod
    def forward(ctx, images: Tensor) -> Tensor:
        ctx.save_for_backward(images)
        return images.clamp(0, 1)

    @staticmethod
    def backward(ctx, gradient: Tensor) -> Tensor:
        (images,) = ctx.saved_tensors
        # descent goes against the gradient: below 0 a negative one leads back in
        leads_out = ((images < 0) & (gradient > 0)) | ((images > 1) & (gradient < 0))
        return gradient.masked_fill(leads_out, 0)


def clamp_straight_through(images: Tensor) -> Tensor:
    """Images clamped to [0, 1], whose gradient keeps what leads pixels back into the range.

    A plain clamp has no gradient outside the range. Black ground is painted a little below 0 as often as above, and
    evidence that is wanted there would never be tried. A gradient passed through whole would drive pixels ever further
    out.
    """
    return _ClampStraightThrough.apply(images)


def random_shift(images: Tensor, largest: int) -> Tensor:
    """Move each image ``(B, C, H, W)`` by up to ``largest`` pixels both ways; edge pixels fill what comes in."""
    if largest == 0:
        return images
    count, channels, height, width = images.shape
    padded = F.pad(images, (largest,) * 4, mode="replicate")
    offsets = torch.randint(0, 2 * largest + 1, (2, count, 1), device=images.device)
    rows = offsets[0] + torch.arange(height, device=images.device)
    columns = offsets[1] + torch.arange(width, device=images.device)
    which = torch.arange(count, device=images.device)[:, None, None, None]
    channel = torch.arange(channels, device=images.device)[None, :, None, None]
    return padded[which, channel, rows[:, None, :, None], columns[:, None, None, :]]


def random_affine(images: Tensor, degrees: float, scale: float, shift: int) -> Tensor:
    """Turn, scale and move each image ``(B, C, H, W)`` at random; edge pixels fill what comes in.

    Args:
        images: in [0, 1].
        degrees: largest rotation either way.
        scale: largest relative change of the size, larger or smaller.
        shift: largest movement in pixels, both ways.
    """
    if degrees == 0 and scale == 0:
        return random_shift(images, shift)
    count, _, height, width = images.shape
    turn, size, down, right = 2 * torch.rand(4, count, device=images.device, dtype=images.dtype) - 1
    turn, size = turn * math.radians(degrees), (1 + scale) ** size
    cos, sin, aspect = turn.cos() * size, turn.sin() * size, height / width
    rows = [cos, -sin * aspect, 2 * shift * right / width, sin / aspect, cos, 2 * shift * down / height]
    where = F.affine_grid(torch.stack(rows, 1).view(-1, 2, 3), list(images.shape), align_corners=False)
    return F.grid_sample(images, where, padding_mode="border", align_corners=False)


def random_grey_levels(images: Tensor, largest: float) -> Tensor:
    """Change contrast by a factor of up to ``1 + largest`` and brightness by up to half of ``largest``, in [0, 1]."""
    if largest == 0:
        return images
    contrast, brightness = 2 * torch.rand(2, len(images), 1, 1, 1, device=images.device, dtype=images.dtype) - 1
    middle = images.mean((1, 2, 3), keepdim=True)
    return ((images - middle) * (1 + largest) ** contrast + middle + brightness * largest / 2).clamp(0, 1)


def random_noise(images: Tensor, largest: float, clamp: bool = False, share: float = 1.0) -> Tensor:
    """Add Gaussian noise to a random ``share`` of the images, its standard deviation uniform in [0, ``largest``].

    With ``clamp`` they are kept in [0, 1].
    """
    if largest == 0:
        return images
    levels = torch.rand(len(images), 1, 1, 1, device=images.device, dtype=images.dtype) * largest
    if share < 1:
        levels = levels * (torch.rand_like(levels) < share)
    noisy = images + levels * torch.randn_like(images)
    return noisy.clamp(0, 1) if clamp else noisy


def random_blur(images: Tensor, share: float = 0.5) -> Tensor:
    """Blur a random ``share`` of the images with the 3 x 3 binomial kernel."""
    taps = torch.tensor([0.25, 0.5, 0.25], device=images.device, dtype=images.dtype)
    kernel = (taps[:, None] * taps[None, :]).expand(images.shape[1], 1, 3, 3)
    blurred = F.conv2d(F.pad(images, (1, 1, 1, 1), mode="replicate"), kernel, groups=images.shape[1])
    chosen = torch.rand(len(images), 1, 1, 1, device=images.device) < share
    return torch.where(chosen, blurred, images)


def random_view(images: Tensor) -> Tensor:
    """One random view of each image, differentiable."""
    return random_noise(random_blur(random_shift(images, round(images.shape[-1] * SHIFT))), NOISE)


def class_preserving(images: Tensor, options: ClassifierConfig) -> Tensor:
    """Images turned, scaled, moved, of other grey levels and noisy, as ``options`` bound it: still of their class."""
    shift = round(min(images.shape[-2:]) / 20) if options.shift is None else options.shift
    images = random_affine(images, options.rotation, options.scale, shift)
    images = random_grey_levels(images, options.grey_levels)
    return random_noise(images, options.noise, clamp=True, share=NOISY)
