"""MultiReX as an explainer: its options, and the searches that they set up."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import ClassVar

import torch
from torch import Tensor

from cae.classifiers import TargetClassifier
from cae.errors import UserError
from explainers.base import Explainer, Instance, InstanceResult
from explainers.infills import FillOption, fill_image
from explainers.multirex.evaluation_budget import EvaluationBudget
from explainers.multirex.extras import result_and_extras
from explainers.multirex.partition import scaled
from explainers.multirex.responsibility import MERGES, RULES
from explainers.multirex.responsibility_trees import TreeSettings
from explainers.multirex.scheduler import SearchTask, run_searches
from explainers.multirex.scored_masks import ScoringContext
from explainers.multirex.search import ExplanationSearch
from explainers.multirex.search_state import SearchSettings, SearchState
from explainers.option_checks import below, unknown

TOGETHER = 16  # images whose searches share batches
RADII, STRIDE, TILES = (18, 25, 34, 46, 60), 28, (16, 8)  # pixels, for a short side of 224
FIRST, FURTHER = 500, 4000  # evaluations of an image by default: at first, and where they find too little
RANKINGS = ("scan", "trees")


class MultiReX(Explainer):
    """Several sufficient explanations of an image, each minimal under a certificate, from forward passes alone.

    A set of pixels is sufficient if the image with all other pixels hidden still gets the class. Discs over the image
    find where that is so; each that is found is cut down to a minimal set and its pixels are set aside; what is left is
    searched again, by the evidence gathered, between the discs, and by halves. The largest set of explanations that
    overlap no more than permitted is returned, each scored once more on its own.

    ``attribution`` is the responsibility map with ``ranking="trees"``, otherwise the evidence map of all masks scored.
    Keys of ``extras``: see ``explainers.multirex.extras``.

    Args:
        classifier: the classifier to explain.
        threshold: share of the full image's probability that an explanation must keep; 0 asks only that the class stays
            the best one, as published.
        absolute_threshold: probability that it must have instead.
        overlap: permitted Dice coefficient of two explanations; 0 for disjoint ones.
        max_explanations: returned at most.
        budget: evaluations of the classifier per image, never exceeded; by default 500, and ``FURTHER`` for images of
            which fewer than ``enough`` explanations are found by then.
        enough: explanations for which no more than the first of the default budgets is spent.
        fill: what hidden pixels show (see ``fill_image``), or a list of fills.
        quorum: how many of several fills an explanation must hold under; by default all.
        ranking: ``scan`` (evidence) or ``trees`` (responsibility; takes about 1000 evaluations, so raise the budget).
        radii: of the discs in pixels, rising; by default 18 to 60 for a short side of 224, scaled to the image.
        stride: of the discs' centres in pixels; by default 28 for 224.
        tiles: sides in pixels of the tiles left out for the certificate, coarse to fine; by default 16 and 8 for 224.
        trees: number of trees at most.
        tree_depth: levels of cuts.
        min_box: area in pixels below which no box is cut.
        rule: responsibility of a part: ``witness`` (exact, by definition) or ``share`` (the official tool's).
        merge: of the trees' maps: ``mean`` or ``multiplicative`` (the official tool's).
        contrastive: also search a set that suffices and whose hiding changes the class.
        curve: also grow each explanation to given shares of the full image's probability.
        guard: distance from a decision below which an image is scored again, alone, so that batches decide nothing.
        batch_size: images in one forward pass at most; changes the speed, not the answer.
        background: training images ``(N, C, H, W)``, for fills made from data.

    Reference: Chockler, Kelly and Kroening 2023, arXiv:2309.14309; Chockler et al. 2024, arXiv:2411.08875.
    """

    name = "multirex"
    resources: ClassVar[frozenset[str]] = frozenset({"background"})

    def __init__(
        self,
        classifier: TargetClassifier,
        *,
        threshold: float = 0.5,
        absolute_threshold: float | None = None,
        overlap: float = 0.0,
        max_explanations: int = 10,
        budget: int | None = None,
        enough: int = 2,
        fill: FillOption | list[FillOption] = "mean",
        quorum: int | None = None,
        ranking: str = "scan",
        radii: Sequence[float] | None = None,
        stride: float | None = None,
        tiles: Sequence[int] | None = None,
        trees: int = 20,
        tree_depth: int = 10,
        min_box: int = 10,
        rule: str = "witness",
        merge: str = "mean",
        contrastive: bool = False,
        curve: bool = False,
        guard: float = 1e-5,
        batch_size: int = 64,
        background: Tensor | None = None,
    ):
        super().__init__(classifier, batch_size=batch_size)
        self.threshold = threshold
        self.absolute_threshold = absolute_threshold
        self.overlap = overlap
        self.max_explanations = max_explanations
        self.budget = budget
        self.enough = enough
        self.fill = fill
        self.quorum = quorum
        self.ranking = ranking
        self.radii = radii
        self.stride = stride
        self.tiles = tiles
        self.trees = trees
        self.tree_depth = tree_depth
        self.min_box = min_box
        self.rule = rule
        self.merge = merge
        self.contrastive = contrastive
        self.curve = curve
        self.guard = guard
        self.background = background
        self._check()

    def explain_image(self, instance: Instance) -> InstanceResult:
        """Explain one image."""
        return next(self.explain_batch([instance]))

    def explain_batch(self, instances: Sequence[Instance]) -> Iterator[InstanceResult]:
        """Explain images, several at a time, so that their masks share batches."""
        for start in range(0, len(instances), TOGETHER):
            tasks = [self._task(instance) for instance in instances[start : start + TOGETHER]]
            run_searches(tasks, self.score, self.batch_size)
            for task in tasks:
                result, extras = task.result
                yield InstanceResult(result.attribution, extras, task.context.budget.spent)

    def _task(self, instance: Instance) -> SearchTask:
        """The image with its fills, and a search that has not begun."""
        fills = self._fills()
        share = self.threshold * float(instance.probabilities[instance.target])
        first, most = (FIRST, FURTHER) if self.budget is None else (self.budget, self.budget)
        reserve = min(2 * self.max_explanations * len(fills), first // 10)
        context = ScoringContext.of(
            instance,
            share if self.absolute_threshold is None else self.absolute_threshold,
            # one evaluation is spent: the image itself was scored for its probabilities
            EvaluationBudget(first - 1, reserve, len(fills), most - 1),
        )
        context.record_full()
        search = ExplanationSearch(SearchState(context, self._settings(instance)))
        shown = [fill_image(fill, instance, self.classifier, self.background) for fill in fills]
        steps = result_and_extras(search, with_contrastive=self.contrastive, with_curve=self.curve)
        return SearchTask(instance.image, torch.stack(shown), self.quorum or len(fills), self.guard, context, steps)

    def _fills(self) -> list[FillOption]:
        several = isinstance(self.fill, list) and not all(isinstance(value, (int, float)) for value in self.fill)
        return list(self.fill) if several else [self.fill]  # type: ignore[arg-type, list-item]

    def _settings(self, instance: Instance) -> SearchSettings:
        shape = (instance.image.shape[1], instance.image.shape[2])
        seed = int(torch.randint(2**31, (1,), generator=instance.generator(0)))
        grown = TreeSettings(self.trees, self.tree_depth, self.min_box, self.rule, self.merge, seed)
        sides = [max(1, round(scaled(side, shape))) for side in TILES] if self.tiles is None else self.tiles
        return SearchSettings(
            radii=tuple(self.radii) if self.radii else tuple(max(1.0, scaled(radius, shape)) for radius in RADII),
            stride=self.stride or max(1.0, scaled(STRIDE, shape)),
            tiles=tuple(sorted({*sides}, reverse=True)),
            overlap=self.overlap,
            most=self.max_explanations,
            enough=min(self.enough, self.max_explanations),
            trees=grown if self.ranking == "trees" else None,
        )

    def _check(self) -> None:
        """All mistakes in the options at once."""
        absolute = 0.0 if self.absolute_threshold is None else self.absolute_threshold
        fills = len(self._fills())
        rules: list[tuple[bool, str]] = [
            (0 <= absolute <= 1, f"`absolute_threshold` must be in [0, 1], but is {self.absolute_threshold}."),
            (0 <= self.overlap <= 1, f"`overlap` must be in [0, 1], but is {self.overlap}."),
            (_rising(self.radii), f"`radii` must be rising and above 0, but are {self.radii}."),
            (not self.tiles or min(self.tiles) >= 1, f"`tiles` must be at least 1, but are {self.tiles}."),
            (1 <= (self.quorum or 1) <= fills, f"`quorum` must be from 1 to the number of fills, {fills}, but is "
                                               f"{self.quorum}."),
        ]  # fmt: skip
        problems = below(self, 0, "threshold")
        problems += below(self, 1, "max_explanations", "budget", "enough", "trees", "tree_depth", "min_box", "stride")
        problems += unknown(self, "ranking", RANKINGS) + unknown(self, "rule", RULES) + unknown(self, "merge", MERGES)
        problems += [words for holds, words in rules if not holds]
        if problems:
            raise UserError(problems)


def _rising(radii: Sequence[float] | None) -> bool:
    return not radii or (radii[0] > 0 and all(a < b for a, b in pairwise(radii)))
