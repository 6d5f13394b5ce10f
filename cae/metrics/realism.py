"""How far counterfactuals lie from real images: distances between two sets of features, pure functions of these.

Features ``(N, F)`` may come from any network; name it beside the figure, with N and F. Distances between sets are
biased upwards by few images: from N <= F of them a covariance is singular, and its distance refused unless asked for.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

SPLITS = 5


def frechet_distance(mean_a: Tensor, covariance_a: Tensor, mean_b: Tensor, covariance_b: Tensor) -> float:
    """``|m_a - m_b|² + trace(C_a + C_b - 2 (C_a C_b)^(1/2))`` of two normal distributions; 0 only for equal ones.

    Args:
        mean_a: ``(F,)``.
        covariance_a: ``(F, F)``.
        mean_b: ``(F,)``.
        covariance_b: ``(F, F)``.

    Reference: Dowson and Landau 1982; Heusel et al. 2017, arXiv:1706.08500, eq. 6.
    """
    a, b = covariance_a.double(), covariance_b.double()
    values, vectors = torch.linalg.eigh(a)
    root = (vectors * values.clamp_min(0).sqrt()) @ vectors.T
    # trace((AB)^(1/2)) = trace((A^(1/2) B A^(1/2))^(1/2)), whose argument is symmetric
    cross = torch.linalg.eigvalsh(root @ b @ root).clamp_min(0).sqrt().sum()
    distance = (mean_a.double() - mean_b.double()).square().sum() + a.trace() + b.trace() - 2 * cross
    return max(float(distance), 0.0)


def fid(features_a: Tensor, features_b: Tensor, *, allow_few: bool = False) -> float:
    """Fréchet distance of two sets of features ``(N, F)`` and ``(M, F)``.

    Args:
        features_a: of one set.
        features_b: of the other.
        allow_few: compute it also from no more images than features; such a figure must be marked.

    Raises:
        ValueError: if a set has no more images than features.
    """
    width = features_a.shape[1]
    few = min(len(features_a), len(features_b))
    if few <= max(width, 1) and not allow_few:
        raise ValueError(f"a Fréchet distance of {width} features needs more than {width} images, but got {few}.")
    return frechet_distance(*_moments(features_a), *_moments(features_b))


def sfid(
    originals: Tensor,
    counterfactuals: Tensor,
    images: Tensor | None = None,
    seed: int = 0,
    distance: Callable[[Tensor, Tensor], float] = fid,
) -> float:
    """FID between one half of the originals and the counterfactuals of the other, both ways, mean of five splits.

    No counterfactual is compared with its own original, to which it is near however unreal it is.

    Args:
        originals: ``(N, F)`` features.
        counterfactuals: ``(N, F)`` features, row by row of the same images.
        images: ``(N,)`` number of the image of each row, where one image has several counterfactuals.
        seed: of the splits.
        distance: ``fid``, or ``kid`` for few images.

    Raises:
        ValueError: by ``fid``, if a half has no more images than features.

    Reference: Jeanneret et al. 2023 (ACE), arXiv:2303.09962, section 4.2.
    """
    generator, distances = torch.Generator().manual_seed(seed), []
    member = torch.arange(len(originals)) if images is None else torch.unique(images, return_inverse=True)[1]
    count = int(member.max()) + 1
    for _ in range(SPLITS):
        first = torch.randperm(count, generator=generator)[member] < count // 2
        for half in (first, ~first):
            distances.append(distance(originals[half], counterfactuals[~half]))
    return float(np.mean(distances))


def kid(features_a: Tensor, features_b: Tensor) -> float:
    """Unbiased squared maximum mean discrepancy of ``(N, F)`` and ``(M, F)`` with the kernel ``(a·b / F + 1)³``.

    0 on average for two samples of one distribution, whatever their size, so it may come out negative. N, M > 1.

    Reference: Bińkowski et al. 2018, arXiv:1801.01401, section 4.
    """
    a, b = features_a.double(), features_b.double()
    width = a.shape[1]
    within = [_off_diagonal_mean((c @ c.T / width + 1) ** 3) for c in (a, b)]
    return float(sum(within) - 2 * ((a @ b.T / width + 1) ** 3).mean())


def feature_similarity(originals: Tensor, counterfactuals: Tensor) -> Tensor:
    """Cosine ``(N,)`` between the features of each image ``(N, F)`` and of its counterfactual ``(N, F)``."""
    return torch.cosine_similarity(originals.double(), counterfactuals.double(), dim=1)


def _moments(features: Tensor) -> tuple[Tensor, Tensor]:
    cloud = features.double()
    return cloud.mean(0), torch.atleast_2d(torch.cov(cloud.T))


def _off_diagonal_mean(matrix: Tensor) -> Tensor:
    count = len(matrix)
    return (matrix.sum() - matrix.trace()) / (count * (count - 1))
