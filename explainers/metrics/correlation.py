"""Does the sum of a map over a set tell how much the score drops when the set is removed?

The drops of a set depend on the image alone, so they are measured once and shared by all methods.
"""

from __future__ import annotations

import torch
from torch import Tensor

from cae.metrics.statistics import defined, pearson
from explainers.metrics.perturbation import GRID

SETS = 50  # of faithfulness correlation
SET_SHARE = 0.10
SENSITIVITY_SHARES = (0.01, 0.05, 0.10, 0.25, 0.50, 0.75)
SENSITIVITY_SETS = 25  # of each share
PATCHES = 50  # of infidelity
LARGEST_PATCH = 5  # cells along its side


def random_sets(count: int, share: float, units: int, noise: torch.Generator) -> Tensor:
    """Random sets of units: ``(count, units)`` bool, each with that share of them, at least one."""
    size = max(1, round(share * units))
    ranks = torch.rand(count, units, generator=noise).argsort(1).argsort(1)
    return ranks < size


def random_patches(count: int, height: int, width: int, noise: torch.Generator) -> Tensor:
    """Random squares ``(count, H, W)`` bool inside the image, with sides of 1 to 5 fourteenths of the shorter side."""
    unit = max(1, min(height, width) // GRID)
    sides = unit * torch.randint(1, LARGEST_PATCH + 1, (count,), generator=noise).clamp_max(min(height, width) // unit)
    corners = torch.rand(2, count, generator=noise)
    top, left = ((draw * (extent - sides + 1)).long() for draw, extent in zip(corners, (height, width), strict=True))
    y, x = torch.arange(height)[:, None], torch.arange(width)[None]
    top, left, sides = (values[:, None, None] for values in (top, left, sides))
    return (y >= top) & (y < top + sides) & (x >= left) & (x < left + sides)


def faithfulness_correlation(sums: Tensor, drops: Tensor) -> float | None:
    """Pearson correlation, over random sets, of the map's sums ``(R,)`` with the score's drops ``(R,)``.

    None where either does not vary.

    Reference: Bhatt et al. 2020, Evaluating and Aggregating Feature-based Model Explanations, arXiv:2005.00631,
        faithfulness.
    """
    return defined(pearson(sums, drops, tolerance=1e-6))


def sensitivity_n(sums: Tensor, drops: Tensor) -> float | None:
    """Mean, over sizes of sets, of the correlation of the map's sums with the score's drops.

    Args:
        sums: ``(S, R)`` of R random sets of each of S sizes.
        drops: ``(S, R)`` likewise.

    Returns:
        in [-1, 1]; sizes without a correlation are left out, None where all are.

    Reference: Ancona et al. 2018, arXiv:1711.06104, Sensitivity-n.
    """
    found = [faithfulness_correlation(*pair) for pair in zip(sums, drops, strict=True)]
    defined = [value for value in found if value is not None]
    return sum(defined) / len(defined) if defined else None


def infidelity(sums: Tensor, drops: Tensor, scaled: bool = True) -> float | None:
    """Mean squared difference between the map's sums ``(R,)`` over random patches and the score's drops ``(R,)``.

    Args:
        sums: of the map, over each patch.
        drops: of the score, with each patch filled.
        scaled: multiply the map by the factor that suits it best, because the units of maps are arbitrary.

    Returns:
        not negative; None for a map to scale that is zero on all patches.

    Reference: Yeh et al. 2019, On the (In)fidelity and Sensitivity of Explanations, arXiv:1901.09392, with
        removal of squares.
    """
    sums, drops = sums.double().cpu(), drops.double().cpu()
    if scaled:
        energy = float(sums.square().sum())
        if energy == 0:
            return None
        sums = sums * ((sums * drops).sum() / energy)
    return float((sums - drops).square().mean())


def completeness_gap(total: float, score: float, baseline_score: float) -> float | None:
    """``|sum a - (f(x) - f(b))| / |f(x) - f(b)|`` for methods whose map claims to sum to it; None where that is 0.

    Reference: Sundararajan et al. 2017 (Integrated Gradients), arXiv:1703.01365, section 3, axiom of completeness.
    """
    difference = score - baseline_score
    return None if difference == 0 else abs(total - difference) / abs(difference)
