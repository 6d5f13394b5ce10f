"""Distributions of a patch over the outputs of a network: bits per dimension, and draws.

A dimension is one pixel of one channel. Images in [0, 1] are levels 0..255. Both heads give the number of bits in the
same unit: a categorical head over the levels themselves, a Gaussian head over levels with uniform noise added, whose
density bounds the probability of the level from below (Theis et al. 2016, arXiv:1511.01844, section 3.1).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.distributions import LowRankMultivariateNormal
from torch.nn import functional as F

LEVELS = 256
LEAST_DEVIATION = 1 / 1024  # a quarter of a level


def levels(images: Tensor) -> Tensor:
    """Grey levels 0..255, int64, of images in [0, 1]."""
    return (255 * images).round().long()


def dequantised(images: Tensor, uniform: Tensor) -> Tensor:
    """Levels with noise in [0, 1) added, as numbers in [0, 1): ``(round(255 x) + u) / 256``."""
    return (levels(images) + uniform) / LEVELS


def categorical_bits(outputs: Tensor, patches: Tensor) -> Tensor:
    """Cross-entropy ``(B,)`` in bits per dimension.

    Args:
        outputs: ``(B, C * 256, K, K)`` logits of the levels.
        patches: ``(B, C, K, K)`` in [0, 1].
    """
    logits = outputs.float().unflatten(1, (patches.shape[1], LEVELS)).transpose(1, 2)  # (B, 256, C, K, K)
    return F.cross_entropy(logits, levels(patches), reduction="none").flatten(1).mean(1) / math.log(2)


def categorical_draws(outputs: Tensor, uniform: Tensor) -> Tensor:
    """Independent draws of every pixel ``(B, n, C, K, K)`` in [0, 1], from uniform numbers of that shape."""
    channels = uniform.shape[2]
    shares = outputs.float().unflatten(1, (channels, LEVELS)).movedim(2, -1).softmax(-1).cumsum(-1)
    found = torch.searchsorted(shares, uniform.movedim(1, -1).contiguous(), right=True)  # (B, C, K, K, n)
    return found.clamp_max(LEVELS - 1).movedim(-1, 1).float() / (LEVELS - 1)


def lowrank(outputs: Tensor, channels: int) -> LowRankMultivariateNormal:
    """One Gaussian over all ``D = C K^2`` dimensions of a patch, from ``(B, C (2 + r), K, K)``: mean, log-diagonal and
    r factors."""
    parts = outputs.float().unflatten(1, (channels, -1)).transpose(1, 2).flatten(2)  # (B, 2 + r, D)
    mean, logarithm, factors = parts[:, 0] + 0.5, parts[:, 1] - 2, parts[:, 2:] / 16
    deviation = logarithm.clamp(-12, 4).exp() + LEAST_DEVIATION
    return LowRankMultivariateNormal(mean, factors.transpose(1, 2), deviation**2, validate_args=False)


def lowrank_bits(outputs: Tensor, patches: Tensor, uniform: Tensor) -> Tensor:
    """Upper bound ``(B,)`` of the bits per dimension of patches ``(B, C, K, K)``, with uniform noise of that shape."""
    density = lowrank(outputs, patches.shape[1]).log_prob(dequantised(patches, uniform).flatten(1))
    return -density / math.log(2) / patches[0].numel() + math.log2(LEVELS)


def lowrank_draws(outputs: Tensor, channels: int, normal: Tensor) -> Tensor:
    """Draws ``(B, n, C, K, K)`` in [0, 1], from normal numbers ``(B, n, D + r)``."""
    found = lowrank(outputs, channels)
    dimension = found.loc.shape[1]
    own, shared = normal[..., :dimension], normal[..., dimension:]
    values = found.loc[:, None] + found.cov_diag.sqrt()[:, None] * own + shared @ found.cov_factor.transpose(1, 2)
    # from the middle of a level's interval back to the level
    images = (values * LEVELS - 0.5) / (LEVELS - 1)
    return images.clamp(0, 1).unflatten(2, (channels, *outputs.shape[2:]))


def level_counts(images: Tensor) -> Tensor:
    """How often each level comes in each channel of images ``(N, C, H, W)``, ``(C, 256)``."""
    return torch.stack([torch.bincount(plane.flatten(), minlength=LEVELS) for plane in levels(images).transpose(0, 1)])


def histogram_bits(counts: Tensor, images: Tensor) -> Tensor:
    """Bits per dimension ``(N,)`` of images ``(N, C, H, W)`` under the histogram of each channel.

    Args:
        counts: ``(C, 256)`` of training levels; one is added to each.
        images: in [0, 1].
    """
    shares = (counts.double() + 1) / (counts.double() + 1).sum(1, keepdim=True)
    planes = levels(images).transpose(0, 1)
    found = -shares.log2().gather(1, planes.flatten(1)).view_as(planes)
    return found.transpose(0, 1).flatten(1).mean(1)
