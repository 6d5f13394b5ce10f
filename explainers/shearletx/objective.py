"""What a mask over coefficients costs, and what it must keep: pure functions of the mask explainers."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from cae.metrics.statistics import ranks
from explainers.transforms.representation import Band, per_coefficient, pixel_weights

SIZES = ("bands", "entries", "coefficients", "entropy", "conciseness")
ENTROPY_SHARE = 1 / 3  # of the measure ``conciseness``
CREDIT_POWER = 2  # how fast the low-pass loses credit away from kept detail


def size_weights(kind: str, coefficients: Tensor, bands: Sequence[Band], shape: tuple[int, int], rows: int) -> Tensor:
    """Weights ``(rows or 1, n)`` whose inner product with a mask ``(rows, n)`` is its size; 1 for a mask of ones.

    Args:
        kind: ``bands``, each entry counts for the pixels it stands for; ``entries``, all alike; ``coefficients``, each
            by its coefficient's magnitude, the share that the l1 conciseness score charges; ``conciseness`` likewise,
            with ``ENTROPY_SHARE`` of the entropy's ratio, the other score's charge, added by the optimiser.
        coefficients: ``(C, n)`` of the image.
        bands: of the representation.
        shape: height and width of the image.
        rows: 1 for a mask shared by the channels, C for one of its own per channel.
    """
    if kind in ("coefficients", "conciseness"):
        magnitude = weighted_magnitude(coefficients, bands, shape)
        magnitude = magnitude.sum(0, keepdim=True) if rows == 1 else magnitude
        return magnitude / magnitude.sum().clamp_min(torch.finfo(magnitude.dtype).tiny)
    if kind == "bands":
        counts = torch.tensor([float(band.count) for band in bands], dtype=torch.float64)
        shares = 1 / (len(bands) * counts)
        return per_coefficient(bands, shares.to(coefficients))[None] / rows
    return torch.full_like(coefficients[:1], 1 / (rows * coefficients.shape[-1]))


def weighted_magnitude(coefficients: Tensor, bands: Sequence[Band], shape: tuple[int, int]) -> Tensor:
    """Magnitudes ``(..., n)``, each times the root of the pixels it stands for, comparable over sampling densities."""
    roots = pixel_weights(bands, shape).sqrt().to(coefficients)
    return coefficients.abs() * per_coefficient(bands, roots)


def low_pass_credit(kept: Tensor, bands: Sequence[Band], shape: tuple[int, int]) -> Tensor:
    """How far the energy of each coefficient counts in the entropy that the search lowers, ``(n,)`` in [0, 1].

    A few bright low-pass coefficients lower the entropy wherever they lie, so that a search for low entropy lights
    patches of sky. They count by the kept detail around them, relative to where most is kept, squared: the brightness
    that is bought is that of what the detail belongs to. All other coefficients count in full.

    Args:
        kept: ``(C, n)`` masked coefficients.
        bands: of the representation, the low-pass first.
        shape: height and width of the image.
    """
    low, *details = bands
    grid = (low.height, low.width)
    weighted = weighted_magnitude(kept, bands, shape).sum(0)
    around = weighted.new_zeros(grid)
    for band in details:
        # cells around the low-pass atoms, which lie at the first pixel of equal parts, not in their middle
        back = (band.height // (2 * low.height), band.width // (2 * low.width))
        plane = weighted[band.place].view(1, band.height, band.width).roll(back, (-2, -1))
        around += F.adaptive_avg_pool2d(plane, grid)[0] * (band.count / low.count)
    bell = around.new_tensor([1.0, 2.0, 1.0])  # an object's inside is beside its edges
    around = F.conv2d(around[None, None], torch.outer(bell, bell)[None, None], padding=1)[0, 0]
    credit = torch.ones_like(weighted)
    tiny = torch.finfo(weighted.dtype).tiny
    credit[low.place] = (around / around.max().clamp_min(tiny)).pow(CREDIT_POWER).flatten()
    return credit


def credited(kept: Tensor, credit: Tensor) -> Tensor:
    """Coefficients ``(..., C, n)`` whose low-pass, which comes first, counts by ``credit (..., l)`` of its energy."""
    low, details = kept.split([credit.shape[-1], kept.shape[-1] - credit.shape[-1]], dim=-1)
    return torch.cat([low * credit[..., None, :].sqrt(), details], dim=-1)


def pooled_log_probability(log_probability: Tensor, counts: Sequence[int]) -> Tensor:
    """Log of the mean probability of each composition ``(A, E)``, from ``(A, sum of counts)``."""
    parts = [part.logsumexp(1) - math.log(part.shape[1]) for part in log_probability.split(list(counts), 1)]
    return torch.stack(parts, 1)


def lagrangian(gaps: Tensor, multipliers: Tensor, stiffness: Tensor) -> Tensor:
    """Augmented Lagrangian ``(A,)`` of constraints ``gaps (A, E) <= 0``.

    Args:
        gaps: by how much the log probability falls short of its bound.
        multipliers: ``(A, E)``.
        stiffness: ``(A, 1)``.

    Reference: Nocedal and Wright 2006, "Numerical Optimization", section 17.4.
    """
    pressure = (multipliers + stiffness * gaps).clamp_min(0)
    return ((pressure.square() - multipliers.square()) / (2 * stiffness)).sum(1)


def quadratic_shortfall(log_probability: Tensor, wanted: Tensor) -> Tensor:
    """Mean over pictures of ``(r - p)^2``, ``(A,)``, from ``(A, E)`` and ``r (A, 1)``.

    Reference: Kolek et al. 2023, arXiv:2211.12857, as its code has it.
    """
    return (wanted - log_probability.exp()).square().mean(1)


def area_penalty(mask: Tensor, area: float) -> Tensor:
    """Mean squared distance ``(A,)`` of sorted masks ``(A, ..., n)`` to a step with a share ``area`` of ones.

    Reference: Fong, Patrick and Vedaldi 2019, arXiv:1910.08485, eq. 4.
    """
    values = mask.flatten(1).sort(1).values
    count = values.shape[1]
    step = (torch.arange(count, device=mask.device) >= round((1 - area) * count)).to(mask)
    return (values - step).square().mean(1)


def unit_ranks(values: Tensor) -> Tensor:
    """Ranks mapped to [0, 1], the same shape; equal values share their mean rank, and all equal gives one half.

    Reference: Uendes et al. 2025, "Start Smart", with one quantile per value.
    """
    return ((ranks(values.flatten()) - 1) / max(values.numel() - 1, 1)).to(values.dtype).reshape(values.shape)
