"""What one image's search has asked so far: a cache, a count that never passes the budget, and the evidence."""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from explainers.multirex.sufficiency import MaskScore, SufficiencyCriterion


@dataclass(frozen=True)
class Entry:
    """A mask that was judged: its size in pixels, and the verdict."""

    pixels: int
    verdict: MaskScore


class EvaluationBudget:
    """Cache, budget and evidence of one image.

    Args:
        shape: height and width.
        budget: evaluations that may be spent in all.
        reserve: those of them kept back until ``open_reserve``.
        cost: evaluations of one mask (the number of fills).
        criterion: of sufficiency.
        guard: distance from a decision below which a mask is judged again, alone.
    """

    def __init__(
        self,
        shape: tuple[int, int],
        budget: int,
        reserve: int,
        cost: int,
        criterion: SufficiencyCriterion,
        guard: float,
    ):
        self.shape = shape
        self.budget, self.reserve, self.most_reserve, self.cost = budget, reserve, reserve, cost
        self.criterion, self.guard = criterion, guard
        self.spent = 0
        self.hits = 0
        self.stage = "scan"
        self.by_stage: Counter[str] = Counter()
        self.entries: dict[bytes, Entry] = {}
        self._pending: list[tuple[Tensor, float, float]] = []  # masks that the evidence does not hold yet
        self._evidence = torch.zeros((2, shape[0] * shape[1]), dtype=torch.float64)

    def left(self) -> int:
        """Evaluations that may still be spent."""
        return self.budget - self.reserve - self.spent

    def affords(self, masks: int) -> bool:
        """Whether so many masks can still be judged."""
        return masks * self.cost <= self.left()

    def hold(self, masks: int) -> None:
        """Keep back what so many masks cost, within the reserve given."""
        self.reserve = min(masks * self.cost, self.most_reserve)

    def open_reserve(self) -> None:
        """Allow what was kept back."""
        self.reserve = 0

    def charge(self, evaluations: int) -> None:
        """Count images that were forwarded."""
        self.spent += evaluations
        self.by_stage[self.stage] += evaluations

    def record(self, key: bytes, mask: Tensor, pixels: int, verdict: MaskScore) -> None:
        """Remember a verdict on a mask of so many pixels, and keep it for the evidence."""
        self.entries[key] = Entry(pixels, verdict)
        if pixels:
            self._pending.append((mask, 1 / (1 + math.exp(-verdict.log_odds)) / pixels, 1 / pixels))

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
        """Pareto front over all top-1 masks judged: (pixels, probability), both rising."""
        found: list[tuple[int, float]] = []
        judged = [entry for entry in self.entries.values() if entry.verdict.probability > entry.verdict.rival]
        for entry in sorted(judged, key=lambda e: (e.pixels, -e.verdict.probability)):
            if not found or entry.verdict.probability > found[-1][1]:
                found.append((entry.pixels, entry.verdict.probability))
        return found


def mask_key(mask: Tensor) -> bytes:
    """16 bytes that tell masks ``(H, W)`` bool apart."""
    return hashlib.blake2b(np.packbits(mask.cpu().numpy()).tobytes(), digest_size=16).digest()
