"""More from the same search: an explanation that is also necessary, and how the size grows with the confidence."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from explainers.multirex.extraction import BRACKET, Candidate, between
from explainers.multirex.partition import tile_numbers
from explainers.multirex.sufficiency import BudgetSpent, MaskScore, Search, ask

STEPS = (0.1, 0.25, 0.5, 0.75, 0.9, 1.0)  # of the full image's probability


@dataclass(eq=False)
class Contrast:
    """A mask that suffices and whose hiding changes the verdict.

    Attributes:
        status: ``found``; ``full_image`` if nothing less than all does it; ``none``; ``budget`` if it ended early.
        mask: ``(H, W)`` bool, or None.
        verdict: on the mask.
        complement: verdict on the image with the mask hidden.
        finest: tile side for which no single tile can be left out, or None.
    """

    status: str
    mask: Tensor | None = None
    verdict: MaskScore | None = None
    complement: MaskScore | None = None
    finest: int | None = None

    def holds(self, target: int) -> bool:
        """Whether the mask suffices while its complement is of another class."""
        return bool(self.verdict and self.complement and self.verdict.sufficient and self.complement.top != target)


def contrastive(pool: Sequence[Candidate], ranking: Tensor, target: int, side: int) -> Search[Contrast]:
    """Join explanations until hiding them changes the class, grow along the ranking if need be, then minimise.

    Args:
        pool: sufficient masks, the smallest first; not empty.
        ranking: ``(H, W)``.
        target: the class explained.
        side: of the tiles for the certificate, in pixels.
    """
    found = Contrast("none")
    try:
        yield from _join(found, pool, target)
        if not found.holds(target):
            yield from _grow(found, ranking, target)
        if found.holds(target):
            found.status = "full_image" if found.mask is not None and bool(found.mask.all()) else "found"
            yield from _shrink(found, target, side)
        else:
            found.mask = None
    except BudgetSpent:
        if not found.holds(target):
            return Contrast("budget")
        found.status = "budget"
    return found


def _both(masks: Sequence[Tensor]) -> Search[list[tuple[MaskScore, MaskScore]]]:
    """Verdicts on masks and on their complements."""
    verdicts = yield from ask([part for mask in masks for part in (mask, ~mask)])
    return list(zip(verdicts[::2], verdicts[1::2], strict=True))


def _join(found: Contrast, pool: Sequence[Candidate], target: int) -> Search[None]:
    """Add the candidate that lowers the complement's probability most, as long as the complement keeps the class."""
    mask, rest = pool[0].mask, list(pool[1:])
    found.verdict, found.complement = (yield from _both([mask]))[0]
    found.mask = mask
    while rest and not found.holds(target):
        joined = [found.mask | other.mask for other in rest]
        verdicts = yield from _both(joined)
        best = min(range(len(rest)), key=lambda i: (round(verdicts[i][1].probability, 4), i))
        found.mask, (found.verdict, found.complement) = joined[best], verdicts[best]
        rest.pop(best)


def _grow(found: Contrast, ranking: Tensor, target: int) -> Search[None]:
    """Add pixels from the top of the ranking: galloping, then a search by fourths."""
    start = found.mask
    assert start is not None
    places = (~start).flatten().nonzero()[:, 0]
    places = places[ranking.flatten()[places].argsort(descending=True, stable=True)]
    sizes = sorted({max(1, len(places) >> power) for power in range(7)}) if len(places) else []
    low = 0
    best: int | None = None
    while sizes:
        masks = [_with(start, places[:size]) for size in sizes]
        verdicts = yield from _both(masks)
        trials = [Contrast("found", mask, *pair) for mask, pair in zip(masks, verdicts, strict=True)]
        passing = [place for place, trial in enumerate(trials) if trial.holds(target)]
        if passing:
            first = passing[0]
            best, low = sizes[first], sizes[first - 1] if first else low
            found.mask, found.verdict, found.complement = masks[first], *verdicts[first]
        elif best is None:
            return
        else:
            low = sizes[-1]
        sizes = between(low, best, max(1, best // BRACKET))


def _with(mask: Tensor, places: Tensor) -> Tensor:
    grown = mask.flatten().clone()
    grown[places] = True
    return grown.reshape(mask.shape)


def _shrink(found: Contrast, target: int, side: int) -> Search[None]:
    """Leave out tiles, the least missed first, as long as both conditions hold; ends with a full round in vain."""
    assert found.mask is not None
    numbers = tile_numbers((found.mask.shape[0], found.mask.shape[1]), side)
    while True:
        tiles = numbers[found.mask].unique().tolist()
        masks = [found.mask & (numbers != tile) for tile in tiles]
        verdicts = yield from _both(masks)
        trials = [Contrast("found", mask, *pair) for mask, pair in zip(masks, verdicts, strict=True)]
        holding = [place for place, trial in enumerate(trials) if trial.holds(target)]
        if not holding:
            found.finest = side
            return
        found.status = "found"
        ordered = sorted(holding, key=lambda place: (-verdicts[place][0].log_odds, place))
        counts = sorted({min(2**power, len(ordered)) for power in range(len(ordered).bit_length() + 1)})
        joint = [
            found.mask & ~torch.isin(numbers, torch.tensor([tiles[place] for place in ordered[:count]]))
            for count in counts
        ]
        answers = yield from _both(joint)
        for mask, pair in zip(joint, answers, strict=True):
            trial = Contrast("found", mask, *pair)
            if trial.holds(target):
                found.mask, found.verdict, found.complement = mask, *pair


def growth(start: Candidate, ranking: Tensor, whole: float) -> Search[list[dict[str, float]]]:
    """The size that an explanation takes, grown along the ranking, to reach shares of the full image's probability.

    Args:
        start: the explanation.
        ranking: ``(H, W)``.
        whole: probability of the target on the full image.

    Returns:
        One entry for each share that was reached: ``relative_confidence``, ``confidence``, ``pixels``.
    """
    places = (~start.mask).flatten().nonzero()[:, 0]
    places = places[ranking.flatten()[places].argsort(descending=True, stable=True)]
    tried: list[tuple[int, float]] = [(start.pixels, start.verdict.probability)]
    sizes = [len(places) * part // 8 for part in range(1, 9)] if len(places) else []
    try:
        while sizes:
            verdicts = yield from ask([_with(start.mask, places[:size]) for size in sizes])
            tried += [(start.pixels + s, v.probability) for s, v in zip(sizes, verdicts, strict=True)]
            sizes = _finer(tried, start.pixels, whole)
    except BudgetSpent:
        pass
    reached = []
    for share in STEPS:
        enough = [(pixels, value) for pixels, value in tried if value >= share * whole]
        if enough:
            pixels, value = min(enough)
            reached.append({"relative_confidence": share, "confidence": value, "pixels": pixels})
    return reached


def _finer(tried: Sequence[tuple[int, float]], least: int, whole: float) -> list[int]:
    """Sizes halfway below the smallest that reaches each share, until they are within one part in eight."""
    known = sorted({pixels for pixels, _ in tried})
    found = set()
    for share in STEPS:
        enough = [pixels for pixels, value in tried if value >= share * whole]
        if not enough or min(enough) == known[0]:
            continue
        high = min(enough)
        low = known[known.index(high) - 1]
        if high - low > max(1, high // 8):
            found.add((high + low) // 2 - least)
    return sorted(found)
