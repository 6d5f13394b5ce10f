"""What the classifier says about masked images, and when that is enough."""

from __future__ import annotations

import math
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor

SMALLEST = 1e-12  # probability below which log-odds are not told apart


@dataclass(frozen=True)
class SufficiencyCriterion:
    """When a masked image is sufficient: its best class is the target alone, at a probability of at least ``least``.

    Attributes:
        target: class y.
        least: ``threshold`` times the full image's probability of y, or an absolute probability.
    """

    target: int
    least: float

    def sufficient(self, probability: float, rival: float) -> bool:
        """Whether a probability of y, beside the best of the other classes, suffices; a tie does not."""
        return probability > rival and probability >= self.least

    def is_close(self, probability: float, rival: float, guard: float) -> bool:
        """Whether a change of ``guard`` in both probabilities could turn the decision."""
        if abs(probability - rival) < guard:
            return probability >= self.least - guard
        return probability > rival and self.least > 0 and abs(probability - self.least) < guard


@dataclass(frozen=True)
class MaskScore:
    """The classifier's answer to one mask (over all fills: that of the fill which the quorum hangs on).

    Attributes:
        probability: of the target.
        rival: highest probability of another class.
        runner_up: that class.
        top: best class.
        sufficient: whether the criterion holds.
    """

    probability: float
    rival: float
    runner_up: int
    top: int
    sufficient: bool

    @property
    def log_odds(self) -> float:
        """``log p(target) - log p(best rival)``, rounded to 1e-4 so that orders do not hang on the last digits."""
        return round(math.log(max(self.probability, SMALLEST)) - math.log(max(self.rival, SMALLEST)), 4)


def verdicts_of(probabilities: Tensor, criterion: SufficiencyCriterion) -> list[MaskScore]:
    """Read class probabilities ``(N, K)``, one verdict for each row."""
    rows = probabilities.detach().cpu().double()
    ours = rows[:, criterion.target].tolist()
    others = rows.clone()
    others[:, criterion.target] = -1
    rivals, runners_up = (values.tolist() for values in others.max(1))
    return [
        MaskScore(p, rival, runner, top, criterion.sufficient(p, rival))
        for p, rival, runner, top in zip(ours, rivals, runners_up, rows.argmax(1).tolist(), strict=True)
    ]


def agreed(verdicts: Sequence[MaskScore], quorum: int) -> MaskScore:
    """One verdict from those under several fills: sufficient if at least ``quorum`` of them are."""
    if len(verdicts) == 1:
        return verdicts[0]
    ordered = sorted(verdicts, key=lambda v: (v.sufficient, v.log_odds, v.probability), reverse=True)
    return ordered[quorum - 1]


@dataclass(frozen=True, eq=False)
class Request:
    """Masks ``(n, H, W)`` bool that a search wants judged; ``alone``: one by one, whatever was said before."""

    masks: Tensor
    alone: bool = False


class BudgetSpent(Exception):
    """Thrown into a search that asks for more than it has left; what was found so far stays valid."""


Answer = TypeVar("Answer")
Search = Generator[Request, list[MaskScore], Answer]
"""A search yields requests, is sent one verdict for each mask, and returns its answer."""


def ask(masks: Tensor | Sequence[Tensor]) -> Search[list[MaskScore]]:
    """Have masks judged: ``(n, H, W)`` bool, or a list of ``(H, W)``."""
    stacked = masks if isinstance(masks, Tensor) else torch.stack(list(masks))
    return (yield Request(stacked))
