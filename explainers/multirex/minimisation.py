"""From a sufficient mask to a minimal one, with a certificate of the removals that were tried."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from explainers.multirex.candidates import Candidate, Certificate
from explainers.multirex.partition import tile_numbers
from explainers.multirex.search_steps import SearchSteps, score_mask, score_masks
from explainers.multirex.sufficiency import MaskScore

TOGETHER = 8  # tiles tried at once for a certificate


def _always(_: int) -> bool:
    return True


def minimise(
    candidate: Candidate, side: int, least: float, ranking: Tensor, affords: Callable[[int], bool] = _always
) -> SearchSteps[bool]:
    """Leave out tiles of a candidate until none can be left out any more, and certify that; works in place.

    Tiles that the ranking supports least go first, many at once; the tests for the certificate are held back from the
    budget. Wherever the search ends, the candidate is sufficient and as small as was reached.

    Args:
        candidate: to be minimised.
        side: of the tiles, in pixels.
        least: probability that a sufficient mask needs.
        ranking: ``(H, W)`` at least 0; high where the evidence is.
        affords: whether so many masks can still be scored.

    Returns:
        Whether the candidate is certified minimal for tiles of that side.
    """
    removal = _TileRemoval(candidate, side, least, affords)
    yield from removal.sweep(removal.by_support(ranking))
    while removable := (yield from removal.removable()):
        before = candidate.mask
        yield from removal.sweep(removable)
        if candidate.mask is before:
            return False  # tiles can go, but what is left of the budget does not cover the tests after that
    return removable is not None


def certify(candidate: Candidate, side: int, least: float) -> SearchSteps[None]:
    """Try all tiles of one more size on a final mask; the certificate grows if none can be left out."""
    yield from _TileRemoval(candidate, side, least, _always).removable()


def tiles_of(mask: Tensor, numbers: Tensor) -> list[int]:
    """Numbers of the tiles that a mask touches."""
    return numbers[mask].unique().tolist()


@dataclass(eq=False)
class _TileRemoval:
    """Tiles of one size left out of one candidate.

    Attributes:
        candidate: changed in place.
        side: of the tiles, in pixels.
        least: probability that a sufficient mask needs.
        affords: whether so many masks can still be scored.
        without: log-odds of the mask without a tile, for those that stayed when it was last tried to leave them out.
    """

    candidate: Candidate
    side: int
    least: float
    affords: Callable[[int], bool]
    without: dict[int, float] = field(default_factory=dict)
    numbers: Tensor = field(init=False)  # (H, W), of the tile that each pixel is in

    def __post_init__(self) -> None:
        height, width = self.candidate.mask.shape
        self.numbers = tile_numbers((height, width), self.side)

    def by_support(self, ranking: Tensor) -> list[int]:
        """Tiles of the candidate, those first in which it has the least of the ranking ``(H, W)``."""
        mask, numbers = self.candidate.mask, self.numbers
        support = torch.zeros(int(numbers.max()) + 1, dtype=torch.float64)
        support.index_put_((numbers[mask],), ranking.double()[mask], accumulate=True)
        return sorted(tiles_of(mask, numbers), key=lambda tile: (float(support[tile]), tile))

    def sweep(self, tiles: Sequence[int]) -> SearchSteps[None]:
        """Leave out tiles in order, as many at once as goes; ``without`` learns of each that stayed.

        A group that cannot go is halved until one tile is left, which stays; the next group is as large as the last
        run.
        """
        waiting = list(tiles)
        group, fails, run = max(1, len(waiting) // 2), len(waiting) + 1, 0
        present = len(tiles_of(self.candidate.mask, self.numbers))
        while waiting and self.affords(1 + present + present // 2):
            mask = self.candidate.mask & ~torch.isin(self.numbers, torch.tensor(waiting[:group]))
            score = yield from score_mask(mask)
            if score.sufficient:
                self.candidate.shrink(mask, score)
                del waiting[:group]
                present, run, fails = present - group, run + group, fails - group
            else:
                fails = group
            if fails == 1 and waiting:
                self.without[waiting.pop(0)] = score.log_odds
                group, fails, run = max(1, run), len(waiting) + 1, 0
            else:
                group = fails // 2 if fails <= len(waiting) else 2 * group
            group = min(group, len(waiting))

    def removable(self) -> SearchSteps[list[int] | None]:
        """Leave out every tile once: those that can go, the least missed first; none: the candidate is certified.

        The tiles that were missed least come first, and while some of them can go, the others need no test. None if
        the budget does not suffice.
        """
        tiles = tiles_of(self.candidate.mask, self.numbers)
        if not self.affords(len(tiles)):
            return None
        closest = -1.0
        ordered = sorted(tiles, key=lambda tile: (-self.without.get(tile, math.inf), tile))
        for start in range(0, len(ordered), TOGETHER):
            group = ordered[start : start + TOGETHER]
            scores = yield from score_masks([self.candidate.mask & (self.numbers != tile) for tile in group])
            self.without |= {tile: score.log_odds for tile, score in zip(group, scores, strict=True)}
            going = [tile for tile, score in zip(group, scores, strict=True) if score.sufficient]
            if going:
                return sorted(going, key=lambda tile: (-self.without[tile], tile))
            closest = max([closest, *(self._shortfall(score) for score in scores)])
        certificate = Certificate((self.side,), len(tiles), closest)
        self.candidate.certificate = self.candidate.certificate.joined(certificate)
        return []

    def _shortfall(self, score: MaskScore) -> float:
        return min(score.probability - score.rival, score.probability - self.least)
