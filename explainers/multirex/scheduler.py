"""Runs the searches of several images at once: fills batches, keeps to the budgets, scores close calls alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor

from explainers.multirex.scored_masks import ScoringContext, mask_key
from explainers.multirex.search_steps import BudgetSpent, ScoreRequest, SearchSteps
from explainers.multirex.sufficiency import MaskScore, mask_scores, quorum_score

Score = Callable[[Tensor], Tensor]
"""Class probabilities ``(N, K)`` of images ``(N, C, H, W)``."""


@dataclass(eq=False)
class SearchTask:
    """One image being explained.

    Attributes:
        image: ``(C, H, W)``.
        fills: ``(F, C, H, W)``, what hidden pixels show.
        quorum: fills under which a mask must be sufficient.
        guard: distance from a decision below which a mask is scored again, alone.
        context: what was scored so far.
        steps: of the search; what they return ends in ``result``.
        request: what the search waits for; None once it has ended.
    """

    image: Tensor
    fills: Tensor
    quorum: int
    guard: float
    context: ScoringContext
    steps: SearchSteps[Any]
    result: Any = None
    request: ScoreRequest | None = None

    def composed(self, mask: Tensor) -> Tensor:
        """The masked image under every fill, ``(F, C, H, W)``."""
        return torch.where(mask.to(self.image.device), self.image, self.fills)


@dataclass(eq=False)
class _Round:
    """One request of one task: the keys of its masks, and which of them are new and can be paid for, in order."""

    task: SearchTask
    request: ScoreRequest
    keys: list[bytes] = field(default_factory=list)
    new_masks: dict[bytes, Tensor] = field(default_factory=dict)


def run_searches(tasks: Sequence[SearchTask], score: Score, batch_size: int) -> None:
    """Run all searches to their ends; each sees the same scores whatever the others ask."""
    for task in tasks:
        _advance(task, partial(next, task.steps))
    while rounds := [_Round(task, task.request) for task in tasks if task.request is not None]:
        together = [one for one in rounds if not one.request.alone]
        for one in together:
            _collect(one)
        _score_new_masks(together, score, batch_size)
        for one in rounds:
            scores = _scores(one, score)
            steps = one.task.steps
            _advance(one.task, partial(steps.throw, BudgetSpent()) if scores is None else partial(steps.send, scores))


def _advance(task: SearchTask, resume: Callable[[], ScoreRequest]) -> None:
    """Let a search go on to its next request, or to its end."""
    try:
        task.request = resume()
    except StopIteration as end:
        task.request, task.result = None, end.value


def _collect(one: _Round) -> None:
    """Find the masks of a request that are new and can be paid for."""
    budget, masks = one.task.context.budget, one.task.context.masks
    one.keys = [mask_key(mask) for mask in one.request.masks]
    for key, mask in zip(one.keys, one.request.masks, strict=True):
        if key in masks.by_key or key in one.new_masks:
            masks.cache_hits += 1
        elif budget.affords(len(one.new_masks) + 1):
            one.new_masks[key] = mask


def _score_new_masks(rounds: Sequence[_Round], score: Score, batch_size: int) -> None:
    """Score all new masks of all tasks in full batches, then those that are close to a decision alone."""
    waiting = [(one.task, mask) for one in rounds for mask in one.new_masks.values()]
    if not waiting:
        return
    costs = [one.task.context.budget.cost for one in rounds]
    per_batch = max(1, batch_size // max(costs))
    parts = [
        score(torch.cat([task.composed(mask) for task, mask in waiting[start : start + per_batch]])).cpu()
        for start in range(0, len(waiting), per_batch)
    ]
    counts = [len(one.new_masks) * cost for one, cost in zip(rounds, costs, strict=True)]
    for one, rows in zip(rounds, torch.cat(parts).split(counts), strict=True):
        _record(one, rows, score)


def _record(one: _Round, rows: Tensor, score: Score) -> None:
    """Enter the scores of a task's new masks, from probabilities ``rows`` (masks times fills, K)."""
    task, context = one.task, one.task.context
    cost = context.budget.cost
    context.budget.charge(len(rows))
    scores = mask_scores(rows, context.criterion)
    pixels = torch.stack(list(one.new_masks.values())).flatten(1).sum(1).tolist() if one.new_masks else []
    for place, (key, mask) in enumerate(one.new_masks.items()):
        found = quorum_score(scores[place * cost : (place + 1) * cost], task.quorum)
        if context.criterion.is_close(found.probability, found.rival, task.guard):
            found = _score_alone(task, mask, score) or found
        context.masks.record(key, mask, pixels[place], found)


def _score_alone(task: SearchTask, mask: Tensor, score: Score) -> MaskScore | None:
    """The score of one mask, image by image; None if that cannot be paid for."""
    context = task.context
    if not context.budget.affords(1):
        return None
    context.budget.charge(context.budget.cost)
    rows = torch.cat([score(image[None]).cpu() for image in task.composed(mask)])
    return quorum_score(mask_scores(rows, context.criterion), task.quorum)


def _scores(one: _Round, score: Score) -> list[MaskScore] | None:
    """Scores of all masks of a request, or None if some could not be paid for."""
    if one.request.alone:
        alone = [_score_alone(one.task, mask, score) for mask in one.request.masks]
        found = [value for value in alone if value is not None]
        return found if len(found) == len(alone) else None
    known = one.task.context.masks.by_key
    if any(key not in known for key in one.keys):
        return None
    return [known[key].score for key in one.keys]
