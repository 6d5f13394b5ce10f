"""The published search as the official tool (rex-xai 0.4.1) runs it, step by step.

Written from the tool's behaviour, not from its code. Deviations: masks that were scored before are not scored again,
failed spotlights are no explanations, and nothing outlives the budget.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from explainers.base import Instance
from explainers.multirex.candidates import Candidate
from explainers.multirex.disjoint_sets import separate
from explainers.multirex.partition import Box, boxes_mask, disc
from explainers.multirex.responsibility import merged
from explainers.multirex.scored_masks import ScoringContext
from explainers.multirex.search import SearchResult
from explainers.multirex.search_steps import BudgetSpent, SearchSteps, score_mask, score_masks
from explainers.multirex.sufficiency import MaskScore

# all non-empty proper subsets of four parts, as bits
SUBSETS = (1, 2, 4, 8, 3, 5, 9, 6, 10, 12, 7, 11, 13, 14)
REQUEST = 16  # prefixes scored together, whatever the batch size
EXPANSIONS, GROWTH = 4, 0.2  # of a spotlight's radius


@dataclass(frozen=True)
class PublishedSettings:
    """See ``PublishedMultiReX``."""

    iterations: int
    depth: int
    smallest: int
    chunk: int
    spotlights: int
    moves: int
    radius: int
    overlap: float


@dataclass(eq=False)
class PublishedSearch:
    """Responsibility map by random trees, one explanation by the ranking, the others by random spotlights.

    Attributes:
        instance: the image, whose generators are drawn from.
        context: what was scored so far.
        settings: of the search.
        candidates: sufficient masks, in the order in which they were found.
        side: of the tiles in pixels for further certificates.
    """

    instance: Instance
    context: ScoringContext
    settings: PublishedSettings
    candidates: list[Candidate] = field(default_factory=list)
    side: int = 1

    def run(self) -> SearchSteps[SearchResult]:
        """All steps, or those that the budget allows."""
        budget, shape = self.context.budget, self.context.shape
        maps: list[Tensor] = []
        ended_early = False
        try:
            budget.stage = "map"
            for iteration in range(self.settings.iterations):
                maps.append(torch.zeros(shape, dtype=torch.float64))
                yield from self._tree(iteration + 1, maps[-1])
            yield from self._extract(merged(maps, "multiplicative"))
        except BudgetSpent:
            ended_early = True
        return self._result(merged(maps, "multiplicative"), ended_early)

    def _result(self, ranking: Tensor, ended_early: bool) -> SearchResult:
        context = self.context
        if not self.candidates:
            status = "none_found" if context.full.sufficient else "target_not_top1"
            return SearchResult("budget" if ended_early else status, ranking, "responsibility")
        masks = torch.stack([candidate.mask for candidate in self.candidates])
        confidences = [candidate.score.probability for candidate in self.candidates]
        found = separate(masks, confidences, self.settings.overlap)
        chosen = sorted((self.candidates[place] for place in found.chosen), key=Candidate.order)
        status = "budget" if ended_early else "ok"
        return SearchResult(status, ranking, "responsibility", chosen, self.candidates, found.exact)

    def _tree(self, iteration: int, into: Tensor) -> SearchSteps[None]:
        """One tree of random cuts; boxes that are not cut are shown, but forgotten one level later."""
        height, width = self.context.shape
        generator = self.instance.generator(iteration)
        children: dict[str, list[Box]] = {}
        job = [Box(0, height, 0, width, "R")]
        while job:
            passing: list[list[Box]] = []
            deepest = 0
            for active in job:
                if active.area < self.settings.smallest or len(active.path) > self.settings.depth + 1:
                    break
                parts = children.setdefault(active.path, []) or _cut(active, generator, children)
                context = [box for box in job if box is not active]
                shown = [[part for place, part in enumerate(parts) if subset >> place & 1] for subset in SUBSETS]
                scores = yield from score_masks([boxes_mask((height, width), context + boxes) for boxes in shown])
                passing = [boxes for boxes, score in zip(shown, scores, strict=True) if score.sufficient]
                if passing:
                    self._share(into, shown, scores)
                    passing.sort(key=lambda boxes: int(boxes_mask((height, width), context + boxes).sum()))
                    deepest = max(len(box.path) - 1 for box in (*passing[0], *context))
            if not passing or deepest > self.settings.depth:
                return
            job = passing[0]

    def _share(self, into: Tensor, shown: Sequence[list[Box]], scores: Sequence[MaskScore]) -> None:
        """Each subset of the explained class gives each of its parts one over their number."""
        for boxes, score in zip(shown, scores, strict=True):
            if score.top == self.context.criterion.target:
                for box in boxes:
                    into[box.top : box.bottom, box.left : box.right] += 1 / len(boxes)

    def _extract(self, ranking: Tensor) -> SearchSteps[None]:
        """The explanation of the whole ranking, then those of the spotlights."""
        height, width = self.context.shape
        self.context.budget.stage = "extract"
        yield from self._prefix(ranking)
        self.context.budget.stage = "spotlights"
        for number in range(1, self.settings.spotlights):
            generator = self.instance.generator(0, number)
            for _ in range(self.settings.moves + 1):
                place = int(torch.randint(1, height * width, (1,), generator=generator))
                light = yield from self._spotlight((place // width, place % width))
                if light is not None:
                    yield from self._prefix(torch.where(light, ranking, 0.0))
                    break

    def _spotlight(self, centre: tuple[float, float]) -> SearchSteps[Tensor | None]:
        """The first sufficient disc around a centre."""
        radius = self.settings.radius
        for _ in range(EXPANSIONS):
            light = disc(self.context.shape, centre, radius)
            if (yield from score_mask(light)).sufficient:
                return light
            radius = int(radius * (1 + GROWTH))
        return None

    def _prefix(self, ranking: Tensor) -> SearchSteps[None]:
        """The first sufficient prefix, in steps of ``chunk`` pixels; ties go to the bottom right."""
        places = ranking.flatten().flip(0).argsort(descending=True, stable=True)
        places = ranking.numel() - 1 - places
        chunk = self.settings.chunk
        sizes = [min(size, len(places)) for size in range(chunk, len(places) + chunk, chunk)]
        rank = torch.empty_like(places)
        rank[places] = torch.arange(len(places))
        for start in range(0, len(sizes), REQUEST):
            masks = [(rank < size).reshape(ranking.shape) for size in sizes[start : start + REQUEST]]
            for mask, score in zip(masks, (yield from score_masks(masks)), strict=True):
                if score.sufficient:
                    self.candidates.append(Candidate(mask, score))
                    return


def _cut(box: Box, generator: torch.Generator, children: dict[str, list[Box]]) -> list[Box]:
    """Cut a box at a random pixel, and remember its parts under its path."""
    place = int(torch.randint(1, box.area, (1,), generator=generator)) if box.area > 1 else 0
    width = box.right - box.left
    children[box.path] = box.children(box.top + place // width, box.left + place % width)
    return children[box.path]
