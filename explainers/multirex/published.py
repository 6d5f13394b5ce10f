"""The published algorithm as the official tool (rex-xai 0.4.1) runs it, step by step, for comparison.

Written from the tool's behaviour, not from its code. Deviations: masks that were judged before are not scored again,
failed spotlights are no explanations, and nothing outlives the budget.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from cae.classifiers import TargetClassifier
from cae.errors import UserError
from explainers.base import Explainer, Instance, InstanceResult
from explainers.infills import FillOption, fill_image
from explainers.multirex.disjoint_sets import Separation, separate
from explainers.multirex.evaluation_budget import EvaluationBudget
from explainers.multirex.extraction import Candidate
from explainers.multirex.extras import SearchResult, extras_of
from explainers.multirex.partition import Box, boxes_mask, disc
from explainers.multirex.responsibility import merged
from explainers.multirex.scheduler import SearchTask, serve
from explainers.multirex.sufficiency import BudgetSpent, MaskScore, Search, SufficiencyCriterion, ask, verdicts_of

# all non-empty proper subsets of four parts, as bits
SUBSETS = (1, 2, 4, 8, 3, 5, 9, 6, 10, 12, 7, 11, 13, 14)
REQUEST = 16  # prefixes judged together, whatever the batch size
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


class PublishedSearch:
    """Responsibility map by 20 random trees, one explanation by the ranking, the others by random spotlights."""

    def __init__(self, subject: Instance, full: MaskScore, ledger: EvaluationBudget, settings: PublishedSettings):
        self.subject, self.full, self.ledger, self.settings = subject, full, ledger, settings
        self.shape = (subject.image.shape[1], subject.image.shape[2])
        self.ranking: Tensor | None = None
        self.side = 1
        self.catch = SearchResult()

    def run(self) -> Search[SearchResult]:
        """All steps, or those that the budget allows."""
        catch = self.catch
        maps: list[Tensor] = []
        try:
            self.ledger.stage = "map"
            for iteration in range(self.settings.iterations):
                maps.append(torch.zeros(self.shape, dtype=torch.float64))
                yield from self._tree(iteration + 1, maps[-1])
            yield from self._extract(merged(maps, "multiplicative"))
        except BudgetSpent:
            catch.status = "budget"
        self.ranking = merged(maps, "multiplicative")
        catch.attribution = self.ranking
        self._choose()
        return catch

    def _tree(self, iteration: int, into: Tensor) -> Search[None]:
        """One tree of random cuts; boxes that are not cut are shown, but forgotten one level later."""
        generator = self.subject.generator(iteration)
        children: dict[str, list[Box]] = {}
        job = [Box(0, self.shape[0], 0, self.shape[1], "R")]
        while job:
            passing: list[list[Box]] = []
            deepest = 0
            for active in job:
                if active.area < self.settings.smallest or len(active.path) > self.settings.depth + 1:
                    break
                parts = children.setdefault(active.path, []) or self._cut(active, generator, children)
                context = [box for box in job if box is not active]
                shown = [[part for place, part in enumerate(parts) if subset >> place & 1] for subset in SUBSETS]
                verdicts = yield from ask([boxes_mask(self.shape, context + boxes) for boxes in shown])
                passing = [boxes for boxes, verdict in zip(shown, verdicts, strict=True) if verdict.sufficient]
                if passing:
                    self._share(into, shown, verdicts)
                    passing.sort(key=lambda boxes: int(boxes_mask(self.shape, context + boxes).sum()))
                    deepest = max(len(box.path) - 1 for box in (*passing[0], *context))
            if not passing or deepest > self.settings.depth:
                return
            job = passing[0]

    def _cut(self, box: Box, generator: torch.Generator, children: dict[str, list[Box]]) -> list[Box]:
        place = int(torch.randint(1, box.area, (1,), generator=generator)) if box.area > 1 else 0
        width = box.right - box.left
        children[box.path] = box.children(box.top + place // width, box.left + place % width)
        return children[box.path]

    def _share(self, into: Tensor, shown: Sequence[list[Box]], verdicts: Sequence[MaskScore]) -> None:
        """Each subset of the explained class gives each of its parts one over their number."""
        for boxes, verdict in zip(shown, verdicts, strict=True):
            if verdict.top == self.ledger.criterion.target:
                for box in boxes:
                    into[box.top : box.bottom, box.left : box.right] += 1 / len(boxes)

    def _extract(self, ranking: Tensor) -> Search[None]:
        """The explanation of the whole ranking, then those of the spotlights."""
        self.ledger.stage = "extract"
        yield from self._prefix(ranking)
        self.ledger.stage = "spotlights"
        for number in range(1, self.settings.spotlights):
            generator = self.subject.generator(0, number)
            for _ in range(self.settings.moves + 1):
                place = int(torch.randint(1, self.shape[0] * self.shape[1], (1,), generator=generator))
                light = yield from self._spotlight((place // self.shape[1], place % self.shape[1]))
                if light is not None:
                    yield from self._prefix(torch.where(light, ranking, 0.0))
                    break

    def _spotlight(self, centre: tuple[float, float]) -> Search[Tensor | None]:
        """The first sufficient disc around a centre."""
        radius = self.settings.radius
        for _ in range(EXPANSIONS):
            light = disc(self.shape, centre, radius)
            if (yield from ask([light]))[0].sufficient:
                return light
            radius = int(radius * (1 + GROWTH))
        return None

    def _prefix(self, ranking: Tensor) -> Search[None]:
        """The first sufficient prefix, in steps of ``chunk`` pixels; ties go to the bottom right."""
        places = ranking.flatten().flip(0).argsort(descending=True, stable=True)
        places = ranking.numel() - 1 - places
        sizes = [min(size, len(places)) for size in range(self.settings.chunk, len(places) + self.settings.chunk,
                                                         self.settings.chunk)]  # fmt: skip
        rank = torch.empty_like(places)
        rank[places] = torch.arange(len(places))
        for start in range(0, len(sizes), REQUEST):
            masks = [(rank < size).reshape(self.shape) for size in sizes[start : start + REQUEST]]
            for mask, verdict in zip(masks, (yield from ask(masks)), strict=True):
                if verdict.sufficient:
                    self.catch.pool.append(Candidate(mask, verdict))
                    return

    def _choose(self) -> None:
        catch = self.catch
        if not catch.pool:
            if catch.status != "budget":
                catch.status = "none_found" if self.full.sufficient else "target_not_top1"
            return
        masks = torch.stack([candidate.mask for candidate in catch.pool])
        confidences = [candidate.verdict.probability for candidate in catch.pool]
        separation = separate(masks, confidences, self.settings.overlap)
        catch.chosen = sorted((catch.pool[place] for place in separation.chosen), key=Candidate.order)
        catch.separation = Separation(separation.chosen, separation.exact)
        catch.status = "budget" if catch.status == "budget" else "ok"


class PublishedMultiReX(Explainer):
    """The official tool's steps with its default values; ``attribution`` is its responsibility map.

    Nothing is minimised or certified. Keys of ``extras``: see ``explainers.multirex.extras``.

    Args:
        classifier: the classifier to explain.
        minimum_confidence: share of the full image's probability that an explanation must keep.
        overlap: permitted Dice coefficient of two explanations.
        iterations: trees.
        tree_depth: levels of cuts.
        min_box: area in pixels below which no box is cut.
        chunk: pixels that are added at a time.
        spotlights: explanations looked for.
        moves: new places of a spotlight that shows nothing.
        radius: of a spotlight at first, in pixels.
        budget: evaluations per image, never exceeded.
        fill: what hidden pixels show.
        batch_size: images in one forward pass at most.
        background: training images, for fills made from data.

    Reference: Chockler, Kelly and Kroening 2023, arXiv:2309.14309; rex-xai 0.4.1.
    """

    name = "multirex_published"
    resources: ClassVar[frozenset[str]] = frozenset({"background"})

    def __init__(
        self,
        classifier: TargetClassifier,
        *,
        minimum_confidence: float = 0.0,
        overlap: float = 0.0,
        iterations: int = 20,
        tree_depth: int = 10,
        min_box: int = 10,
        chunk: int = 10,
        spotlights: int = 10,
        moves: int = 40,
        radius: int = 25,
        budget: int = 20_000,
        fill: FillOption = "mean",
        batch_size: int = 64,
        background: Tensor | None = None,
    ):
        super().__init__(classifier, batch_size=batch_size)
        self.minimum_confidence = minimum_confidence
        self.overlap = overlap
        self.iterations = iterations
        self.tree_depth = tree_depth
        self.min_box = min_box
        self.chunk = chunk
        self.spotlights = spotlights
        self.moves = moves
        self.radius = radius
        self.budget = budget
        self.fill = fill
        self.background = background
        counts = ("iterations", "tree_depth", "min_box", "chunk", "spotlights", "radius", "budget")
        problems = [f"`{name}` must be at least 1, but is {getattr(self, name)}." for name in counts
                    if getattr(self, name) < 1]  # fmt: skip
        if problems:
            raise UserError(problems)

    def explain_image(self, subject: Instance) -> InstanceResult:
        """Explain one image."""
        return next(self.explain_batch([subject]))

    def explain_batch(self, subjects: Sequence[Instance]) -> Iterator[InstanceResult]:
        """Explain images one after the other."""
        for subject in subjects:
            whole = float(subject.probabilities[subject.target])
            criterion = SufficiencyCriterion(subject.target, round(self.minimum_confidence * whole, 4))
            shape = (subject.image.shape[1], subject.image.shape[2])
            ledger = EvaluationBudget(shape, self.budget - 1, 0, 1, criterion, guard=0.0)
            full = verdicts_of(subject.probabilities[None], criterion)[0]
            hunt = PublishedSearch(subject, full, ledger, self._settings())
            shown = fill_image(self.fill, subject, self.classifier, self.background)
            search = extras_of(hunt, whole, contrastive=False, curve=False)
            case = SearchTask(subject.image, shown[None], 1, ledger, search)
            serve([case], self.score, self.batch_size)
            catch, extras = case.answer
            yield InstanceResult(catch.attribution, extras, ledger.spent)

    def _settings(self) -> PublishedSettings:
        return PublishedSettings(
            self.iterations, self.tree_depth, self.min_box, self.chunk, self.spotlights, self.moves, self.radius,
            self.overlap,
        )  # fmt: skip
