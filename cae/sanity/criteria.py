"""The mathematics of the sanity tests: what is measured on maps and swaps, and the rules that it must pass."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from cae.metrics.statistics import interval, pearson, spearman

Box = tuple[int, int, int, int]  # top, left, bottom, right; bottom and right excluded

LEAST_FOUND = 0.5  # counterfactuals, for classifiers that respond to what an image can show
SWAPPED_ACCURACY = 0.6  # below it, a classifier goes by the marker
LEAST_MARKER_ENERGY = 0.5  # of the edit, where the classifier goes by the marker
TIMES_AREA = 5.0  # ... and as many times the share of the image that the marker covers
MOST_TIMES_AREA = 2.0  # where the classifier does not look at the marker
LEAST_FOLLOWING = 0.9  # swaps that take the predicted class of their donor
LEAST_LEAD = 0.5  # by which they exceed those that take the donor's label


@dataclass(frozen=True)
class Estimate:
    """A mean with its 95 % interval and the number of values behind it."""

    value: float
    low: float
    high: float
    count: int

    def __str__(self) -> str:
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"


@dataclass(frozen=True)
class Rule:
    """One thing that must be true: ``name`` such as ``shortcut/added``, what is demanded, what came, if it passed."""

    name: str
    demand: str
    found: str
    passed: bool


def estimate(values: Sequence[float] | Tensor, groups: Sequence[str], seed: int = 0) -> Estimate:
    """Mean of ``values (N,)`` with a bootstrap interval over groups, such as images; nan where there is none.

    Undefined values (nan) are left out, and not counted.
    """
    numbers = np.asarray(values, dtype=float)
    defined = ~np.isnan(numbers)
    numbers, groups = numbers[defined], [group for group, keep in zip(groups, defined, strict=True) if keep]
    if not len(numbers):
        return Estimate(float("nan"), float("nan"), float("nan"), 0)
    low, high = interval(numbers, groups, seed=seed)
    return Estimate(float(numbers.mean()), low, high, len(numbers))


def map_correlations(one: Tensor, other: Tensor) -> tuple[float, float]:
    """Pearson's and Spearman's correlation of two maps ``(H, W)``, in [-1, 1]; nan where either is constant.

    Of local maps the first says whether they point at one place, where ranks are mostly those of pixels without change.
    """
    flat = one.flatten(), other.flatten()
    return float(pearson(*flat)), float(spearman(*flat))


def box_energy(values: Tensor, box: Box) -> float:
    """Share of the sum of a map ``(H, W)``, not negative, that lies in a box; 0 for a map of zeros."""
    top, left, bottom, right = box
    total = float(values.double().sum())
    return float(values[top:bottom, left:right].double().sum()) / total if total > 0 else 0.0


def box_share(box: Box, height: int, width: int) -> float:
    """Share of an image that a box covers: the energy of a map that knows nothing."""
    top, left, bottom, right = box
    return (bottom - top) * (right - left) / (height * width)


def shared_targets(probabilities: Tensor, predictions: Tensor) -> Tensor:
    """The class that each image can be led to under two classifiers: neither sees it there already.

    Args:
        probabilities: ``(N, K)`` of the first; among several such classes, it says which is nearest.
        predictions: ``(N,)`` of the second.

    Returns:
        ``(N,)`` indices of classes; -1 where there is none, as for two classes and different predictions.
    """
    rows = torch.arange(len(probabilities))
    left = probabilities.clone()
    left[rows, probabilities.argmax(1)] = -1
    left[rows, predictions] = -1
    best = left.max(1)
    return torch.where(best.values >= 0, best.indices, -1)


def disagreeing_pairs(predictions: Tensor, labels: Tensor, count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Recipients and donors ``(P,)`` that tell whom a swap follows: the classifier, or the labels.

    The donor's prediction is not its label, and the recipient differs from it in both: neither is there before.

    Args:
        predictions: ``(N,)`` of the classifier.
        labels: ``(N,)`` of the data.
        count: pairs at most; no pair comes twice.
        seed: of their choice.
    """
    donor = (predictions != labels)[None]
    apart = (predictions[:, None] != predictions[None]) & (labels[:, None] != labels[None])
    pairs = (apart & donor).nonzero()
    order = torch.randperm(len(pairs), generator=torch.Generator().manual_seed(seed))[:count]
    recipients, donors = pairs[order].unbind(1)
    return recipients, donors


def maps_differ(other: Estimate, seeds: Estimate) -> bool:
    """Whether maps under another classifier are less alike than two trainings for one, their intervals apart."""
    return other.high < seeds.low


def flips_by_chance(excess: Estimate) -> bool:
    """Whether an excess over random donor codes is none: 0, or less, lies within its interval."""
    return excess.low <= 0


def goes_by_marker(swapped_accuracy: float) -> bool:
    """Whether a classifier fails once the markers are swapped."""
    return swapped_accuracy < SWAPPED_ACCURACY


def edits_marker(energy: float, area: float) -> bool:
    """Whether an edit is made at the marker, by its energy there and the share of the image that the marker covers."""
    return energy >= LEAST_MARKER_ENERGY and energy >= TIMES_AREA * area


def leaves_marker(energy: float, area: float) -> bool:
    """Whether an edit spares the marker."""
    return energy <= MOST_TIMES_AREA * area


def follows_classifier(classifier: float, labels: float) -> bool:
    """Whether swaps take their donor's prediction, and not its label, by the shares that do the one and the other."""
    return classifier >= LEAST_FOLLOWING and classifier - labels >= LEAST_LEAD
