"""What the stages of one image's search share: the context, the candidates, and the pixels that are used."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from explainers.infills.blur import gaussian_blur
from explainers.multirex.candidates import Candidate, CandidatePool
from explainers.multirex.disc_scan import DiscScan
from explainers.multirex.responsibility_trees import TreeSettings
from explainers.multirex.scored_masks import ScoringContext

FEW = 2  # explanations below which a search goes to any length


@dataclass(frozen=True)
class SearchSettings:
    """Of the image at hand, lengths in pixels; see ``MultiReX`` for the meaning."""

    radii: tuple[float, ...]
    stride: float
    tiles: tuple[int, ...]
    overlap: float
    most: int
    enough: int
    trees: TreeSettings | None


@dataclass(eq=False)
class SearchState:
    """The search of one image between its stages.

    Attributes:
        context: the image's criterion, budget and scored masks.
        settings: of the search.
        pool: candidates, and those chosen.
        used: ``(H, W)`` bool, pixels that are set aside.
        begun: candidates whose minimisation was begun.
        ranking: ``(H, W)`` responsibility, or None where the evidence ranks the pixels.
    """

    context: ScoringContext
    settings: SearchSettings
    pool: CandidatePool = field(init=False)
    used: Tensor = field(init=False)
    begun: set[Candidate] = field(default_factory=set)
    ranking: Tensor | None = None

    def __post_init__(self) -> None:
        self.pool = CandidatePool(self.settings.overlap, self.settings.most)
        self.used = torch.zeros(self.context.shape, dtype=torch.bool)

    @property
    def least(self) -> float:
        """Probability that a sufficient mask needs."""
        return self.context.criterion.least

    @property
    def side(self) -> int:
        """Side of the tiles in pixels that are left out first."""
        return self.settings.tiles[0]

    def enter(self, stage: str) -> None:
        """Count evaluations to a stage from now on."""
        self.context.budget.stage = stage

    def order(self) -> Tensor:
        """The ranking ``(H, W)``: responsibility, or the evidence gathered so far."""
        return self.evidence() if self.ranking is None else self.ranking

    def evidence(self) -> Tensor:
        """The evidence map, smoothed by a Gaussian of a quarter of the stride, which removes most ties."""
        return smoothed(self.context.masks.evidence(), self.settings.stride / 4)

    def scan(self) -> DiscScan:
        """Of the pixels that are not used."""
        return DiscScan(~self.used, self.settings.radii)

    def choose(self) -> None:
        """Choose explanations among the candidates, and keep back what their verification costs."""
        if self.pool.choose():
            self.context.budget.hold(2 * (len(self.pool.chosen) + 1))

    def has_enough(self) -> bool:
        """Whether there are as many explanations as may be."""
        self.choose()
        return self.pool.full

    def use_only(self, candidates: Sequence[Candidate]) -> None:
        """Set aside the pixels of some candidates, and no others."""
        self.used = self.union(candidates)

    def union(self, candidates: Sequence[Candidate]) -> Tensor:
        """``(H, W)`` bool: the pixels of some candidates."""
        if not candidates:
            return torch.zeros(self.context.shape, dtype=torch.bool)
        return torch.stack([candidate.mask for candidate in candidates]).any(0)


def smoothed(values: Tensor, deviation: float) -> Tensor:
    """A map ``(H, W)`` under a Gaussian of ``deviation`` pixels; the border counts as its nearest pixel."""
    return gaussian_blur(values, max(deviation, 1e-3), max(1, int(3 * deviation)))
