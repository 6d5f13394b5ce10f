"""Does a map point at the ground truth? Functions of one map and one mask, exact under ties.

A mask says where the object is, not what the classifier uses. Among equal values, the pixels taken are the expected
ones: each draws the group's share of hits. A map that is zero everywhere and an empty mask have no value: None.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from scipy import ndimage
from scipy.integrate import trapezoid
from torch import Tensor

from cae.metrics.localisation import dice
from cae.metrics.statistics import otsu_threshold

TOLERANCE = 15 / 224  # of the height, in the tolerant pointing game


@dataclass(frozen=True, eq=False)
class Retrieval:
    """The map's pixels from the top: for each distinct value, pixels inside the mask and in all so far.

    ``hits`` and ``taken`` start with 0.
    """

    hits: np.ndarray
    taken: np.ndarray

    @classmethod
    def of(cls, values: np.ndarray, inside: np.ndarray) -> Retrieval:
        """From a map ``(N,)`` and a mask ``(N,)`` bool."""
        _, group = np.unique(-values, return_inverse=True)
        columns = np.bincount(group, weights=inside), np.bincount(group)
        return cls(*(np.concatenate([[0.0], column.cumsum()]) for column in columns))

    def hits_among(self, count: float | np.ndarray) -> np.ndarray:
        """Expected hits among the ``count`` top pixels."""
        return np.interp(count, self.taken, self.hits)

    def iou(self, count: float | np.ndarray) -> np.ndarray:
        """Overlap over union of the ``count`` top pixels with the mask."""
        hits = self.hits_among(count)
        return hits / (count + self.hits[-1] - hits)

    @property
    def rank_accuracy(self) -> float:
        """Share inside the mask of as many top pixels as the mask has.

        Reference: Arras et al. 2022 (CLEVR-XAI), arXiv:2003.07258, relevance rank accuracy.
        """
        return float(self.hits_among(self.hits[-1]) / self.hits[-1])

    @property
    def average_precision(self) -> float:
        """Area under the precision-recall curve as a step sum."""
        recall = np.diff(self.hits) / self.hits[-1]
        return float((recall * self.hits[1:] / self.taken[1:]).sum())

    @property
    def roc_area(self) -> float | None:
        """Area under the receiver operating characteristic; None if nothing lies outside the mask."""
        outside = self.taken - self.hits
        if outside[-1] == 0:
            return None
        return float(trapezoid(self.hits / self.hits[-1], outside / outside[-1]))

    @property
    def best_iou(self) -> float:
        """The largest overlap over all thresholds: an oracle's choice, which no method knows."""
        return float(self.iou(self.taken[1:]).max())

    @property
    def iou_auc(self) -> float:
        """Mean overlap over thresholds at 1, 2, .., 99 % of the area."""
        return float(self.iou(np.arange(1, 100) / 100 * self.taken[-1]).mean())


def pointing(attribution: Tensor, mask: Tensor, tolerance: float = 0.0) -> float | None:
    """Share of the map's tied maxima that lie inside the mask, or nearer to it than ``tolerance`` pixels.

    Args:
        attribution: ``(H, W)``.
        mask: ``(H, W)`` bool.
        tolerance: in pixels; 0 for inside alone.

    Reference: Zhang et al. 2018, Top-down neural attention by excitation backprop, arXiv:1608.00507, pointing game.
    """
    values, inside = _arrays(attribution, mask)
    if not inside.any() or not values.any():
        return None
    if tolerance > 0:
        inside = inside | (ndimage.distance_transform_edt(~inside) < tolerance)
    return float(inside[values == values.max()].mean())


def energy_pointing(attribution: Tensor, mask: Tensor) -> float | None:
    """Share inside the mask of the map's positive mass; None where there is none.

    Reference: Wang et al. 2020 (Score-CAM), arXiv:1910.01279, energy-based pointing game.
    """
    values, inside = _arrays(attribution, mask)
    positive = values.clip(min=0)
    if not inside.any() or positive.sum() == 0:
        return None
    return float(positive[inside].sum() / positive.sum())


