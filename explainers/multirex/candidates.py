"""Sufficient masks, and the certificate of how far each is known to be minimal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from explainers.multirex.disjoint_sets import separate, without_supersets
from explainers.multirex.sufficiency import MaskScore


@dataclass(frozen=True)
class Certificate:
    """Which removals of single tiles were tried on the final mask, all in vain.

    Attributes:
        levels: tile sides in pixels for which every tile of the mask was left out once, and none could be.
        tests: removals tried for these levels.
        closest: the largest ``min(p(target) - p(rival), p(target) - least)`` among them, at most 0; None without tests.
    """

    levels: tuple[int, ...] = ()
    tests: int = 0
    closest: float | None = None

    def plain(self) -> dict[str, Any]:
        """As values fit for JSON; ``finest`` is None where nothing is certified."""
        return {
            "finest": min(self.levels, default=None),
            "levels": list(self.levels),
            "tests": self.tests,
            "closest": self.closest,
        }

    def joined(self, other: Certificate) -> Certificate:
        """Both together, of the same mask."""
        closest = [value for value in (self.closest, other.closest) if value is not None]
        return Certificate(
            tuple(sorted({*self.levels, *other.levels})), self.tests + other.tests, max(closest, default=None)
        )


@dataclass(eq=False)
class Candidate:
    """A sufficient mask ``(H, W)`` bool, its score, and how far it is known to be minimal."""

    mask: Tensor
    score: MaskScore
    certificate: Certificate = field(default_factory=Certificate)

    @property
    def pixels(self) -> int:
        """Size in pixels."""
        return int(self.mask.sum())

    @property
    def certified(self) -> bool:
        """Whether it is known to be minimal for tiles of any size."""
        return bool(self.certificate.levels)

    def shrink(self, mask: Tensor, score: MaskScore) -> None:
        """Take a smaller sufficient mask; what was certified of the larger one is void."""
        self.mask, self.score, self.certificate = mask, score, Certificate()

    def order(self) -> tuple[int, float, int, int]:
        """Sort key: small ones first, then confident ones, then from the top left."""
        rows, columns = self.mask.nonzero(as_tuple=True)
        top, left = (int(rows.min()), int(columns.min())) if len(rows) else (0, 0)
        return self.pixels, -self.score.log_odds, top, left


def without(candidates: Sequence[Candidate], left_out: Sequence[Candidate]) -> list[Candidate]:
    """Candidates that are not among others, smallest first."""
    return sorted((candidate for candidate in candidates if candidate not in left_out), key=Candidate.order)


@dataclass(eq=False)
class CandidatePool:
    """All candidates of a search, and the compatible ones among them that are its explanations so far.

    Attributes:
        overlap: permitted Dice coefficient of two explanations.
        most: explanations at most.
        candidates: in the order in which they were found.
        chosen: smallest first.
        exact: whether no larger compatible set of the candidates exists.
    """

    overlap: float
    most: int
    candidates: list[Candidate] = field(default_factory=list)
    chosen: list[Candidate] = field(default_factory=list)
    exact: bool = True
    _chosen_from: tuple[tuple[int, bool], ...] = ()  # sizes and certificates at the last choice

    @property
    def full(self) -> bool:
        """Whether there are as many explanations as may be."""
        return len(self.chosen) >= self.most

    def choose(self) -> bool:
        """Choose the largest compatible set of the certified candidates; while there is none, the smallest candidate.

        Returns:
            Whether there was anything new to choose from.
        """
        chosen_from = tuple((candidate.pixels, candidate.certified) for candidate in self.candidates)
        if not chosen_from or chosen_from == self._chosen_from:
            return False
        self._chosen_from = chosen_from
        certified = [candidate for candidate in self.candidates if candidate.certified]
        self.chosen, self.exact = self.compatible(certified or self.candidates)
        if not certified:
            self.chosen = self.chosen[:1]
        return True

    def compatible(self, candidates: Sequence[Candidate]) -> tuple[list[Candidate], bool]:
        """The largest compatible set of some candidates, smallest masks first, and whether none is larger."""
        if not candidates:
            return [], True
        masks = torch.stack([candidate.mask for candidate in candidates])
        if self.overlap == 0:
            keep = without_supersets(masks)
            masks = masks[keep]
            candidates = [candidate for candidate, kept in zip(candidates, keep.tolist(), strict=True) if kept]
        found = separate(masks, [candidate.score.probability for candidate in candidates], self.overlap)
        chosen = sorted((candidates[place] for place in found.chosen), key=Candidate.order)
        return chosen[: self.most], found.exact
