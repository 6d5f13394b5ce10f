"""What the classifier says about masked images, and when that is enough."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

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
    """The classifier's probabilities under one mask (of several fills: under the one which the quorum hangs on).

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


def mask_scores(probabilities: Tensor, criterion: SufficiencyCriterion) -> list[MaskScore]:
    """Read class probabilities ``(N, K)``: one score for each row."""
    rows = probabilities.detach().cpu().double()
    ours = rows[:, criterion.target].tolist()
    others = rows.clone()
    others[:, criterion.target] = -1
    rivals, runners_up = (values.tolist() for values in others.max(1))
    return [
        MaskScore(p, rival, runner, top, criterion.sufficient(p, rival))
        for p, rival, runner, top in zip(ours, rivals, runners_up, rows.argmax(1).tolist(), strict=True)
    ]


def quorum_score(scores: Sequence[MaskScore], quorum: int) -> MaskScore:
    """One score of those under several fills: sufficient if at least ``quorum`` of them are."""
    if len(scores) == 1:
        return scores[0]
    ordered = sorted(scores, key=lambda s: (s.sufficient, s.log_odds, s.probability), reverse=True)
    return ordered[quorum - 1]
