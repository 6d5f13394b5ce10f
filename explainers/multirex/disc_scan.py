"""The scan: discs around the centres of a grid, as small as suffice."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

from torch import Tensor

from explainers.multirex.candidates import Candidate
from explainers.multirex.partition import disc
from explainers.multirex.search_steps import SearchSteps, score_masks
from explainers.multirex.sufficiency import MaskScore

PAIRED = 8  # best failing discs that are tried two at a time
FEW = 2  # sufficient discs below which two together are tried

Centre = tuple[float, float]


@dataclass(frozen=True, eq=False)
class DiscScan:
    """Discs around centres: the smallest radius that suffices, larger ones where the middle one does not.

    Attributes:
        free: ``(H, W)`` bool, pixels that discs may show.
        radii: in pixels, rising.
    """

    free: Tensor
    radii: tuple[float, ...]

    def run(self, centres: Sequence[Centre]) -> SearchSteps[list[Candidate]]:
        """Sufficient discs around those centres that are free; where there are few, pairs of discs as well."""
        middle = len(self.radii) // 2
        shown = [centre for centre in centres if self.free[self._pixel(centre)]]
        passing, failing = yield from self._score(shown, self.radii[middle])
        for_smaller = list(passing)
        for radius in reversed(self.radii[:middle]):
            smaller, _ = yield from self._score(for_smaller, radius)
            passing |= smaller
            for_smaller = list(smaller)
        for radius in self.radii[middle + 1 :]:
            larger, failing = yield from self._score(_best(failing, (len(failing) + 1) // 2), radius)
            passing |= larger
        candidates = list(passing.values())
        if len(candidates) < FEW and failing:
            candidates += yield from self._pairs(_best(failing, PAIRED), self.radii[middle])
        return candidates

    def _score(
        self, centres: Sequence[Centre], radius: float
    ) -> SearchSteps[tuple[dict[Centre, Candidate], dict[Centre, MaskScore]]]:
        """Discs of one radius: those that suffice as candidates, and the scores of the others, by centre."""
        discs = {centre: self._disc(centre, radius) for centre in centres}
        discs = {centre: mask for centre, mask in discs.items() if bool(mask.any())}
        scores = (yield from score_masks(list(discs.values()))) if discs else []
        scored = dict(zip(discs, scores, strict=True))
        passing = {centre: Candidate(discs[centre], score) for centre, score in scored.items() if score.sufficient}
        return passing, {centre: score for centre, score in scored.items() if not score.sufficient}

    def _pairs(self, centres: Sequence[Centre], radius: float) -> SearchSteps[list[Candidate]]:
        """Sufficient unions of two discs."""
        discs = [self._disc(centre, radius) for centre in centres]
        unions = [union for one, other in combinations(discs, 2) if bool((union := one | other).any())]
        scores = (yield from score_masks(unions)) if unions else []
        return [Candidate(union, score) for union, score in zip(unions, scores, strict=True) if score.sufficient]

    def _disc(self, centre: Centre, radius: float) -> Tensor:
        return disc(self._shape, centre, radius) & self.free

    def _pixel(self, centre: Centre) -> tuple[int, int]:
        row, column = (min(max(round(place), 0), side - 1) for place, side in zip(centre, self._shape, strict=True))
        return row, column

    @property
    def _shape(self) -> tuple[int, int]:
        height, width = self.free.shape
        return height, width


def _best(failing: dict[Centre, MaskScore], count: int) -> list[Centre]:
    """The centres of the discs that are nearest to being sufficient."""
    return sorted(failing, key=lambda centre: (-failing[centre].log_odds, centre))[:count]
