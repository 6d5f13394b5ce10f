"""Means, quantiles and bootstrap intervals over images."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

RESAMPLES = 1000


LEVEL = 0.95


Statistic = Callable[[np.ndarray, np.ndarray], float]


def mean(values: np.ndarray, weights: np.ndarray) -> float:
    """Weighted mean of ``values (N,)``."""
    return float((values * weights).sum() / weights.sum())


def percentile_95(values: np.ndarray, weights: np.ndarray) -> float:
    """The smallest of ``values (N,)`` that 95 % of the weight does not exceed."""
    return _quantile(values, weights, 0.95)


def median(values: np.ndarray, weights: np.ndarray) -> float:
    """The smallest of ``values (N,)`` that half of the weight does not exceed."""
    return _quantile(values, weights, 0.5)


def _quantile(values: np.ndarray, weights: np.ndarray, level: float) -> float:
    order = np.argsort(values, kind="stable")
    share = weights[order].cumsum() / weights.sum()
    return float(values[order][np.searchsorted(share, level - 1e-12)])


def interval(
    values: np.ndarray, groups: Sequence[str], statistic: Statistic = mean, seed: int = 0
) -> tuple[float, float]:
    """Percentile bootstrap over groups, which are drawn whole.

    Where all values are 0 or all are 1, every resample is the same and the bootstrap would claim certainty; the bounds
    are then those of Clopper and Pearson for as many groups.

    Args:
        values: ``(N,)``.
        groups: the image of each value.
        statistic: of values and how often each was drawn.
        seed: of the resampling.

    Reference: Efron 1979, Annals of Statistics 7(1); Clopper and Pearson 1934, Biometrika 26(4).
    """
    _, member = np.unique(np.asarray(groups), return_inverse=True)
    count = int(member.max()) + 1
    if statistic is mean and values.min() == values.max() and values[0] in (0, 1):
        slack = 1 - ((1 - LEVEL) / 2) ** (1 / count)
        return (0.0, slack) if values[0] == 0 else (1 - slack, 1.0)
    generator = np.random.default_rng(seed)
    equal = np.full(count, 1 / count)
    # one resample at a time: a matrix of all of them would not fit for a large data set
    drawn = [statistic(values, generator.multinomial(count, equal)[member]) for _ in range(RESAMPLES)]
    low, high = np.quantile(drawn, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)
