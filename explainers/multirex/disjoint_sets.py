"""The largest set of explanations that overlap no more than permitted: an exact search, without any evaluation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

NODES = 200_000  # after which the search for the set of least area gives up; the largest number has its own count
EXACT_UP_TO = 64  # candidates


@dataclass(frozen=True)
class Separation:
    """Places of the chosen candidates, and whether no larger set of the candidates is compatible."""

    chosen: tuple[int, ...]
    exact: bool


def dice_matrix(masks: Tensor) -> Tensor:
    """``(n, n)`` Dice coefficients ``2 |A and B| / (|A| + |B|)`` of masks ``(n, H, W)``; 0 for two empty ones."""
    flat = masks.flatten(1).double()  # a third or a tenth in float32 is more than it, and would exceed an overlap of it
    sizes = flat.sum(1)
    return 2 * (flat @ flat.T) / (sizes[:, None] + sizes).clamp_min(1)


def separate(masks: Tensor, confidences: Sequence[float], overlap: float) -> Separation:
    """Choose the most masks whose pairs all have Dice ≤ overlap.

    Among sets of the same number: least total area, then highest lowest confidence, then lowest places. The number is
    the maximum over the candidates given, not over all explanations that exist.

    Args:
        masks: ``(n, H, W)`` bool.
        confidences: of each, for ties.
        overlap: permitted Dice coefficient; 0 for disjoint sets.
    """
    if not len(masks):
        return Separation((), True)
    compatible = dice_matrix(masks) <= overlap + 1e-12
    compatible.fill_diagonal_(False)
    neighbours = [sum(1 << j for j in row.nonzero()[:, 0].tolist()) for row in compatible]
    areas = masks.flatten(1).sum(1).tolist()
    search = _Clique(neighbours, areas, [round(float(value), 4) for value in confidences])
    search.run()
    return Separation(search.best, search.exact)


@dataclass(eq=False)
class _Clique:
    """Branch and bound on bitsets; the bound is the number of colours of a greedy colouring (Tomita and Seki 2003)."""

    neighbours: list[int]
    areas: list[int]
    confidences: list[float]
    best: tuple[int, ...] = ()
    value: tuple = (0,)
    nodes: int = 0
    exact: bool = True

    def run(self) -> None:
        """Greedy start, largest number, then least area."""
        everyone = (1 << len(self.neighbours)) - 1
        self._greedy(everyone)
        self._expand((), everyone, larger=True)
        if self.nodes <= NODES:
            self.nodes = 0
            self._expand((), everyone, larger=False)

    def _greedy(self, allowed: int) -> None:
        chosen: list[int] = []
        for place in sorted(range(len(self.areas)), key=lambda i: (self.areas[i], i)):
            if allowed >> place & 1:
                chosen.append(place)
                allowed &= self.neighbours[place]
        self._offer(tuple(sorted(chosen)))

    def _offer(self, chosen: tuple[int, ...]) -> None:
        lowest = min((self.confidences[i] for i in chosen), default=0.0)
        value = (len(chosen), -sum(self.areas[i] for i in chosen), lowest, tuple(-i for i in chosen))
        if value > self.value:
            self.best, self.value = chosen, value

    def _expand(self, chosen: tuple[int, ...], allowed: int, larger: bool) -> None:
        self.nodes += 1
        if self.nodes > NODES:
            self.exact = self.exact and not larger
            return
        if not allowed:
            self._offer(tuple(sorted(chosen)))
            return
        order, colours = self._coloured(allowed)
        for place, colour in zip(reversed(order), reversed(colours), strict=True):
            bound = len(chosen) + colour
            if bound < len(self.best) or (larger and bound == len(self.best)):
                return
            if larger or not self._too_large(chosen, allowed):
                self._expand((*chosen, place), allowed & self.neighbours[place], larger)
            allowed &= ~(1 << place)

    def _too_large(self, chosen: tuple[int, ...], allowed: int) -> bool:
        """Whether even the smallest masks left would make a set of the best number larger in area than the best."""
        missing = len(self.best) - len(chosen)
        left = sorted(area for place, area in enumerate(self.areas) if allowed >> place & 1)
        return sum(self.areas[i] for i in chosen) + sum(left[: max(missing, 0)]) > -self.value[1]

    def _coloured(self, allowed: int) -> tuple[list[int], list[int]]:
        """Places in order of their colour, and how many colours the places up to each need."""
        order: list[int] = []
        colours: list[int] = []
        colour = 0
        while allowed:
            colour += 1
            free = allowed
            while free:
                place = (free & -free).bit_length() - 1
                order.append(place)
                colours.append(colour)
                allowed &= ~(1 << place)
                free &= ~(1 << place) & ~self.neighbours[place]
        return order, colours


def without_supersets(masks: Tensor) -> Tensor:
    """``(n,)`` bool: masks ``(n, H, W)`` that contain no other one; for disjoint sets the others are not needed."""
    flat = masks.flatten(1).float()
    inside = flat @ flat.T  # [i, j]: pixels of j in i
    contains = inside >= flat.sum(1)[None] - 0.5
    contains.fill_diagonal_(False)
    equal = contains & contains.T
    later = torch.ones_like(equal).tril(-1)
    return ~((contains & ~equal) | (equal & later)).any(1)
