"""How the size of an explanation grows with the confidence that is asked of it."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from explainers.multirex.candidates import Candidate
from explainers.multirex.prefixes import ranked_pixels, with_pixels
from explainers.multirex.search_steps import BudgetSpent, SearchSteps, score_masks

SHARES = (0.1, 0.25, 0.5, 0.75, 0.9, 1.0)  # of the full image's probability


def confidence_curve(start: Candidate, ranking: Tensor, full: float) -> SearchSteps[list[dict[str, float]]]:
    """The size that an explanation takes, grown along the ranking, to reach shares of the full image's probability.

    Args:
        start: the explanation.
        ranking: ``(H, W)``.
        full: probability of the target on the full image.

    Returns:
        One entry for each share that was reached: ``relative_confidence``, ``confidence``, ``pixels``.
    """
    places = ranked_pixels(ranking, ~start.mask)
    tried: list[tuple[int, float]] = [(start.pixels, start.score.probability)]
    sizes = [len(places) * part // 8 for part in range(1, 9)] if len(places) else []
    try:
        while sizes:
            scores = yield from score_masks([with_pixels(start.mask, places[:size]) for size in sizes])
            tried += [(start.pixels + size, score.probability) for size, score in zip(sizes, scores, strict=True)]
            sizes = _finer(tried, start.pixels, full)
    except BudgetSpent:
        pass
    reached = []
    for share in SHARES:
        enough = [(pixels, value) for pixels, value in tried if value >= share * full]
        if enough:
            pixels, value = min(enough)
            reached.append({"relative_confidence": share, "confidence": value, "pixels": pixels})
    return reached


def _finer(tried: Sequence[tuple[int, float]], least: int, full: float) -> list[int]:
    """Sizes halfway below the smallest that reaches each share, until they are within one part in eight."""
    known = sorted({pixels for pixels, _ in tried})
    sizes = set()
    for share in SHARES:
        enough = [pixels for pixels, value in tried if value >= share * full]
        if not enough or min(enough) == known[0]:
            continue
        high = min(enough)
        low = known[known.index(high) - 1]
        if high - low > max(1, high // 8):
            sizes.add((high + low) // 2 - least)
    return sorted(sizes)
