"""The search of one image: its mask, its multipliers, the best mask so far, and what comes out."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor

from explainers.base import Instance
from explainers.shearletx.compositions import Fill

MULTIPLIER_EVERY = 5  # steps between updates of the multipliers
LARGEST_RISE = 0.25  # of a gap in nats, as an update of the multipliers reads it
STIFFEN_AFTER, STIFFEST = 10, 64.0  # updates in violation before the penalty doubles, and its bound
PROGRESS = 0.99  # a best size above this share of an earlier one is none


@dataclass(frozen=True, eq=False)
class Outcome:
    """What the search found for one image.

    Attributes:
        mask: ``(M, n)`` in [0, 1] over the coefficients.
        explanation: ``(C, H, W)`` in [0, 1], the very picture that was scored.
        probability: of the target on it.
        size: of the mask by the measure of the settings.
        feasible: whether ``probability`` is at least ``accept`` times the image's.
        repaired: whether the mask was mixed with ones to get there.
        history: per step the objective, the size, and the probability of the first composition.
        evaluations: pictures scored.
    """

    mask: Tensor
    explanation: Tensor
    probability: float
    size: float
    feasible: bool
    repaired: bool
    history: dict[str, list[float]]
    evaluations: int


@dataclass(frozen=True, eq=False)
class Candidate:
    """A mask's parameter, its displayed picture ``(C, H, W)``, and the target's probability on that."""

    parameter: Tensor
    picture: Tensor
    probability: float


@dataclass(eq=False)
class Search:
    """The state of one image's search."""

    instance: Instance
    coefficients: Tensor  # (C, n)
    fill: Fill
    baseline: Tensor | None  # coefficients (C, n) of the blurred image, or its blur pyramid
    weights: Tensor  # of the size, (M or 1, n)
    credit: Tensor | None  # of the low-pass in the entropy, (l,)
    entropy: float  # of the whole image under its credit
    parameter: Tensor
    optimiser: torch.optim.Optimizer
    noise: torch.Generator
    log_probability: float
    multipliers: Tensor
    stiffness: float = 1.0
    violations: int = 0
    gaps: list[Tensor] = field(default_factory=list)
    best_size: float = math.inf
    best: Candidate | None = None
    evaluations: int = 0
    history: dict[str, list[float]] = field(default_factory=lambda: {"objective": [], "size": [], "probability": []})
    best_sizes: list[float] = field(default_factory=list)
    stopped: bool = False

    @property
    def steps(self) -> int:
        """Steps taken so far."""
        return len(self.history["objective"])

    def remember(self, picture: Tensor, size: float, probability: float, least: float) -> None:
        """Keep the current mask if none smaller had a picture ``(C, H, W)`` of at least ``least`` probability."""
        if size < self.best_size and probability >= least:
            self.best_size = size
            self.best = Candidate(self.parameter.clone(), picture.clone(), probability)

    def update_multipliers(self) -> None:
        """Update the multipliers by the mean of the gaps, when ``MULTIPLIER_EVERY`` have come in.

        A gap counts for at most ``LARGEST_RISE``: in the few steps in which a mask first goes too far, the log
        probability falls by nats, and multipliers of that height would hold the mask up for the rest of the search.
        """
        if len(self.gaps) < MULTIPLIER_EVERY:
            return
        gap = torch.stack(self.gaps).mean(0).to(self.multipliers)
        self.multipliers = (self.multipliers + self.stiffness * gap.clamp_max(LARGEST_RISE)).clamp_min(0)
        self.gaps.clear()
        self.violations = self.violations + 1 if bool((gap > 0).any()) else 0
        if self.violations >= STIFFEN_AFTER:
            self.stiffness, self.violations = min(2 * self.stiffness, STIFFEST), 0

    def has_settled(self, patience: int) -> bool:
        """Whether the best size has improved by less than 1 % within ``patience`` steps; never for 0."""
        sizes = self.best_sizes
        sizes.append(self.best_size)
        if not patience or len(sizes) <= patience or math.isinf(sizes[-1 - patience]):
            return False
        return sizes[-1] >= PROGRESS * sizes[-1 - patience]  # equal: a mask of zeros cannot shrink
