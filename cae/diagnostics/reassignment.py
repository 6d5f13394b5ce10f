"""Reassignment: how often an image takes over the class of the donor of its class code."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from cae.diagnostics.swaps import ClassifiedSwaps, classify_swaps
from cae.metrics.statistics import RESAMPLES, percentile_interval, resample_counts


def reassignment_matrix(
    recipient_predictions: Tensor, donor_predictions: Tensor, swap_predictions: Tensor, classes: int
) -> Tensor:
    """R[a, b]: share of swaps classified as b, of those from a recipient of class a and a donor of class b.

    Returns:
        ``(K, K)`` float64 in [0, 1]; NaN where there is no such swap.
    """
    return _cell_means(
        recipient_predictions, donor_predictions, (swap_predictions == donor_predictions).double(), classes
    )


def soft_reassignment_matrix(
    recipient_predictions: Tensor, donor_predictions: Tensor, swap_probabilities: Tensor, classes: int
) -> Tensor:
    """The same with the mean probability ``(P, K)`` of the donor's class in place of the prediction."""
    values = swap_probabilities.double().gather(1, donor_predictions[:, None])[:, 0]
    return _cell_means(recipient_predictions, donor_predictions, values, classes)


def _cell_means(rows: Tensor, columns: Tensor, values: Tensor, classes: int) -> Tensor:
    cells = rows * classes + columns
    total = torch.zeros(classes * classes, dtype=torch.float64).index_add_(0, cells, values)
    number = torch.bincount(cells, minlength=classes * classes)
    return (total / number).reshape(classes, classes)


def reassignment_rate(matrix: Tensor) -> float:
    """Mean of R[a, b] over a != b: how reliably a class code carries its class into images of other classes."""
    return float(matrix[~torch.eye(len(matrix), dtype=torch.bool)].nanmean())


def retention(matrix: Tensor) -> float:
    """Mean of R[a, a]: how reliably an image keeps its class under a code of the same class."""
    return float(matrix.diagonal().nanmean())


def reassignment_interval(
    recipients: Tensor, donors: Tensor, predictions: Tensor, hits: Tensor, seed: int = 0, level: float = 0.95
) -> tuple[float, float]:
    """Bootstrap interval of ``reassignment_rate`` over recipients and donors at once.

    A pair counts as often as its recipient times its donor was drawn; images are redrawn within their class, so that
    no class vanishes.

    Args:
        recipients: ``(P,)`` indices into ``predictions``.
        donors: ``(P,)`` likewise.
        predictions: ``(N,)`` class of each image.
        hits: ``(P,)`` whether the swap was classified as the donor's class.

    Reference: Owen 2007, "The pigeonhole bootstrap", Annals of Applied Statistics 1(2) (conservative for two-way data).
    """
    generator = np.random.default_rng(seed)
    recipient, donor, prediction = recipients.numpy(), donors.numpy(), predictions.cpu().numpy()
    weights = _resampled(recipient, prediction, generator) * _resampled(donor, prediction, generator)  # (R, P)
    cells = prediction[recipient] * (prediction.max() + 1) + prediction[donor]
    across = prediction[recipient] != prediction[donor]
    if not across.any():
        return float("nan"), float("nan")
    _, column = np.unique(cells[across], return_inverse=True)
    member = np.eye(column.max() + 1)[column]  # (P, cells)
    weight = weights[:, across]
    with np.errstate(invalid="ignore", divide="ignore"):
        rates = (weight * hits.numpy()[across]) @ member / (weight @ member)
    return percentile_interval(np.nanmean(rates, axis=1), level)


def _resampled(indices: np.ndarray, predictions: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """How often the image of each pair is drawn, ``(RESAMPLES, P)``."""
    unique, position = np.unique(indices, return_inverse=True)
    counts = np.zeros((RESAMPLES, len(unique)))
    for k in np.unique(predictions[unique]):
        members = np.flatnonzero(predictions[unique] == k)
        counts[:, members] = resample_counts(len(members), RESAMPLES, generator)
    return counts[:, position]


def measure_reassignment(
    cae: Any,
    classifiers: Mapping[str, Any],
    images: Tensor,
    predictions: Tensor,
    pairs: tuple[Tensor, Tensor],
    batch_size: int = 64,
    residual: bool = False,
) -> dict[str, Tensor]:
    """Reassignment matrices ``(K, K)`` by classifier: ``name`` for decoded swaps, ``name/residual`` for residual ones.

    Args:
        cae: the model that swaps codes.
        classifiers: by name, each with ``probabilities(images) -> (B, K)``.
        images: ``(N, C, H, W)`` in [0, 1].
        predictions: ``(N,)`` of the target classifier; they name rows and columns, whichever classifier is asked.
        pairs: recipient and donor indices, as from ``sample_pairs``.
        batch_size: images in one forward pass.
        residual: measure the change brought into the recipients themselves as well.
    """
    swaps = classify_swaps(cae, classifiers, images, pairs, batch_size, residual)
    return reassignment_matrices(swaps, predictions)


def reassignment_matrices(swaps: ClassifiedSwaps, predictions: Tensor) -> dict[str, Tensor]:
    """Reassignment matrices of classified swaps, keyed as in ``measure_reassignment``."""
    rows, columns = predictions.cpu()[swaps.recipients], predictions.cpu()[swaps.donors]
    scored = {**swaps.decoded, **{f"{name}/residual": scores for name, scores in swaps.residual.items()}}
    return {
        name: reassignment_matrix(rows, columns, scores.argmax(1), scores.shape[1]) for name, scores in scored.items()
    }


def matrix_of(metrics: Mapping[str, float], classes: Sequence[str], name: str = "cae/reassignment") -> Tensor:
    """The reassignment matrix ``(K, K)`` that ``diagnose`` wrote cell by cell, e.g. for ``draw_reassignment``.

    Args:
        metrics: of ``diagnose``, or read from ``metrics.json``.
        classes: K names.
        name: ``cae/reassignment`` (target) or ``cae/reassignment_oracle``.

    Returns:
        NaN where nothing was measured.
    """
    return torch.tensor(
        [[metrics.get(f"{name}/{a}->{b}", math.nan) for b in classes] for a in classes], dtype=torch.float64
    )
