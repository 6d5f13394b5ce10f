"""The evaluations that the search of one image may spend, counted by stage."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field


@dataclass(eq=False)
class EvaluationBudget:
    """Evaluations of one image, never more than the limit.

    Attributes:
        limit: evaluations that may be spent in all.
        further: what ``extend`` raises the limit to.
        refused: whether something could not be afforded.
        reserve: those of them kept back until ``open_reserve``.
        cost: evaluations of one mask (the number of fills).
        stage: of the search, to which evaluations are counted.
        spent: evaluations so far.
        by_stage: evaluations of each stage.
        reserve_limit: the most that may be kept back.
    """

    limit: int
    reserve: int = 0
    cost: int = 1
    further: int = 0
    stage: str = "scan"
    spent: int = 0
    refused: bool = False
    by_stage: Counter[str] = field(default_factory=Counter)
    reserve_limit: int = field(init=False)

    def __post_init__(self) -> None:
        self.reserve_limit = self.reserve

    def left(self) -> int:
        """Evaluations that may still be spent."""
        return self.limit - self.reserve - self.spent

    def affords(self, masks: int) -> bool:
        """Whether so many masks can still be scored; ``refused`` remembers that they could not."""
        enough = masks * self.cost <= self.left()
        self.refused |= not enough
        return enough

    def extend(self) -> bool:
        """Raise the limit where it may be, keep back again what was, and say whether it was raised."""
        if self.further <= self.limit:
            return False
        self.limit, self.reserve, self.refused = self.further, self.reserve_limit, False
        return True

    def hold(self, masks: int) -> None:
        """Keep back what so many masks cost, within the reserve given."""
        self.reserve = min(masks * self.cost, self.reserve_limit)

    def open_reserve(self) -> None:
        """Allow what was kept back."""
        self.reserve = 0

    def charge(self, evaluations: int) -> None:
        """Count images that were forwarded."""
        self.spent += evaluations
        self.by_stage[self.stage] += evaluations
