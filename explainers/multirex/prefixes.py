"""Short sufficient prefixes of a ranking of the pixels: galloping over powers of two, then a search by fourths."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import torch
from torch import Tensor

from explainers.multirex.candidates import Candidate
from explainers.multirex.search_steps import SearchSteps, score_masks

FINEST_PREFIX = 8  # the shortest prefix tried shows one pixel in 2**8
BRACKET = 16  # the search for a shorter prefix ends at one part in 16

Found = TypeVar("Found")


def prefix(ranking: Tensor, allowed: Tensor) -> SearchSteps[Candidate | None]:
    """A short sufficient prefix of a ranking.

    Args:
        ranking: ``(H, W)``; high values are shown first, ties from the top left.
        allowed: ``(H, W)`` bool, pixels that may be shown.

    Returns:
        The smallest sufficient prefix that was tried, or None; a shorter one may exist, for scores need not be
        monotone.
    """
    places = ranked_pixels(ranking, allowed)
    nothing = torch.zeros_like(allowed)

    def attempt(sizes: Sequence[int]) -> SearchSteps[list[Candidate | None]]:
        masks = torch.stack([with_pixels(nothing, places[:size]) for size in sizes])
        scores = yield from score_masks(masks)
        return [Candidate(mask, s) if s.sufficient else None for mask, s in zip(masks, scores, strict=True)]

    return (yield from shortest(len(places), FINEST_PREFIX, attempt))


def shortest(
    total: int, finest: int, attempt: Callable[[Sequence[int]], SearchSteps[list[Found | None]]]
) -> SearchSteps[Found | None]:
    """What is found at the smallest size that was tried with success.

    Args:
        total: the largest size.
        finest: the smallest size tried at first is one part in ``2**finest``.
        attempt: tries rising sizes; what it finds at each, or None.
    """
    sizes = sorted({max(1, total >> power) for power in range(finest + 1)}) if total else []
    best: tuple[int, Found] | None = None
    low = 0
    while sizes:
        outcomes = yield from attempt(sizes)
        passing = [(place, outcome) for place, outcome in enumerate(outcomes) if outcome is not None]
        if passing:
            first, outcome = passing[0]
            best = (sizes[first], outcome)
            low = sizes[first - 1] if first else low
        elif best is None:
            return None
        else:
            low = sizes[-1]
        sizes = _between(low, best[0], max(1, best[0] // BRACKET))
    return best[1] if best else None


def _between(low: int, high: int, enough: int) -> list[int]:
    """Three numbers that cut the open range (low, high) in four, none once it is no wider than ``enough``."""
    if high - low <= enough:
        return []
    return sorted({low + (high - low) * part // 4 for part in (1, 2, 3)} - {low, high})


def ranked_pixels(ranking: Tensor, allowed: Tensor) -> Tensor:
    """Numbers ``(n,)`` of the pixels allowed, highest of the ranking ``(H, W)`` first, ties from the top left."""
    places = allowed.flatten().nonzero()[:, 0]
    return places[ranking.flatten()[places].argsort(descending=True, stable=True)]


def with_pixels(mask: Tensor, places: Tensor) -> Tensor:
    """A mask ``(H, W)`` bool to which pixels are added by their numbers."""
    grown = mask.flatten().clone()
    grown[places] = True
    return grown.reshape(mask.shape)
