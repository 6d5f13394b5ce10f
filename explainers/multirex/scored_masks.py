"""The masks of one image that were scored: a cache, the evidence map, and the best masks of each size."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from explainers.base import Instance
from explainers.multirex.evaluation_budget import EvaluationBudget
from explainers.multirex.sufficiency import MaskScore, SufficiencyCriterion, mask_scores


@dataclass(frozen=True)
class ScoredMask:
    """A mask that was scored: its size in pixels, and the score."""

    pixels: int
    score: MaskScore


@dataclass(eq=False)
class ScoredMasks:
    """All masks of one image that were scored.

    Attributes:
        shape: height and width.
        by_key: masks by ``mask_key``.
        cache_hits: how often a mask was asked for that was there already.
    """

    shape: tuple[int, int]
    by_key: dict[bytes, ScoredMask] = field(default_factory=dict)
    cache_hits: int = 0
    _pending: list[tuple[Tensor, float, float]] = field(default_factory=list)  # what the evidence does not hold yet
    _evidence: Tensor = field(init=False)  # (2, H * W): sums of weighted support, and of weights

    def __post_init__(self) -> None:
        self._evidence = torch.zeros((2, self.shape[0] * self.shape[1]), dtype=torch.float64)

    def record(self, key: bytes, mask: Tensor, pixels: int, score: MaskScore) -> None:
        """Remember the score of a mask of so many pixels, and keep it for the evidence."""
        self.by_key[key] = ScoredMask(pixels, score)
        if pixels:
            self._pending.append((mask, 1 / (1 + math.exp(-score.log_odds)) / pixels, 1 / pixels))

    def evidence(self) -> Tensor:
        """Mean support ``(H, W)`` in [0, 1] of the masks that show a pixel; small masks count for more."""
        if self._pending:
            masks = torch.stack([mask.flatten() for mask, *_ in self._pending]).double()
            weights = torch.tensor([weights for _, *weights in self._pending], dtype=torch.float64)
            self._evidence += weights.T @ masks
            self._pending = []
        support, seen = self._evidence
        return torch.where(seen > 0, support / seen.clamp_min(1e-300), 0.0).reshape(self.shape)

    def front(self) -> list[tuple[int, float]]:
        """Pareto front over all scored masks of the target's class: (pixels, probability), both rising."""
        front: list[tuple[int, float]] = []
        best_class = [one for one in self.by_key.values() if one.score.probability > one.score.rival]
        for one in sorted(best_class, key=lambda one: (one.pixels, -one.score.probability)):
            if not front or one.score.probability > front[-1][1]:
                front.append((one.pixels, one.score.probability))
        return front


def mask_key(mask: Tensor) -> bytes:
    """16 bytes that tell masks ``(H, W)`` bool apart."""
    return hashlib.blake2b(np.packbits(mask.cpu().numpy()).tobytes(), digest_size=16).digest()


@dataclass(frozen=True, eq=False)
class ScoringContext:
    """What is known of one image, and what may still be asked.

    Attributes:
        criterion: of sufficiency.
        full: score of the whole image.
        budget: evaluations that may be spent.
        masks: scored so far.
    """

    criterion: SufficiencyCriterion
    full: MaskScore
    budget: EvaluationBudget
    masks: ScoredMasks

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width of the image."""
        return self.masks.shape

    @classmethod
    def of(cls, instance: Instance, least: float, budget: EvaluationBudget) -> ScoringContext:
        """An image of which only the classifier's probabilities are known; ``least`` is that of the criterion."""
        criterion = SufficiencyCriterion(instance.target, least)
        full = mask_scores(instance.probabilities[None], criterion)[0]
        return cls(criterion, full, budget, ScoredMasks((instance.image.shape[1], instance.image.shape[2])))

    def record_full(self) -> None:
        """Remember the score of the whole image as that of the mask that shows everything."""
        everything = torch.ones(self.shape, dtype=torch.bool)
        self.masks.record(mask_key(everything), everything, everything.numel(), self.full)
