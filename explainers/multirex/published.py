"""The published algorithm as an explainer, for comparison."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import ClassVar

from torch import Tensor

from cae.classifiers import TargetClassifier
from cae.errors import UserError
from explainers.base import Explainer, Instance, InstanceResult
from explainers.infills import FillOption, fill_image
from explainers.multirex.evaluation_budget import EvaluationBudget
from explainers.multirex.extras import result_and_extras
from explainers.multirex.published_search import PublishedSearch, PublishedSettings
from explainers.multirex.scheduler import SearchTask, run_searches
from explainers.multirex.scored_masks import ScoringContext
from explainers.option_checks import below


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
        problems = below(self, 1, *counts)
        if problems:
            raise UserError(problems)

    def explain_image(self, instance: Instance) -> InstanceResult:
        """Explain one image."""
        return next(self.explain_batch([instance]))

    def explain_batch(self, instances: Sequence[Instance]) -> Iterator[InstanceResult]:
        """Explain images one after the other."""
        for instance in instances:
            task = self._task(instance)
            run_searches([task], self.score, self.batch_size)
            result, extras = task.result
            yield InstanceResult(result.attribution, extras, task.context.budget.spent)

    def _task(self, instance: Instance) -> SearchTask:
        """The image with its fill, and a search that has not begun."""
        least = round(self.minimum_confidence * float(instance.probabilities[instance.target]), 4)
        # one evaluation is spent: the image itself was scored for its probabilities
        context = ScoringContext.of(instance, least, EvaluationBudget(self.budget - 1))
        search = PublishedSearch(instance, context, self._settings())
        shown = fill_image(self.fill, instance, self.classifier, self.background)
        return SearchTask(instance.image, shown[None], 1, 0.0, context, result_and_extras(search))

    def _settings(self) -> PublishedSettings:
        return PublishedSettings(
            iterations=self.iterations,
            depth=self.tree_depth,
            smallest=self.min_box,
            chunk=self.chunk,
            spotlights=self.spotlights,
            moves=self.moves,
            radius=self.radius,
            overlap=self.overlap,
        )