def otsu_dice(attribution: Tensor, mask: Tensor) -> float | None:
    """Dice of the mask with the positive part above Otsu's threshold; None where that part is constant."""
    values, inside = _arrays(attribution, mask)
    positive = values.clip(min=0)
    if not inside.any() or positive.min() == positive.max():
        return None
    return dice(positive > otsu_threshold(positive.ravel()), inside)


def overlap_of_dice(share: float | None) -> float | None:
    """Intersection over union that goes with a Dice coefficient, or with the rank accuracy; None stays None."""
    return None if share is None else share / (2 - share)


def effective_heat_ratio(attribution: Tensor, mask: Tensor, count: bool = False) -> float | None:
    """Mean, over thresholds at the quantiles of the heat, of the heat inside the mask per pixel above the threshold.

    The map's positive part is divided by its maximum; pixels of at least 0.1 are kept; thresholds are their quantiles
    0, .1, .., 1, at most 0.99.

    Args:
        attribution: ``(H, W)``.
        mask: ``(H, W)`` bool.
        count: count pixels inside instead of summing their heat, which does not reward flat hot maps.

    Returns:
        in [0, 1]; None where the map has no positive part or the mask is empty.

    Reference: Zhang et al. 2021 (InputIBA), arXiv:2110.01802, effective heat ratios.
    """
    values, inside = _arrays(attribution, mask)
    if not inside.any() or values.max() <= 0:
        return None
    heat = values.clip(min=0) / values.max()
    thresholds = np.quantile(heat[heat >= 0.1], np.linspace(0, 1, 11)).clip(max=0.99)
    ratios = []
    for threshold in thresholds:
        above = heat >= threshold
        hot = (above & inside).sum() if count else heat[above & inside].sum()
        ratios.append(hot / above.sum())
    return float(trapezoid(ratios, dx=0.1))


def localisation(attribution: Tensor, mask: Tensor) -> dict[str, float | None]:
    """All localisation metrics of a map ``(H, W)`` against a mask ``(H, W)`` bool, by name.

    ``mask_share`` is what a random map scores in pointing, energy, precision and rank accuracy.
    """
    values, inside = _arrays(attribution, mask)
    retrieval = Retrieval.of(values.ravel(), inside.ravel())
    measures: dict[str, Callable[[], float | None]] = {
        "pointing": lambda: pointing(attribution, mask),
        "pointing_tolerant": lambda: pointing(attribution, mask, TOLERANCE * len(values)),
        "energy_pointing": lambda: energy_pointing(attribution, mask),
        "iou_area": lambda: overlap_of_dice(retrieval.rank_accuracy),
        "iou_top20": lambda: float(retrieval.iou(0.2 * values.size)),
        "iou_otsu": lambda: overlap_of_dice(otsu_dice(attribution, mask)),
        "dice_otsu": lambda: otsu_dice(attribution, mask),
        "iou_auc": lambda: retrieval.iou_auc,
        "iou_oracle": lambda: retrieval.best_iou,
        "auprc": lambda: retrieval.average_precision,
        "auroc": lambda: retrieval.roc_area,
        "rank_accuracy": lambda: retrieval.rank_accuracy,
        "ehr": lambda: effective_heat_ratio(attribution, mask),
        "ehr_count": lambda: effective_heat_ratio(attribution, mask, count=True),
    }
    measurable = bool(inside.any() and values.any())
    found = {name: measure() if measurable else None for name, measure in measures.items()}
    return found | {"mask_share": float(mask.float().mean())}


def _arrays(attribution: Tensor, mask: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Map (float64) and mask (bool), both ``(H, W)``."""
    return attribution.detach().cpu().double().numpy(), mask.detach().cpu().to(torch.bool).numpy()
