"""Evidence that stands alone: which regions of a change move the classifier, and which only came along."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from cae.metrics.localisation import evidence_map

FAINTEST = 1 / 64  # of the largest energy: an eighth of the largest change
MOST = 8  # regions that are judged; smaller ones belong to the nearest of these
LEAST = 0.1  # of the whole effect, that a region must have


def change_regions(change: Tensor) -> Tensor:
    """The cell of each pixel, ``(H, W)`` uint8: every pixel belongs to the nearest region of a change ``(C, H, W)``.

    Regions are connected parts of the evidence (``evidence_map``) of at least ``FAINTEST`` of its largest value; the
    one with the most energy is 0. The cells divide the image: the changes within them add up to the whole change.
    """
    evidence = evidence_map(change)[0].numpy()
    parts, count = ndimage.label(
        evidence >= max(FAINTEST * evidence.max(), np.finfo(evidence.dtype).tiny), np.ones((3, 3))
    )
    if count == 0:
        return torch.zeros(change.shape[-2:], dtype=torch.uint8)
    energy = ndimage.sum_labels(evidence, parts, np.arange(1, count + 1))
    largest = np.argsort(-energy, kind="stable")[:MOST]
    rank = np.full(count + 1, MOST, dtype=np.uint8)
    rank[1 + largest] = np.arange(len(largest))
    ranked = rank[parts]
    nearest = ndimage.distance_transform_edt(ranked == MOST, return_distances=False, return_indices=True)
    return torch.from_numpy(ranked[tuple(nearest)])


def region_effects(
    start: Tensor, end: Tensor, cells: Tensor, margins: Callable[[Tensor], Tensor], whole: tuple[float, float]
) -> Tensor:
    """What each region does to the classifier, as shares of what all of them do: ``(R, 2)``.

    The first is by how much the margin of the wanted class grows where the region alone is changed, the second by how
    much it falls where all but the region is. Of a single region both are 1, and nothing is classified; all are NaN
    where the whole change does not bring the wanted class nearer.

    Args:
        start: ``(C, H, W)`` without the change.
        end: ``(C, H, W)`` with it.
        cells: ``(H, W)`` of ``change_regions``.
        margins: of images ``(N, C, H, W)``, ``(N,)``.
        whole: those of ``start`` and ``end``.
    """
    count, (before, after) = int(cells.max()) + 1, whole
    if count == 1:
        return torch.ones(1, 2)
    if after <= before:
        return torch.full((count, 2), torch.nan)
    inside = (cells == torch.arange(count, dtype=cells.dtype)[:, None, None])[:, None]
    alone, without = torch.where(inside, end, start), torch.where(inside, start, end)
    grown, left = margins(torch.cat([alone, without])).split(count)
    return torch.stack([grown - before, after - left], dim=1) / (after - before)


def kept_regions(effects: Tensor) -> Tensor:
    """Which regions ``(R,)`` are evidence, by their ``effects (R, 2)``: what moves the classifier alone, or is missed.

    Where none does, or the whole does not, all are: then only together do they say something.
    """
    kept = (effects >= LEAST).any(1)
    return kept if bool(kept.any()) else torch.ones_like(kept)
