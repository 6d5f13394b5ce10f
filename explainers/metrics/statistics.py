"""How sure a comparison is: paired bootstrap intervals, permutation tests, correction for many comparisons.

The unit of resampling is the image, or the patient where groups are given. All columns of a table are resampled with
the same draws, so that their differences are paired.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import norm

RESAMPLES = 10_000
FLIPS = 9_999
LEVEL = 0.95
FISHER_LIMIT = 0.999


@dataclass(frozen=True)
class Interval:
    """A mean with its interval; ``low = high = mean`` where nothing varies."""

    mean: float
    low: float
    high: float

    @property
    def excludes_zero(self) -> bool:
        """Whether all of the interval lies on one side of zero."""
        return self.low > 0 or self.high < 0


class Bootstrap:
    """Draws of the images of one table, to be applied to each of its columns.

    Args:
        groups: of each image; images of one group are drawn together.
        resamples: number of draws.
        seed: of the draws.
    """

    def __init__(self, groups: Sequence[Hashable], resamples: int = RESAMPLES, seed: int = 0):
        self.groups = numbered(groups)
        self.size = int(self.groups.max()) + 1
        even = np.full(self.size, 1 / self.size)
        self.draws = np.random.default_rng(seed).multinomial(self.size, even, resamples).astype(float)

    def mean(self, values: np.ndarray, level: float = LEVEL) -> Interval | None:
        """Mean and bias-corrected, accelerated interval of ``values (N,)``; NaN counts as missing.

        Percentiles where the correction is degenerate. None where all values are missing.

        Reference: Efron 1987, Better bootstrap confidence intervals, J. Am. Stat. Assoc. 82(397).
        """
        defined = ~np.isnan(values)
        if not defined.any():
            return None
        # sums are over deviations, so that equal values give the very value back
        anchor = values[defined][0]
        deviations = np.where(defined, values - anchor, 0.0)
        sums = np.bincount(self.groups, weights=deviations, minlength=self.size)
        counts = np.bincount(self.groups, weights=defined, minlength=self.size)
        estimate = sums.sum() / counts.sum()
        drawn = self.draws @ counts
        resampled = (self.draws @ sums)[drawn > 0] / drawn[drawn > 0]
        held = counts.sum() - counts  # a group left out at a time
        left_out = (sums.sum() - sums)[held > 0] / held[held > 0]
        low, high = np.quantile(resampled, _bca_quantiles(estimate, resampled, left_out, level))
        return Interval(*(float(anchor + value) for value in (estimate, low, high)))


def _bca_quantiles(estimate: float, resampled: np.ndarray, left_out: np.ndarray, level: float) -> np.ndarray:
    """Which quantiles of the resampled means bound the interval."""
    plain = np.array([(1 - level) / 2, (1 + level) / 2])
    # ties count half: means of few distinct values meet the estimate often
    below = (resampled < estimate).mean() + (resampled == estimate).mean() / 2
    gaps = left_out.mean() - left_out
    spread = (gaps**2).sum()
    if not 0 < below < 1 or spread == 0:
        return plain
    bias = norm.ppf(below)
    acceleration = (gaps**3).sum() / (6 * spread**1.5)
    shifted = bias + norm.ppf(plain)
    return norm.cdf(bias + shifted / (1 - acceleration * shifted))


def numbered(groups: Sequence[Hashable]) -> np.ndarray:
    """Numbers ``(N,)`` from 0 of the groups, in the order in which they come first."""
    numbers = {group: number for number, group in enumerate(dict.fromkeys(groups))}
    return np.array([numbers[group] for group in groups], dtype=int)


def sign_flip_p(differences: np.ndarray, groups: Sequence[Hashable] | None = None, seed: int = 0) -> float:
    """Two-sided p of a mean paired difference under random signs, ``(1 + #) / (1 + 9,999)``; NaN counts as missing.

    Args:
        differences: ``(N,)``.
        groups: of each image; a group's signs flip together.
        seed: of the signs.
    """
    labels = range(len(differences)) if groups is None else groups
    defined = ~np.isnan(differences)
    place = numbered([label for label, keep in zip(labels, defined, strict=True) if keep])
    sums = np.bincount(place, weights=differences[defined])
    signs = np.random.default_rng(seed).choice(np.array([-1.0, 1.0]), size=(FLIPS, len(sums)))
    # rounding must not turn a tie with the observed sum into a smaller one
    reached = np.abs(signs @ sums) >= abs(sums.sum()) * (1 - 1e-12)
    return float((1 + reached.sum()) / (1 + FLIPS))


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjusted p values in the given order.

    Reference: Holm 1979, A simple sequentially rejective multiple test procedure, Scand. J. Stat. 6(2).
    """
    adjusted, largest = [0.0] * len(p_values), 0.0
    for place, which in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        largest = max(largest, min(1.0, (len(p_values) - place) * p_values[which]))
        adjusted[which] = largest
    return adjusted


def share_won(differences: np.ndarray) -> float:
    """Share of the defined ``differences (N,)`` that are positive, ties as halves."""
    defined = differences[~np.isnan(differences)]
    return float(((defined > 0) + (defined == 0) / 2).mean())


def fisher_z(correlations: np.ndarray) -> np.ndarray:
    """Fisher's z of correlations, clipped at 0.999, so that they can be averaged; ``tanh`` is the inverse."""
    return np.arctanh(correlations.clip(-FISHER_LIMIT, FISHER_LIMIT))
