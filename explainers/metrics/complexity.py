"""How concentrated a map is. No direction is better in itself: these describe, they do not rank."""

from __future__ import annotations

import torch
from torch import Tensor


def gini(attribution: Tensor) -> float | None:
    """Gini coefficient of the absolute values: 0 where all are equal, ``1 - 1/n`` where one has everything.

    Reference: Chalasani et al. 2020, arXiv:1810.06583; Hurley and Rickard 2009, arXiv:0811.4706.
    """
    values = attribution.detach().abs().double().flatten().sort().values.cpu()
    total = float(values.sum())
    if total == 0:
        return None
    count = len(values)
    weights = 2 * torch.arange(1, count + 1, dtype=torch.float64) - count - 1
    return float((weights * values).sum()) / (count * total)


def entropy(attribution: Tensor) -> float | None:
    """Entropy in nats of the absolute values as shares of their sum, in [0, log n].

    Reference: Bhatt et al. 2020, arXiv:2005.00631, complexity.
    """
    values = attribution.detach().abs().double().flatten()
    total = values.sum()
    return None if total == 0 else float(torch.special.entr(values / total).sum())


def effective_area(attribution: Tensor) -> float | None:
    """Share of the pixels over which an even map of the same entropy would spread: ``exp(H) / n``, in (0, 1]."""
    found = entropy(attribution)
    return None if found is None else float(torch.tensor(found, dtype=torch.float64).exp()) / attribution.numel()


def complexity(attribution: Tensor) -> dict[str, float | None]:
    """All complexity measures of a map ``(H, W)``, by name."""
    measures = (gini, entropy, effective_area)
    return {measure.__name__: measure(attribution) for measure in measures}
