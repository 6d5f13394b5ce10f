"""How a search has masks scored: it yields requests, and is sent one score for each mask."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor

from explainers.multirex.sufficiency import MaskScore


@dataclass(frozen=True, eq=False)
class ScoreRequest:
    """Masks ``(n, H, W)`` bool to be scored; ``alone``: one image at a time, whatever is known of them already."""

    masks: Tensor
    alone: bool = False


class BudgetSpent(Exception):
    """Thrown into a search that asks for more than it has left; what was found so far stays valid."""


Result = TypeVar("Result")
SearchSteps = Generator[ScoreRequest, list[MaskScore], Result]
"""The steps of a search: yields requests, is sent one score for each mask, and returns its result."""


def score_masks(masks: Tensor | Sequence[Tensor]) -> SearchSteps[list[MaskScore]]:
    """Have masks scored: ``(n, H, W)`` bool, or a list of ``(H, W)``."""
    stacked = masks if isinstance(masks, Tensor) else torch.stack(list(masks))
    return (yield ScoreRequest(stacked))


def score_mask(mask: Tensor, alone: bool = False) -> SearchSteps[MaskScore]:
    """Have one mask ``(H, W)`` bool scored."""
    return (yield ScoreRequest(mask[None], alone))[0]


def until_spent(steps: SearchSteps[None]) -> SearchSteps[None]:
    """Follow steps to their end, or to the end of the budget."""
    try:
        yield from steps
    except BudgetSpent:
        return
