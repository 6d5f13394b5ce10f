"""The outcome of a search as the ``extras`` of an explanation.

Keys, one dict per image; K explanations, N candidates:

* ``status``: ``ok``; ``background_sufficient`` (the fill alone has the class, so nothing can be explained);
  ``target_not_top1`` and ``none_found``; ``budget`` (no mask could be certified in time: one sufficient mask is given
  all the same, the full image if nothing less was found).
* ``masks`` (K, H, W) bool, the explanations, smallest first; ``count`` K; ``pixels``, ``sizes`` (share of the image).
* ``confidences``, ``relative_confidences`` (over the full image's), ``margins`` to the ``runner_up`` class: of each
  explanation alone. ``complement_confidences``: of the image with the explanation hidden; None where the budget ended.
* ``certificates``: for each explanation ``finest`` (tile side in pixels), ``levels``, ``tests``, ``closest``. With
  status ``ok`` each has one; at twice or four times the coarsest of ``tiles`` where the budget was short.
* ``candidates`` (N, H, W) bool, all sufficient masks found; ``candidate_confidences``; ``dice`` (N, N).
* ``separation_exact``: no larger compatible set of the candidates exists.
* ``evaluations`` by stage, with ``total`` (the image itself included); ``cache_hits``; ``budget``, the most that this
  image was allowed in the end; ``ran_out``: it ended with fewer explanations than are ``enough``.
* ``front``: (pixels, confidence) of the best masks of each size that were scored.
* ``map``: ``evidence`` or ``responsibility``. ``contrastive`` and ``curve`` where asked for.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

from explainers.multirex.candidates import Candidate, without
from explainers.multirex.confidence_curve import confidence_curve
from explainers.multirex.contrastive import contrastive
from explainers.multirex.disjoint_sets import dice_matrix, separate
from explainers.multirex.scored_masks import ScoringContext
from explainers.multirex.search import SearchResult
from explainers.multirex.search_steps import BudgetSpent, SearchSteps, score_mask
from explainers.multirex.sufficiency import MaskScore


class ImageSearch(Protocol):
    """What a search of one image must offer to be recorded."""

    @property
    def context(self) -> ScoringContext:
        """What was scored so far."""

    @property
    def side(self) -> int:
        """Side of the tiles in pixels for further certificates."""

    def run(self) -> SearchSteps[SearchResult]:
        """Search."""


def result_and_extras(
    search: ImageSearch, *, with_contrastive: bool = False, with_curve: bool = False
) -> SearchSteps[tuple[SearchResult, dict[str, Any]]]:
    """Run a search and record what it found, with what else is asked for."""
    result = yield from search.run()
    context = search.context
    complements = yield from _complements(result.chosen)
    extras = _record(result, context, complements)
    if with_contrastive and result.chosen:
        context.budget.stage = "contrastive"
        pool = [*result.chosen, *without(result.candidates, result.chosen)]
        found = yield from contrastive(pool, result.attribution, context.criterion.target, search.side)
        extras["contrastive"] = found.plain()
    if with_curve:
        context.budget.stage = "curve"
        extras["curve"] = []
        for candidate in result.chosen:
            curve = yield from confidence_curve(candidate, result.attribution, context.full.probability)
            extras["curve"].append(curve)
    return result, extras | _costs(context)


def _complements(chosen: Sequence[Candidate]) -> SearchSteps[list[MaskScore | None]]:
    """Scores of the image with each explanation hidden; None where the budget ended."""
    scores: list[MaskScore | None] = []
    for candidate in chosen:
        try:
            scores.append((yield from score_mask(~candidate.mask)))
        except BudgetSpent:
            scores.append(None)
    return scores


def _record(result: SearchResult, context: ScoringContext, complements: list[MaskScore | None]) -> dict[str, Any]:
    height, width = context.shape
    scores = [candidate.score for candidate in result.chosen]
    pixels = [candidate.pixels for candidate in result.chosen]
    full = max(context.full.probability, 1e-12)
    candidates = _stacked(result.candidates, context.shape)
    return {
        "status": result.status,
        "masks": _stacked(result.chosen, context.shape),
        "count": len(scores),
        "pixels": pixels,
        "sizes": [count / (height * width) for count in pixels],
        "confidences": [score.probability for score in scores],
        "relative_confidences": [score.probability / full for score in scores],
        "margins": [score.probability - score.rival for score in scores],
        "runner_up": [score.runner_up for score in scores],
        "complement_confidences": [None if score is None else score.probability for score in complements],
        "certificates": [candidate.certificate.plain() for candidate in result.chosen],
        "candidates": candidates,
        "candidate_confidences": [candidate.score.probability for candidate in result.candidates],
        "dice": dice_matrix(candidates),
        "separation_exact": result.exact,
        "ran_out": result.ran_out,
        "map": result.map,
    }


def _costs(context: ScoringContext) -> dict[str, Any]:
    """Evaluations, with one more for the image itself, and the best masks of each size that they scored."""
    budget = context.budget
    return {
        "evaluations": {**budget.by_stage, "image": 1, "total": budget.spent + 1},
        "cache_hits": context.masks.cache_hits,
        "budget": budget.limit + 1,
        "front": [[pixels, confidence] for pixels, confidence in context.masks.front()],
    }


def _stacked(candidates: Sequence[Candidate], shape: tuple[int, int]) -> Tensor:
    if not candidates:
        return torch.zeros((0, *shape), dtype=torch.bool)
    return torch.stack([candidate.mask for candidate in candidates])


def select(extras: dict[str, Any], overlap: float) -> Tensor:
    """The largest compatible set ``(n, H, W)`` of an image's candidates for another overlap, without any evaluation."""
    found = separate(extras["candidates"], extras["candidate_confidences"], overlap)
    return extras["candidates"][list(found.chosen)]
