"""Class-balanced accuracy and calibration of logits, from sums over batches: pure functions."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

# from 1 on: the few images of a small validation split, all of them right, would make any classifier certain
TEMPERATURES = tuple(1.1**power for power in range(25))


def class_sums(logits: Tensor, targets: Tensor) -> Tensor:
    """What a batch adds to the sums of which ``balanced_scores`` are made.

    Args:
        logits: ``(B, K)``.
        targets: ``(B,)`` class indices.

    Returns:
        ``(K, 2 + T)``, one row per true class: images, right predictions, and the sum of the cross-entropies in nats
        at each of the T ``TEMPERATURES``.
    """
    logits = logits.float()
    hot = F.one_hot(targets, logits.shape[1]).to(logits.dtype)
    temperatures = logits.new_tensor(TEMPERATURES)
    losses = torch.stack([F.cross_entropy(logits / t, targets, reduction="none") for t in temperatures], 1)
    right = (logits.argmax(1) == targets).to(logits.dtype)
    return hot.T @ torch.cat([torch.ones_like(right)[:, None], right[:, None], losses], 1)


def balanced_scores(sums: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Balanced accuracy, calibrated balanced loss, and the temperature that calibrates.

    Args:
        sums: ``(K, 2 + T)`` of ``class_sums``, added over batches.

    Returns:
        the mean recall in [0, 1]; the mean over classes of the cross-entropy in nats at the best temperature; and that
        temperature. Classes without images are left out.

    Reference: Guo et al. 2017, arXiv:1706.04599, section 4.2 (temperature scaling), here weighted by class.
    """
    present = sums[sums[:, 0] > 0]
    means = (present[:, 1:] / present[:, :1]).mean(0)
    best = means[1:].argmin()
    return means[0], means[1 + best], means.new_tensor(TEMPERATURES)[best]


def selection(accuracy: Tensor, loss: Tensor, classes: int) -> Tensor:
    """What the best weights have least of: balanced error and calibrated loss, each in units of a guess; 2 is a guess.

    >>> float(selection(torch.tensor(0.5), torch.tensor(0.5).log().neg(), 2))
    2.0
    """
    return (1 - accuracy) / (1 - 1 / classes) + loss / math.log(classes)
