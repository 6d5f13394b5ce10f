"""An explanation that is also necessary: it suffices, and hiding it changes the class."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from explainers.multirex.candidates import Candidate
from explainers.multirex.partition import tile_numbers
from explainers.multirex.prefixes import ranked_pixels, shortest, with_pixels
from explainers.multirex.search_steps import BudgetSpent, SearchSteps, score_masks
from explainers.multirex.sufficiency import MaskScore

FINEST_GROWTH = 6  # the least that a mask is grown by at first is one part in 2**6 of what it lacks


@dataclass(frozen=True, eq=False)
class ContrastiveMask:
    """A mask ``(H, W)`` bool with its score, and that of the image with the mask hidden."""

    mask: Tensor
    score: MaskScore
    complement: MaskScore

    def holds(self, target: int) -> bool:
        """Whether the mask suffices while its complement is of another class."""
        return self.score.sufficient and self.complement.top != target


@dataclass(frozen=True, eq=False)
class ContrastiveResult:
    """What the search for a contrastive mask came to.

    Attributes:
        status: ``found``; ``full_image`` if nothing less than all does it; ``none``; ``budget`` if it ended early.
        found: the mask, or None.
        finest: tile side for which no single tile can be left out, or None.
    """

    status: str
    found: ContrastiveMask | None = None
    finest: int | None = None

    def plain(self) -> dict[str, Any]:
        """As the value of a key of ``extras``."""
        values: dict[str, Any] = {"status": self.status, "finest": self.finest}
        if self.found is not None:
            values |= {
                "mask": self.found.mask,
                "confidence": self.found.score.probability,
                "complement_class": self.found.complement.top,
                "complement_confidence": self.found.complement.probability,
            }
        return values


def contrastive(pool: Sequence[Candidate], ranking: Tensor, target: int, side: int) -> SearchSteps[ContrastiveResult]:
    """Join explanations until hiding them changes the class, grow along the ranking if need be, then minimise.

    Args:
        pool: sufficient masks, the smallest first; not empty.
        ranking: ``(H, W)``.
        target: the class explained.
        side: of the tiles for the certificate, in pixels.
    """
    search: _ContrastiveSearch | None = None
    try:
        first = (yield from _with_complements([pool[0].mask]))[0]
        search = _ContrastiveSearch(first, target)
        yield from search.join(pool[1:])
        yield from search.grow(ranking)
        if not search.holds:
            return ContrastiveResult("none")
        yield from search.shrink(side)
    except BudgetSpent:
        return ContrastiveResult("budget", search.found if search and search.holds else None)
    whole = bool(search.found.mask.all())
    return ContrastiveResult("full_image" if whole else "found", search.found, side)


def _with_complements(masks: Sequence[Tensor]) -> SearchSteps[list[ContrastiveMask]]:
    """Score masks and their complements."""
    scores = yield from score_masks([part for mask in masks for part in (mask, ~mask)])
    return [ContrastiveMask(*parts) for parts in zip(masks, scores[::2], scores[1::2], strict=True)]


@dataclass(eq=False)
class _ContrastiveSearch:
    """Changes ``found`` step by step; wherever it is stopped, that is the best so far."""

    found: ContrastiveMask
    target: int

    @property
    def holds(self) -> bool:
        """Whether both conditions are met."""
        return self.found.holds(self.target)

    def join(self, others: Sequence[Candidate]) -> SearchSteps[None]:
        """Add the candidate that lowers the complement's probability most, while the complement keeps the class."""
        rest = list(others)
        while rest and not self.holds:
            joined = yield from _with_complements([self.found.mask | other.mask for other in rest])
            best = min(range(len(rest)), key=lambda i: (round(joined[i].complement.probability, 4), i))
            self.found = joined[best]
            rest.pop(best)

    def grow(self, ranking: Tensor) -> SearchSteps[None]:
        """Add pixels from the top of the ranking until both conditions hold."""
        if self.holds:
            return
        start = self.found.mask
        places = ranked_pixels(ranking, ~start)

        def attempt(sizes: Sequence[int]) -> SearchSteps[list[ContrastiveMask | None]]:
            grown = yield from _with_complements([with_pixels(start, places[:size]) for size in sizes])
            holding = [one if one.holds(self.target) else None for one in grown]
            self.found = next((one for one in holding if one is not None), self.found)
            return holding

        yield from shortest(len(places), FINEST_GROWTH, attempt)

    def shrink(self, side: int) -> SearchSteps[None]:
        """Leave out tiles, the least missed first, while both conditions hold; ends with a full round in vain."""
        height, width = self.found.mask.shape
        numbers = tile_numbers((height, width), side)
        while True:
            tiles = numbers[self.found.mask].unique().tolist()
            trials = yield from _with_complements([self.found.mask & (numbers != tile) for tile in tiles])
            holding = [place for place, trial in enumerate(trials) if trial.holds(self.target)]
            if not holding:
                return
            ordered = sorted(holding, key=lambda place: (-trials[place].score.log_odds, place))
            counts = sorted({min(2**power, len(ordered)) for power in range(len(ordered).bit_length() + 1)})
            joint = yield from _with_complements(
                [
                    self.found.mask & ~torch.isin(numbers, torch.tensor([tiles[place] for place in ordered[:count]]))
                    for count in counts
                ]
            )
            self.found = [trial for trial in joint if trial.holds(self.target)][-1]  # one tile alone can always go
