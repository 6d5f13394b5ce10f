"""Log-odds of one class against all others."""

from __future__ import annotations

import torch
from torch import Tensor


def log_complement(log_p: Tensor, target: int) -> Tensor:
    """``log(1 - p(target))`` over the last axis, from the other classes, so that nothing cancels where p is close to 1.

    Args:
        log_p: ``(…, K)`` log-probabilities; of logits, the logarithm of the sum of the others' exponentials.
        target: the class.

    Returns:
        ``(…)``.
    """
    others = log_p.clone()
    others[..., target] = -torch.inf
    return others.logsumexp(-1)


def log_odds(logits: Tensor, target: int) -> Tensor:
    """``log p / (1 - p)`` of a class, in nats: ``z_t - log sum_(k != t) exp z_k``; any real number.

    >>> log_odds(torch.tensor([[1.0, 3.0]]), 1)
    tensor([2.])

    Args:
        logits: ``(…, K)``; log-probabilities give the same.
        target: the class.

    Returns:
        ``(…)``, differentiable.
    """
    return logits[..., target] - log_complement(logits, target)


def log_odds_of_each(logits: Tensor, targets: Tensor) -> Tensor:
    """The same ``(B,)`` of a class of its own for each row: ``logits (B, K)``, ``targets (B,)``; differentiable.

    >>> log_odds_of_each(torch.tensor([[1.0, 3.0], [1.0, 3.0]]), torch.tensor([1, 0]))
    tensor([ 2., -2.])
    """
    index = targets[:, None]
    return logits.gather(1, index)[:, 0] - logits.scatter(1, index, -torch.inf).logsumexp(1)
