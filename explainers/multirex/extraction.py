"""From a ranking or a sufficient mask to a minimal one, with a certificate of the removals that were tried."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from explainers.multirex.partition import tile_numbers
from explainers.multirex.sufficiency import MaskScore, Search, ask

FINEST_PREFIX = 8  # the shortest prefix tried shows one pixel in 2**8
TOGETHER = 8  # tiles tried at once for a certificate
BRACKET = 16  # the search for a shorter prefix ends at one part in 16


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
    """A sufficient mask ``(H, W)`` bool, the verdict on it, and how far it is known to be minimal."""

    mask: Tensor
    verdict: MaskScore
    certificate: Certificate = field(default_factory=Certificate)

    @property
    def pixels(self) -> int:
        """Size in pixels."""
        return int(self.mask.sum())

    def shrink(self, mask: Tensor, verdict: MaskScore) -> None:
        """Take a smaller sufficient mask; what was certified of the larger one is void."""
        self.mask, self.verdict, self.certificate = mask, verdict, Certificate()

    def order(self) -> tuple[int, float, int, int]:
        """Sort key: small ones first, then confident ones, then from the top left."""
        rows, columns = self.mask.nonzero(as_tuple=True)
        top, left = (int(rows.min()), int(columns.min())) if len(rows) else (0, 0)
        return self.pixels, -self.verdict.log_odds, top, left


def prefix(ranking: Tensor, allowed: Tensor) -> Search[Candidate | None]:
    """A short sufficient prefix of a ranking: galloping over powers of two, then a search by fourths.

    Args:
        ranking: ``(H, W)``; high values are shown first, ties from the top left.
        allowed: ``(H, W)`` bool, pixels that may be shown.

    Returns:
        The smallest sufficient prefix that was tried, or None; a shorter one may exist, for verdicts need not be
        monotone.
    """
    places = allowed.flatten().nonzero()[:, 0]
    if not len(places):
        return None
    places = places[ranking.flatten()[places].argsort(descending=True, stable=True)]
    total = len(places)
    sizes = sorted({max(1, total >> power) for power in range(FINEST_PREFIX + 1)})
    found: Candidate | None = None
    low = 0
    while sizes:
        masks = torch.stack([_shown(places[:size], allowed) for size in sizes])
        verdicts = yield from ask(masks)
        passing = [place for place, verdict in enumerate(verdicts) if verdict.sufficient]
        if passing:
            first = passing[0]
            found = Candidate(masks[first], verdicts[first])
            low = sizes[first - 1] if first else low
        elif found is None:
            return None
        else:
            low = sizes[-1]
        assert found is not None
        sizes = between(low, found.pixels, max(1, found.pixels // BRACKET))
    return found


def between(low: int, high: int, enough: int) -> list[int]:
    """Three numbers that cut the open range (low, high) in four, none once it is no wider than ``enough``."""
    if high - low <= enough:
        return []
    return sorted({low + (high - low) * part // 4 for part in (1, 2, 3)} - {low, high})


def _shown(places: Tensor, like: Tensor) -> Tensor:
    mask = torch.zeros(like.numel(), dtype=torch.bool)
    mask[places] = True
    return mask.reshape(like.shape)


def minimise(
    found: Candidate, side: int, least: float, ranking: Tensor, affords: Callable[[int], bool] = lambda _: True
) -> Search[bool]:
    """Leave out tiles of a candidate until none can be left out any more, and certify that; works in place.

    Tiles that the ranking supports least go first, many at once; the tests for the certificate are held back from the
    budget. Wherever the search ends, the candidate is sufficient and as small as was reached.

    Args:
        found: the candidate.
        side: of the tiles, in pixels.
        least: probability that a sufficient mask needs.
        ranking: ``(H, W)`` at least 0; high where the evidence is.
        affords: whether so many masks can still be judged.

    Returns:
        Whether the candidate is certified minimal for tiles of that side.
    """
    numbers = tile_numbers((found.mask.shape[0], found.mask.shape[1]), side)
    support = torch.zeros(int(numbers.max()) + 1, dtype=torch.float64)
    support.index_put_((numbers[found.mask],), ranking.double()[found.mask], accumulate=True)
    by_support = sorted(tiles_of(found.mask, numbers), key=lambda tile: (float(support[tile]), tile))
    missed: dict[int, float] = {}
    yield from _sweep(found, numbers, by_support, missed, affords)
    while removable := (yield from _removable(found, numbers, side, least, missed, affords)):
        before = found.mask
        yield from _sweep(found, numbers, removable, missed, affords)
        if found.mask is before:
            return False  # tiles can go, but what is left of the budget does not cover the tests after that
    return removable is not None


def tiles_of(mask: Tensor, numbers: Tensor) -> list[int]:
    """Numbers of the tiles that a mask touches."""
    return numbers[mask].unique().tolist()


def _sweep(
    found: Candidate, numbers: Tensor, tiles: Sequence[int], missed: dict[int, float], affords: Callable[[int], bool]
) -> Search[None]:
    """Leave out tiles in order, as many at once as goes; ``missed`` learns the log-odds without each that stayed.

    A group that cannot go is halved until one tile is left, which stays; the next group is as large as the last run.
    """
    waiting = list(tiles)
    group, fails, run = max(1, len(waiting) // 2), len(waiting) + 1, 0
    present = len(tiles_of(found.mask, numbers))
    while waiting and affords(1 + present + present // 2):
        mask = found.mask & ~torch.isin(numbers, torch.tensor(waiting[:group]))
        verdict = (yield from ask([mask]))[0]
        if verdict.sufficient:
            found.shrink(mask, verdict)
            del waiting[:group]
            present, run, fails = present - group, run + group, fails - group
        else:
            fails = group
        if fails == 1 and waiting:
            missed[waiting.pop(0)] = verdict.log_odds
            group, fails, run = max(1, run), len(waiting) + 1, 0
        else:
            group = fails // 2 if fails <= len(waiting) else 2 * group
        group = min(group, len(waiting))


def _removable(
    found: Candidate,
    numbers: Tensor,
    side: int,
    least: float,
    missed: dict[int, float],
    affords: Callable[[int], bool],
) -> Search[list[int] | None]:
    """Leave out every tile once: those that can go, the least missed first; none: the candidate is certified.

    The tiles that were missed least come first, and while some of them can go, the others need no test. None if the
    budget does not suffice.
    """
    tiles = tiles_of(found.mask, numbers)
    if not affords(len(tiles)):
        return None
    closest = -1.0
    ordered = sorted(tiles, key=lambda tile: (-missed.get(tile, math.inf), tile))
    for start in range(0, len(ordered), TOGETHER):
        group = ordered[start : start + TOGETHER]
        verdicts = yield from ask([found.mask & (numbers != tile) for tile in group])
        missed |= {tile: verdict.log_odds for tile, verdict in zip(group, verdicts, strict=True)}
        going = [tile for tile, verdict in zip(group, verdicts, strict=True) if verdict.sufficient]
        if going:
            return sorted(going, key=lambda tile: (-missed[tile], tile))
        closest = max([closest, *(_shortfall(verdict, least) for verdict in verdicts)])
    found.certificate = found.certificate.joined(Certificate((side,), len(tiles), closest))
    return []


def certify(found: Candidate, side: int, least: float) -> Search[None]:
    """Try all tiles of one more size on a final mask; the certificate grows if none can be left out."""
    numbers = tile_numbers((found.mask.shape[0], found.mask.shape[1]), side)
    yield from _removable(found, numbers, side, least, {}, lambda _: True)


def _shortfall(verdict: MaskScore, least: float) -> float:
    return min(verdict.probability - verdict.rival, verdict.probability - least)
