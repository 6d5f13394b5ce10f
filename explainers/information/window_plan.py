"""Which windows of an image are marginalised, and how often, within a budget of evaluations."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from cae.errors import UserError
from explainers.infills.windows import (
    Level,
    Windows,
    box_means,
    default_window,
    fit_samples,
    grid,
    preset_scales,
)
from explainers.information.marginalisation import ROUND

OWN_EVALUATIONS = 2  # of the image itself: by the caller, and among its fills
MOST_SAMPLES = 16


@dataclass(frozen=True)
class WindowPlan:
    """What the options of an information map ask for; see ``InformationMap`` for the meaning of each.

    Attributes:
        deterministic: whether one fill of each window is enough.
        only_window: the one size that the in-fill can fill, if there is only one.
    """

    window: int | None
    stride: int | None
    samples: int | None
    scales: bool | Sequence[Sequence[int]]
    refine: bool
    adaptive: bool
    max_evaluations: int
    border: str
    deterministic: bool
    only_window: int | None

    @property
    def budget(self) -> int:
        """Evaluations for the fills of one image."""
        return self.max_evaluations - OWN_EVALUATIONS

    def windows(self, shape: tuple[int, int], level: Level) -> Windows:
        """All windows of one level over an image of height and width ``shape``."""
        return grid(shape, level.window, level.stride, self.border)

    def levels(self, shape: tuple[int, int]) -> list[Level]:
        """Windows, strides and numbers of fills that fit the budget.

        Raises:
            UserError: if what was asked for does not fit.
        """
        budget = self.budget // 2 if self.refine else self.budget
        levels = self._wished(shape, budget)
        counts = [len(self.windows(shape, level)) for level in levels]
        if self.adaptive and self._most_samples > 1:
            return levels  # the engine stops at the budget
        cost = sum(level.samples * count for level, count in zip(levels, counts, strict=True))
        if cost > budget and (self.samples is not None or not isinstance(self.scales, bool)):
            kept = ", half of it kept for `refine`" if self.refine else ""
            raise UserError(
                f"these settings take {cost + OWN_EVALUATIONS} evaluations for one image of {shape[0]} x {shape[1]} "
                f"pixels, but `max_evaluations` is {self.max_evaluations}{kept}: use fewer `samples`, a larger "
                "`stride`, or raise it."
            )
        return fit_samples(levels, counts, budget)

    def share(self, left: int, later: Sequence[Level], shape: tuple[int, int]) -> int:
        """Evaluations that a level may spend of those left: all but the refinement's half and what later ones need."""
        kept = self.budget // 2 if self.refine else 0
        return max(left - sum(self._least(level, shape) for level in later) - kept, 0)

    def finer(self, strength: Tensor, levels: Sequence[Level], left: int) -> tuple[Windows, int]:
        """Windows of half the smallest size where a map ``(H, W)`` is strongest, and fills of each, within a budget."""
        smallest = min(levels, key=lambda level: level.window)
        size = max(smallest.window // 2, 1)
        samples = min(smallest.samples, ROUND)
        windows = grid((strength.shape[0], strength.shape[1]), size, max(size // 2, 1), self.border)
        order = box_means(strength, windows).argsort(descending=True, stable=True)
        return windows[order[: left // samples].sort().values], samples

    @property
    def _most_samples(self) -> int:
        return 1 if self.deterministic else (self.samples or MOST_SAMPLES)

    def _wished(self, shape: tuple[int, int], budget: int) -> list[Level]:
        """The levels before their fills are counted against the budget."""
        most = self._most_samples
        if self.scales:
            wished = preset_scales(shape) if self.scales is True else self.scales
            return [Level(size, stride, min(n, 1) if most == 1 else n) for size, stride, n in wished]
        size = self.window or self.only_window or default_window(shape)
        return [Level(size, self.stride or self._default_stride(shape, size, most, budget), most)]

    def _default_stride(self, shape: tuple[int, int], size: int, samples: int, budget: int) -> int:
        """Half a window, or a quarter where one fill is enough; more where the budget is small."""
        wished = [size // 4, size // 2, size] if samples == 1 else [size // 2, size]
        least = min(samples, ROUND) if self.adaptive else 1
        fitting = [n for n in wished if n >= 1 and least * len(grid(shape, size, n, self.border)) <= budget]
        return fitting[0] if fitting else size

    def _least(self, level: Level, shape: tuple[int, int]) -> int:
        """Evaluations that a level needs at least."""
        return len(self.windows(shape, level)) * (min(level.samples, ROUND) if self.adaptive else level.samples)
