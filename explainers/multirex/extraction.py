"""From a ranking or a sufficient mask to a minimal one, with a certificate of the removals that were tried."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from explainers.multirex.partition import tile_numbers
from explainers.multirex.verdicts import Search, Verdict, ask

FINEST_PREFIX = 8  # the shortest prefix tried shows one pixel in 2**8
BRACKET = 16  # the search for a shorter prefix ends at one part in 16
COARSE_TILES = 36  # masks of more tiles than that are first thinned out by tiles twice as wide


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
    verdict: Verdict
    certificate: Certificate = field(default_factory=Certificate)

    @property
    def pixels(self) -> int:
        """Size in pixels."""
        return int(self.mask.sum())

    def shrink(self, mask: Tensor, verdict: Verdict) -> None:
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


def minimise(found: Candidate, side: int, least: float) -> Search[None]:
    """Leave out tiles of a candidate until none can be left out any more, and certify that; works in place.

    Wherever the search ends for want of evaluations, the candidate is sufficient and as small as was reached.

    Args:
        found: the candidate.
        side: of the tiles, in pixels.
        least: probability that a sufficient mask needs.
    """
    numbers = tile_numbers((found.mask.shape[0], found.mask.shape[1]), side)
    if len(numbers[found.mask].unique()) > COARSE_TILES:
        yield from minimise(found, 2 * side, least)
    promising = set(numbers[found.mask].unique().tolist())
    while True:
        tiles = numbers[found.mask].unique().tolist()
        closest, tests = -1.0, 0
        # tiles that could be left out of a larger mask come first: while one of them can, the others need no test
        for group in ([t for t in tiles if t in promising], [t for t in tiles if t not in promising]):
            if not group:
                continue
            masks = torch.stack([found.mask & (numbers != tile) for tile in group])
            verdicts = yield from ask(masks)
            removable = [tile for tile, verdict in zip(group, verdicts, strict=True) if verdict.sufficient]
            if removable:
                order = {tile: verdict.log_odds for tile, verdict in zip(group, verdicts, strict=True)}
                ordered = sorted(removable, key=lambda tile: (-order[tile], tile))
                single = dict(zip(group, verdicts, strict=True))[ordered[0]]
                promising = set(ordered) - set((yield from _leave_out(found, numbers, ordered, single)))
                break
            tests += len(group)
            closest = max([closest, *(_shortfall(verdict, least) for verdict in verdicts)])
        else:
            found.certificate = found.certificate.joined(Certificate((side,), tests, closest))
            return


def certify(found: Candidate, side: int, least: float) -> Search[None]:
    """Try all tiles of one more size on a final mask; the certificate grows if none can be left out."""
    numbers = tile_numbers((found.mask.shape[0], found.mask.shape[1]), side)
    tiles = numbers[found.mask].unique()
    verdicts = yield from ask(torch.stack([found.mask & (numbers != tile) for tile in tiles]))
    if not any(verdict.sufficient for verdict in verdicts):
        closest = max(_shortfall(verdict, least) for verdict in verdicts)
        found.certificate = found.certificate.joined(Certificate((side,), len(tiles), closest))


def _shortfall(verdict: Verdict, least: float) -> float:
    return min(verdict.probability - verdict.rival, verdict.probability - least)


def _leave_out(found: Candidate, numbers: Tensor, tiles: Sequence[int], single: Verdict) -> Search[list[int]]:
    """Leave out as many of the first tiles together as goes; the first alone is known to go."""
    best, failing, verdict = 1, len(tiles) + 1, single
    counts = sorted({min(2**power, len(tiles)) for power in range(1, len(tiles).bit_length() + 1)} - {1})
    found.shrink(found.mask & (numbers != tiles[0]), single)
    whole = found.mask
    while counts:
        masks = [whole & ~torch.isin(numbers, torch.tensor(tiles[:count])) for count in counts]
        verdicts = yield from ask(masks)
        passing = [place for place, answer in enumerate(verdicts) if answer.sufficient]
        if passing:
            place = passing[-1]
            best, verdict = counts[place], verdicts[place]
            found.shrink(masks[place], verdict)
            failing = counts[place + 1] if place + 1 < len(counts) else failing
        else:
            failing = counts[0]
        counts = between(best, failing, 1)
    return list(tiles[:best])
