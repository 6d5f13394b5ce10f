"""What a mask over coefficients costs, and what it must keep: pure functions of the mask explainers."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from explainers.transforms.bands import Band, per_coefficient, pixel_weights

SIZES = ("bands", "entries", "coefficients", "entropy", "conciseness")
ENTROPY_SHARE = 0.5  # of the measure ``conciseness``


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


def energy_entropy(coefficients: Tensor) -> Tensor:
    """Entropy of the shares of energy, in nats: ``H = -sum q log q``, ``q = c^2 / sum c^2``, over the last two axes.

    Reference: Kolek et al. 2023, arXiv:2211.12857, CP-Entropy.
    """
    energy = coefficients.square()
    tiny = torch.finfo(energy.dtype).tiny
    total = energy.sum((-2, -1)).clamp_min(tiny)
    # not xlogy, whose gradient at 0 is infinite
    return total.log() - (energy * energy.clamp_min(tiny).log()).sum((-2, -1)) / total


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


def ranks(values: Tensor) -> Tensor:
    """Ranks mapped to [0, 1], the same shape; equal values share their mean rank, and all equal gives one half.

    Reference: Uendes et al. 2025, "Start Smart", with one quantile per value.
    """
    flat = values.flatten()
    ordered = flat.sort().values
    low, high = torch.searchsorted(ordered, flat), torch.searchsorted(ordered, flat, right=True)
    return ((low + high - 1) / (2 * max(len(flat) - 1, 1))).to(values.dtype).reshape(values.shape)
