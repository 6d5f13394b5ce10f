"""What a metric of counterfactuals is: one column of the index, and what is summarised of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from torch import Tensor

from cae.metrics.statistics import Statistic, mean
from cae.tables.scored_result import ScoredResult

Better = Literal["higher", "lower", "none"]
Population = Literal["explained", "with_oracle", "found", "with_mask", "with_path"]
ARROWS = {"higher": " ↑", "lower": " ↓", "none": ""}


@dataclass(frozen=True)
class Summary:
    """One number over many images.

    Attributes:
        name: in ``metrics.json``.
        over: images to be explained, without those of the target class already (``explained``); of them, those that an
            oracle has seen (``with_oracle``), with a counterfactual (``found``), with a counterfactual and a mask that
            shows something (``with_mask``), or with a path, whether anything was found or not (``with_path``).
        title: heading in tables.
        line: words on the console, where they say more than the title.
        statistic: of the values.
        of: what is taken of each value, if not the value itself.
        absent: what counts for an image without a value; None leaves it out.
        better: ``higher``, ``lower`` or ``none``, if not as of the metric.
    """

    name: str
    over: Population
    title: str
    line: str = ""
    statistic: Statistic = mean
    of: Callable[[Any], float] = float
    absent: float | None = None
    better: Better | None = None


@dataclass(frozen=True)
class Metric:
    """One column of the index.

    Attributes:
        name: of the column.
        kind: ``float``, ``int``, ``bool`` or ``str``.
        words: what it says.
        formula: its value for one result, of any type that ``kind`` takes; None where there is none.
        better: whether a ``higher`` or a ``lower`` value is better, or ``none`` of them.
        unit: of the value.
        always: whether there is a value for every image.
        summaries: numbers over many images.
    """

    name: str
    kind: type
    words: str
    formula: Callable[[ScoredResult], Any]
    better: Better = "none"
    unit: str = ""
    always: bool = False
    summaries: tuple[Summary, ...] = ()

    def value(self, scored: ScoredResult) -> Any:
        """The cell of the index for one result."""
        found = self.formula(scored)
        return None if found is None else self.kind(found)

    @property
    def description(self) -> str:
        """What the column says, its unit, and which direction is better."""
        notes = [self.unit, "" if self.better == "none" else f"{self.better} is better"]
        more = "; ".join(note for note in notes if note)
        return f"{self.words} ({more})" if more else self.words


@dataclass(frozen=True)
class SetMetric:
    """One number that compares a set of images with the originals, by the classifier's features.

    Attributes:
        name: in ``metrics.json``.
        of: the set: 0 for the originals themselves, 1 for counterfactuals, 2 for the ends of their paths.
        distance: of two sets of features ``(N, F)`` and ``(M, F)``.
        least: images that each set must have, by the number F of features.
        title: heading in tables.
        line: words on the console, where they say more than the title.
        better: ``higher``, ``lower`` or ``none``.
    """

    name: str
    of: Literal[0, 1, 2]
    distance: Callable[[Tensor, Tensor], float]
    least: Callable[[int], int]
    title: str
    line: str = ""
    better: Better = "none"
