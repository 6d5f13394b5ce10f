"""Searches that generators share, as pure functions: first of several, smallest share, nearest of a class."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

Reached = Callable[[Tensor, Tensor], Tensor]  # shares (n,) of the images at the places (n,) to bool (n,)


def first_or_last(reached: Tensor) -> Tensor:
    """Index ``(B,)`` of the first True in each row of ``reached (B, G)``, of the last column where there is none.

    >>> first_or_last(torch.tensor([[False, True, True], [False, False, False]])).tolist()
    [1, 2]
    """
    return torch.where(reached.any(1), reached.int().argmax(1), reached.shape[1] - 1)


def smallest_share(reached: Reached, low: Tensor, high: Tensor, halvings: int = 10) -> Tensor:
    """Between ``low (B,)``, at which nothing is reached, and ``high (B,)``, at which it is: the least that reaches.

    Bisection: the result has been tried and reaches, and lies at most ``(high - low) / 2 ** halvings`` above one that
    does not; where it is reached and lost again in between, it is one of several such places.

    Args:
        reached: tells, for shares and the rows that they belong to, whether each reaches.
        low: ``(B,)``.
        high: ``(B,)``.
        halvings: of the interval.
    """
    low, high, rows = low.clone(), high.clone(), torch.arange(len(low), device=low.device)
    for _ in range(halvings):
        middle = (low + high) / 2
        hit = reached(middle, rows)
        low, high = torch.where(hit, low, middle), torch.where(hit, middle, high)
    return high


def nearest_of_class(features: Tensor, targets: Tensor, candidates: Tensor, classes: Tensor) -> Tensor:
    """Index ``(B,)`` of the candidate nearest to each image among those of its target class; -1 where there is none.

    Args:
        features: ``(B, F)`` of the images.
        targets: ``(B,)`` class wanted for each.
        candidates: ``(N, F)`` features.
        classes: ``(N,)`` class of each candidate.
    """
    distances = torch.cdist(features.double(), candidates.double())
    distances = distances.masked_fill(classes[None] != targets[:, None], torch.inf)
    least, index = distances.min(1)
    return torch.where(least.isinf(), -1, index)


def real_change(images: Tensor, share: float = 0.95, pairs: int = 2000, seed: int = 0) -> float:
    """The mean absolute difference that ``share`` of the pairs of different images ``(N, C, H, W)`` do not exceed."""
    generator = torch.Generator().manual_seed(seed)
    first = torch.randint(len(images), (pairs,), generator=generator)
    second = (first + torch.randint(1, len(images), (pairs,), generator=generator)) % len(images)
    changes = [
        (images[a] - images[b]).abs().flatten(1).mean(1)
        for a, b in zip(first.split(256), second.split(256), strict=True)
    ]
    return float(torch.quantile(torch.cat(changes), share))
