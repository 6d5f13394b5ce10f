"""Permutation tests, bootstrap weights and intervals: the statistics of the causal explanation scores."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from scipy.stats import beta, binomtest
from torch import Tensor


def permutation_p_value(observed: Tensor, null: Tensor, two_sided: bool = False) -> Tensor:
    """``(1 + #{T* >= T}) / (1 + draws)``, of ``observed (…)`` among ``null (draws, …)``; two-sided by ``|T|``.

    Reference: Phipson, Smyth 2010, Permutation p-values should never be zero.
    """
    if two_sided:
        observed, null = observed.abs(), null.abs()
    # sums of another order differ in the last digits, and ties must count
    slack = 1e-6 * observed.abs().clamp_min(1e-6)
    return (1 + (null >= observed - slack).sum(0)) / (1 + len(null))


def bootstrap_counts(count: int, draws: int, generator: torch.Generator, groups: Sequence[int] | None = None) -> Tensor:
    """How often each of ``count`` images is in each resample, ``(draws, count)``; whole groups where given."""
    labels = torch.arange(count) if groups is None else torch.unique(torch.as_tensor(groups), return_inverse=True)[1]
    units = int(labels.max()) + 1
    drawn = torch.randint(units, (draws, units), generator=generator)
    per_unit = torch.zeros(draws, units).scatter_add_(1, drawn, torch.ones(draws, units))
    return per_unit[:, labels]


def percentile_interval(replicates: Tensor, level: float = 0.95) -> tuple[float, float]:
    """The central interval of bootstrap ``replicates (draws,)``; NaN for none that is finite."""
    finite = replicates[replicates.isfinite()].double()
    if len(finite) == 0:
        return math.nan, math.nan
    ends = torch.tensor([(1 - level) / 2, (1 + level) / 2], dtype=torch.float64)
    low, high = finite.quantile(ends).tolist()
    return low, high


def ranks(values: Tensor) -> Tensor:
    """Ranks ``(…, F)`` from 1 along the last axis; ties share their mean rank."""
    ordered = values.sort(-1).values.contiguous()
    values = values.contiguous()
    below = torch.searchsorted(ordered, values)
    not_above = torch.searchsorted(ordered, values, right=True)
    return (below + not_above + 1) / 2


def spearman(x: Tensor, y: Tensor) -> Tensor:
    """Rank correlation along the last axis of ``x (…, F)`` and ``y (…, F)``, in [-1, 1]; NaN where one is constant."""
    x, y = ranks(x).double(), ranks(y).double()
    x, y = x - x.mean(-1, keepdim=True), y - y.mean(-1, keepdim=True)
    norm = x.square().sum(-1).sqrt() * y.square().sum(-1).sqrt()
    return torch.where(norm > 0, (x * y).sum(-1) / norm, torch.nan).float()


def holm(p_values: Mapping[str, float]) -> dict[str, float]:
    """P-values corrected for their number; the family-wise error stays below the level (Holm 1979)."""
    corrected, largest = {}, 0.0
    for place, (name, p) in enumerate(sorted(p_values.items(), key=lambda item: item[1])):
        largest = max(largest, min(1.0, (len(p_values) - place) * p))
        corrected[name] = largest
    return {name: corrected[name] for name in p_values}


def sign_test(values: Sequence[float]) -> float:
    """Two-sided p-value of as many positive among the non-zero ``values``, if either sign had probability 1/2."""
    counted = [value for value in values if value != 0 and math.isfinite(value)]
    return float(binomtest(sum(value > 0 for value in counted), len(counted)).pvalue) if counted else 1.0


def binomial_interval(successes: int, trials: int, level: float = 0.95) -> tuple[float, float]:
    """Exact interval of a share (Clopper, Pearson 1934)."""
    tail = (1 - level) / 2
    low = float(beta.ppf(tail, successes, trials - successes + 1)) if successes > 0 else 0.0
    high = float(beta.ppf(1 - tail, successes + 1, trials - successes)) if successes < trials else 1.0
    return low, high
