"""How often a classifier is right on labelled images, by class, and whether another order of outputs fits better."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

# scipy is imported where it is needed: commands import this module before they know what is asked of them

CHANCE_DEVIATIONS = 1.645  # one-sided, 95 %
FAR_BETTER = 0.25  # gain of mean recall, over the classes that move, below which another order is not named
ORDER_LEVEL = 0.02  # of the sign test between two orders
CLEARLY_BETTER = 0.1  # gain of balanced accuracy below which no other predictions are named


def confusion_matrix(labels: Tensor, predictions: Tensor, classes: int) -> Tensor:
    """Images by true class (rows) and predicted class (columns), ``(K, K)`` int64; labels of -1 are left out.

    >>> confusion_matrix(torch.tensor([0, 0, 1, -1]), torch.tensor([0, 1, 1, 1]), 2).tolist()
    [[1, 1], [0, 1]]
    """
    known = labels >= 0
    cells = labels[known] * classes + predictions[known]
    return torch.bincount(cells, minlength=classes**2).reshape(classes, classes)


def accuracy(confusion: Tensor) -> float:
    """Share of the images of a confusion matrix ``(K, K)`` on its diagonal, in [0, 1]; NaN without images."""
    total = float(confusion.sum())
    return float(confusion.diagonal().sum()) / total if total else math.nan


def recalls(confusion: Tensor) -> Tensor:
    """Share of the images of each class that are predicted to be of it, ``(K,)`` in [0, 1]; NaN for absent classes."""
    return confusion.diagonal().double() / confusion.sum(1).double()


def balanced_accuracy(confusion: Tensor) -> float:
    """Mean recall of the classes that have images, in [0, 1]: the accuracy were all of them equally frequent.

    >>> balanced_accuracy(torch.tensor([[90, 0], [10, 0]]))
    0.5
    """
    return float(recalls(confusion).nanmean())


def beats_chance(confusion: Tensor) -> bool:
    """Whether the balanced accuracy is above that of guessing, as far as so many images tell (one-sided, 95 %).

    Guessing draws the prediction of an image from the frequencies of all predictions, whatever its class: class k is
    then right with its frequency ``q_k``, and its recall has the variance ``q_k (1 - q_k) / n_k``.
    """
    counts = confusion.sum(1).double()
    present = counts > 0
    frequencies = (confusion.sum(0).double() / counts.sum())[present]
    variance = (frequencies * (1 - frequencies) / counts[present]).sum() / int(present.sum()) ** 2
    found = balanced_accuracy(confusion)
    return found == 1 or found > float(frequencies.mean() + CHANCE_DEVIATIONS * variance.sqrt())


def better_order(confusion: Tensor) -> list[int] | None:
    """Which class each output seems to stand for, where that fits far better than the order at hand; else None.

    The order of the largest mean recall is found exactly (an assignment problem), and named only if the classes that
    move gain at least a quarter of their images in the mean, have half of them right, two images each or more, and a
    sign test over the images that only one of both orders gets right says that this is no chance.

    Args:
        confusion: ``(K, K)``, images by true class (rows) and output (columns).

    Returns:
        the class of each output, a permutation of ``range(K)``.

    >>> better_order(torch.tensor([[0, 0, 9], [0, 9, 0], [9, 0, 0]]))
    [2, 1, 0]
    """
    from scipy.optimize import linear_sum_assignment

    counts = confusion.double().cpu()
    shares = counts / counts.sum(1, keepdim=True).clamp_min(1)
    nudge = 1e-9 * torch.eye(len(counts), dtype=torch.double)  # of orders that fit equally well, the one at hand
    _, output_of = linear_sum_assignment(-(shares + nudge).numpy())
    if not _fits_far_better(counts, shares, output_of.tolist()):
        return None
    class_of = [0] * len(counts)
    for number, output in enumerate(output_of.tolist()):
        class_of[output] = number
    return class_of


def _fits_far_better(counts: Tensor, shares: Tensor, output_of: Sequence[int]) -> bool:
    """Whether taking output ``output_of[k]`` for class k is far better than output k, on the classes that move."""
    from scipy.stats import binom

    moved = [k for k, output in enumerate(output_of) if output != k and counts[k].sum() > 0]
    if not moved:
        return False
    outputs = [output_of[k] for k in moved]
    found, before = shares[moved, outputs].mean(), shares[moved, moved].mean()
    hits, former = float(counts[moved, outputs].sum()), float(counts[moved, moved].sum())
    enough = hits >= 2 * len(moved) and found >= 0.5 and found - before >= FAR_BETTER
    return bool(enough and binom.sf(hits - 1, hits + former, 0.5) <= ORDER_LEVEL)


def clearly_better(labels: Tensor, predictions: Tensor, others: Sequence[Tensor], classes: int) -> int | None:
    """Which of other predictions of the same images are clearly better, and best of all; None where none are.

    Clearly: balanced accuracy gains a tenth, and a sign test over the images that only one of both gets right, at a
    level that is shared among all the others, says that this is no chance. Predictions whose balanced accuracy is above
    0.9 can so never be doubted.

    Args:
        labels: ``(N,)``.
        predictions: ``(N,)``, those at hand.
        others: ``(N,)`` each.
        classes: number of classes K.

    >>> labels = torch.arange(20) % 2
    >>> clearly_better(labels, torch.zeros(20, dtype=torch.int64), [1 - labels, labels], 2)
    1
    """
    from scipy.stats import binom

    found = balanced_accuracy(confusion_matrix(labels, predictions, classes))
    gains = [balanced_accuracy(confusion_matrix(labels, other, classes)) - found for other in others]
    best = max(range(len(gains)), key=gains.__getitem__, default=None)
    if best is None or not gains[best] >= CLEARLY_BETTER:
        return None
    right, right_before = others[best] == labels, predictions == labels
    won, lost = int((right & ~right_before).sum()), int((~right & right_before).sum())
    return best if binom.sf(won - 1, won + lost, 0.5) * len(others) <= ORDER_LEVEL else None
