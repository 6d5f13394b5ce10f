"""Serves the searches of several images at once: fills batches, keeps caches and budgets, judges close calls alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from explainers.multirex.evaluation_budget import EvaluationBudget, mask_key
from explainers.multirex.sufficiency import BudgetSpent, MaskScore, Request, Search, agreed, verdicts_of

Score = Callable[[Tensor], Tensor]


@dataclass(eq=False)
class SearchTask:
    """One image being explained.

    Attributes:
        image: ``(C, H, W)``.
        fills: ``(F, C, H, W)``, what hidden pixels show.
        quorum: fills under which a mask must be sufficient.
        ledger: what was asked so far.
        search: yields requests; its answer ends in ``answer``.
    """

    image: Tensor
    fills: Tensor
    quorum: int
    ledger: EvaluationBudget
    search: Search[Any]
    answer: Any = None
    request: Request | None = None
    keys: list[bytes] = field(default_factory=list)
    fresh: dict[bytes, Tensor] = field(default_factory=dict)

    def composed(self, mask: Tensor) -> Tensor:
        """The masked image under every fill, ``(F, C, H, W)``."""
        return torch.where(mask.to(self.image.device), self.image, self.fills)


def serve(cases: Sequence[SearchTask], score: Score, batch_size: int) -> None:
    """Run all searches to their ends; each sees the same answers whatever the others ask."""
    for case in cases:
        _advance(case, None)
    while active := [case for case in cases if case.request is not None]:
        together = [case for case in active if case.request is not None and not case.request.alone]
        for case in together:
            _collect(case)
        _judge(together, score, batch_size)
        for case in active:
            _advance(case, _answers(case, score))


def _advance(case: SearchTask, verdicts: list[MaskScore] | None) -> None:
    """Send a search its verdicts, or the news that there are none left to have."""
    try:
        if verdicts is None and case.request is not None:
            case.request = case.search.throw(BudgetSpent())
        else:
            case.request = case.search.send(verdicts)  # type: ignore[arg-type]  # None starts it
    except StopIteration as end:
        case.request, case.answer = None, end.value


def _collect(case: SearchTask) -> None:
    """The masks of a request that are new and can be paid for, in order."""
    assert case.request is not None
    ledger, case.fresh = case.ledger, {}
    case.keys = [mask_key(mask) for mask in case.request.masks]
    for key, mask in zip(case.keys, case.request.masks, strict=True):
        if key in ledger.entries or key in case.fresh:
            ledger.hits += 1
        elif (len(case.fresh) + 1) * ledger.cost <= ledger.left():
            case.fresh[key] = mask


def _judge(cases: Sequence[SearchTask], score: Score, batch_size: int) -> None:
    """Score all new masks of all cases in full batches, then those that are close to a decision alone."""
    todo = [(case, mask) for case in cases for mask in case.fresh.values()]
    parts: list[Tensor] = []
    per_batch = max(1, batch_size // max((case.ledger.cost for case in cases), default=1))
    for start in range(0, len(todo), per_batch):
        parts.append(score(torch.cat([case.composed(mask) for case, mask in todo[start : start + per_batch]])).cpu())
    rows = iter(torch.cat(parts).split([len(case.fresh) * case.ledger.cost for case in cases]) if parts else [])
    for case in cases if parts else []:
        _settle(case, next(rows), score)


def _settle(case: SearchTask, rows: Tensor, score: Score) -> None:
    """Enter the verdicts on the new masks of one case, ``rows`` (masks times fills, K)."""
    ledger = case.ledger
    ledger.charge(len(rows))
    verdicts = verdicts_of(rows, ledger.criterion)
    pixels = torch.stack(list(case.fresh.values())).flatten(1).sum(1).tolist() if case.fresh else []
    for place, (key, mask) in enumerate(case.fresh.items()):
        verdict = agreed(verdicts[place * ledger.cost : (place + 1) * ledger.cost], case.quorum)
        if _is_close(case, verdict):
            verdict = _alone(case, mask, score) or verdict
        ledger.record(key, mask, pixels[place], verdict)


def _is_close(case: SearchTask, verdict: MaskScore) -> bool:
    return case.ledger.criterion.is_close(verdict.probability, verdict.rival, case.ledger.guard)


def _alone(case: SearchTask, mask: Tensor, score: Score) -> MaskScore | None:
    """The verdict on one mask scored image by image; None if that cannot be paid for."""
    if case.ledger.left() < case.ledger.cost:
        return None
    case.ledger.charge(case.ledger.cost)
    rows = torch.cat([score(image[None]).cpu() for image in case.composed(mask)])
    return agreed(verdicts_of(rows, case.ledger.criterion), case.quorum)


def _answers(case: SearchTask, score: Score) -> list[MaskScore] | None:
    """Verdicts on a whole request, or None if some could not be paid for."""
    assert case.request is not None
    if case.request.alone:
        found = [_alone(case, mask, score) for mask in case.request.masks]
        return None if None in found else found  # type: ignore[return-value]
    if any(key not in case.ledger.entries for key in case.keys):
        return None
    return [case.ledger.entries[key].verdict for key in case.keys]
