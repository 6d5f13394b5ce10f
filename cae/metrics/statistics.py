"""Ranks, correlations, bootstrap intervals, tests and thresholds: all statistics of both packages.

What is undefined, such as the correlation with a map that does not vary, is NaN everywhere; who summarises leaves such
values out and says how many. The unit of resampling is the image, or the patient where groups are given.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

# scipy is imported where it is needed: the command line imports this module before it knows what is asked of it

RESAMPLES = 1000  # of a percentile bootstrap
BCA_RESAMPLES = 10_000  # the correction looks further into the tails
FLIPS = 9_999
LEVEL = 0.95
FISHER_LIMIT = 0.999

Statistic = Callable[[np.ndarray, np.ndarray], np.ndarray]  # of values (N,) and how often each counts, (N,) or (R, N)
BLOCK = 1_000_000  # counts of resamples that are held at once


# --- means and quantiles ----------------------------------------------------------------------------------------------


def mean(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Mean of ``values (N,)`` under each row of ``weights (…, N)``."""
    return (values * weights).sum(-1) / weights.sum(-1)


def median(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """The smallest of ``values (N,)`` that half of the weight does not exceed, for each row of ``weights (…, N)``."""
    return _quantile(values, weights, 0.5)


def midpoint_median(values: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Median of ``values (N,)``, each as often as ``counts (…, N)`` say; of an even number the mean of the middle two.

    >>> float(midpoint_median(np.array([1.0, 2.0, 9.0]), np.array([1, 1, 0])))
    1.5
    """
    order = np.argsort(values, kind="stable")
    upto = counts[..., order].cumsum(-1)
    total = upto[..., -1:]
    lower, upper = ((upto <= middle).sum(-1) for middle in ((total - 1) // 2, total // 2))
    return (values[order][lower] + values[order][upper]) / 2


def percentile_95(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """The smallest of ``values (N,)`` that 95 % of the weight does not exceed, for each row of ``weights (…, N)``."""
    return _quantile(values, weights, 0.95)


def _quantile(values: np.ndarray, weights: np.ndarray, level: float) -> np.ndarray:
    order = np.argsort(values, kind="stable")
    share = weights[..., order].cumsum(-1) / weights.sum(-1, keepdims=True)
    return values[order][(share < level - 1e-12).sum(-1)]


# --- ranks and correlations -------------------------------------------------------------------------------------------


def ranks(values: Tensor) -> Tensor:
    """Ranks ``(…, N)`` from 1 along the last axis, in the precision of default floats; ties share their mean rank.

    >>> ranks(torch.tensor([10.0, 20.0, 10.0])).tolist()
    [1.5, 3.0, 1.5]
    """
    values = values.detach().contiguous()
    ordered = values.sort(-1).values.contiguous()
    below = torch.searchsorted(ordered, values)
    not_above = torch.searchsorted(ordered, values, right=True)
    return (below + not_above + 1) / 2


def places_from_the_top(values: Tensor, generator: torch.Generator) -> Tensor:
    """Place ``(N,)`` of each of ``values (N,)``, 0 for the largest; equal values in an order that the generator draws.

    Args:
        values: on any device.
        generator: on the CPU, so that every device draws the same order.
    """
    shuffle = torch.randperm(len(values), generator=generator).to(values.device)
    order = shuffle[torch.argsort(values[shuffle], descending=True, stable=True)]
    places = torch.empty_like(order)
    places[order] = torch.arange(len(values), device=values.device)
    return places


def pearson(one: Tensor, other: Tensor, tolerance: float = 0.0) -> Tensor:
    """Linear correlation in [-1, 1], float64, along the last axis of two tensors ``(…, N)``.

    NaN where either is constant, which leaves the correlation undefined.

    Args:
        one: ``(…, N)``.
        other: of a shape that broadcasts with it.
        tolerance: what varies by no more than this share of its largest absolute value counts as constant too, as
            do the sums of float32 numbers that ought to be equal.
    """
    columns, defined = [], torch.tensor(True)
    for values in (one, other):
        values = values.detach().double().cpu()
        centred = values - values.mean(-1, keepdim=True)
        size = values.abs().amax(-1, keepdim=True) * values.shape[-1] ** 0.5
        spread = centred.norm(dim=-1, keepdim=True)
        varies = (values.amax(-1, keepdim=True) > values.amin(-1, keepdim=True)) & (spread > tolerance * size)
        columns.append(centred / spread)
        defined = defined & varies[..., 0]
    product = (columns[0] * columns[1]).sum(-1).clamp(-1, 1)
    return torch.where(defined, product, torch.nan)


def spearman(one: Tensor, other: Tensor) -> Tensor:
    """Rank correlation in [-1, 1], float64, along the last axis of two tensors ``(…, N)``; ties share their mean rank.

    NaN where either is constant, which leaves the correlation undefined, and where either holds a NaN.

    Reference: Spearman 1904, American Journal of Psychology 15(1).
    """
    missing = one.isnan().any(-1) | other.isnan().any(-1)
    return torch.where(missing.cpu(), torch.nan, pearson(ranks(one), ranks(other)))


def defined(value: float | Tensor) -> float | None:
    """A number as it is written into tables: None where it is undefined (NaN)."""
    return None if math.isnan(value) else float(value)


def fisher_z(correlations: np.ndarray) -> np.ndarray:
    """Fisher's z of correlations, clipped at 0.999, so that they can be averaged; ``tanh`` is the inverse."""
    return np.arctanh(correlations.clip(-FISHER_LIMIT, FISHER_LIMIT))


# --- resampling -------------------------------------------------------------------------------------------------------


def resample_counts(units: int, resamples: int, generator: np.random.Generator) -> np.ndarray:
    """How often each of as many units is in each resample with replacement, ``(resamples, units)``.

    Reference: Efron 1979, Bootstrap methods: another look at the jackknife, Annals of Statistics 7(1).
    """
    return generator.multinomial(units, np.full(units, 1 / units), resamples)


def percentile_interval(replicates: np.ndarray | Tensor, level: float = LEVEL) -> tuple[float, float]:
    """The central interval of bootstrap ``replicates (R,)``; undefined ones are left out, NaN where all are."""
    values = np.asarray(replicates, dtype=float)
    values = values[np.isfinite(values)]
    if not len(values):
        return math.nan, math.nan
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def interval(
    values: np.ndarray,
    groups: Sequence[Hashable],
    statistic: Statistic = mean,
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> tuple[float, float]:
    """95 % percentile bootstrap interval over groups, which are drawn whole.

    Where all values are 0 or all are 1, every resample is the same and the bootstrap would claim certainty; the bounds
    of a mean are then those of Clopper and Pearson for as many groups.

    Args:
        values: ``(N,)``.
        groups: the image of each value.
        statistic: of values and how often each was drawn, for many resamples at once.
        seed: of the resampling.
        resamples: how many are drawn.
    """
    _, member = np.unique(np.asarray(groups), return_inverse=True)
    count = int(member.max()) + 1
    if statistic is mean and values.min() == values.max() and values[0] in (0, 1):
        return binomial_interval(int(values[0]) * count, count)
    generator = np.random.default_rng(seed)
    # in blocks: a matrix of all resamples would not fit for a large data set
    block = max(1, BLOCK // max(count, len(member)))
    sizes = [min(block, resamples - done) for done in range(0, resamples, block)]
    drawn = [statistic(values, resample_counts(count, size, generator).take(member, axis=1)) for size in sizes]
    return percentile_interval(np.concatenate(drawn))


@dataclass(frozen=True)
class Interval:
    """A mean with its interval; ``low = high = mean`` where nothing varies."""

    mean: float
    low: float
    high: float


class Bootstrap:
    """Resamples of the images of one table, applied to each of its columns, so that their differences are paired.

    Args:
        groups: of each image; images of one group are drawn together.
        resamples: number of draws.
        seed: of the draws.
    """

    def __init__(self, groups: Sequence[Hashable], resamples: int = BCA_RESAMPLES, seed: int = 0):
        self.groups = _numbered(groups)
        self.size = int(self.groups.max()) + 1
        self.draws = resample_counts(self.size, resamples, np.random.default_rng(seed)).astype(float)

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


def _numbered(groups: Sequence[Hashable]) -> np.ndarray:
    """Numbers ``(N,)`` from 0 of the groups, in the order in which they come first."""
    numbers = {group: number for number, group in enumerate(dict.fromkeys(groups))}
    return np.array([numbers[group] for group in groups], dtype=int)


def _bca_quantiles(estimate: float, resampled: np.ndarray, left_out: np.ndarray, level: float) -> np.ndarray:
    """Which quantiles of the resampled means bound the interval."""
    from scipy.stats import norm

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


def binomial_interval(successes: int, trials: int, level: float = LEVEL) -> tuple[float, float]:
    """Exact interval of a share.

    Reference: Clopper and Pearson 1934, The use of confidence or fiducial limits, Biometrika 26(4).
    """
    tail = (1 - level) / 2
    if successes in (0, trials):
        slack = 1 - tail ** (1 / trials)
        return (0.0, slack) if successes == 0 else (1 - slack, 1.0)
    from scipy.stats import beta

    low = beta.ppf(tail, successes, trials - successes + 1)
    return float(low), float(beta.ppf(1 - tail, successes + 1, trials - successes))


# --- tests ------------------------------------------------------------------------------------------------------------


def permutation_p_value(observed: Tensor, null: Tensor, two_sided: bool = False, tolerance: float = 1e-6) -> Tensor:
    """``(1 + #{T* >= T}) / (1 + draws)``, float64, of ``observed (…)`` among ``null (draws, …)``; two-sided by ``|T|``.

    Sums of another order differ in the last digits, and ties must count: ``tolerance`` is the share of ``T`` by which
    a draw may stay below it.

    Reference: Phipson and Smyth 2010, Permutation p-values should never be zero, Stat. Appl. Genet. Mol. Biol. 9(1).
    """
    if two_sided:
        observed, null = observed.abs(), null.abs()
    slack = tolerance * observed.abs().clamp_min(tolerance)
    return (1 + (null >= observed - slack).sum(0)).double() / (1 + len(null))


def sign_flip_p(differences: np.ndarray, groups: Sequence[Hashable] | None = None, seed: int = 0) -> float:
    """Two-sided p of a mean paired difference under 9,999 draws of random signs; NaN counts as missing.

    Args:
        differences: ``(N,)``.
        groups: of each image; a group's signs flip together.
        seed: of the signs.
    """
    labels = range(len(differences)) if groups is None else groups
    defined = ~np.isnan(differences)
    place = _numbered([label for label, keep in zip(labels, defined, strict=True) if keep])
    sums = np.bincount(place, weights=differences[defined])
    signs = np.random.default_rng(seed).choice(np.array([-1.0, 1.0]), size=(FLIPS, len(sums)))
    observed, null = torch.as_tensor(sums.sum()), torch.from_numpy(signs @ sums)
    return float(permutation_p_value(observed, null, two_sided=True, tolerance=1e-12))


def sign_test(values: Sequence[float]) -> float:
    """Two-sided p of as many positive among the non-zero, finite ``values``, if either sign had probability 1/2."""
    from scipy.stats import binomtest

    counted = [value for value in values if value != 0 and math.isfinite(value)]
    return float(binomtest(sum(value > 0 for value in counted), len(counted)).pvalue) if counted else 1.0


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjusted p values in the given order, which keep the family-wise error below the level.

    >>> [round(p, 3) for p in holm([0.01, 0.04, 0.03])]
    [0.03, 0.06, 0.06]

    Reference: Holm 1979, A simple sequentially rejective multiple test procedure, Scand. J. Stat. 6(2).
    """
    adjusted, largest = [0.0] * len(p_values), 0.0
    for place, which in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        largest = max(largest, min(1.0, (len(p_values) - place) * p_values[which]))
        adjusted[which] = largest
    return adjusted


# --- threshold --------------------------------------------------------------------------------------------------------


def otsu_threshold(values: np.ndarray) -> float:
    """The value above which lies the upper of the two groups that differ most: no histogram, every value is tried.

    Args:
        values: ``(N,)``.

    Returns:
        one of the values; NaN, which no value exceeds, where all are equal.

    Reference: Otsu 1979, A threshold selection method from gray-level histograms, eq. 18.
    """
    distinct, counts = np.unique(values, return_counts=True)
    if len(distinct) < 2:
        return math.nan
    below = counts.cumsum()[:-1]
    above = len(values) - below
    sums = (distinct * counts).cumsum()
    gap = (sums[-1] - sums[:-1]) / above - sums[:-1] / below
    return float(distinct[:-1][(below * above * gap**2).argmax()])
