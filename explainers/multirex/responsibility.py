"""Responsibility of the parts of a whole, from a table of which subsets are sufficient. Pure functions."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

RULES = ("witness", "share")
MERGES = ("mean", "multiplicative")


def responsibility_of_parts(sufficient: Sequence[bool]) -> list[float]:
    """``r(i) = 1 / (1 + k)``, k the least number of other parts whose hiding makes part i decide; 0 if none does.

    Args:
        sufficient: ``2**n`` entries; entry s tells whether the parts whose bits are set in s suffice.

    Returns:
        n numbers in [0, 1].

    Reference: Chockler, Kelly and Kroening 2023, arXiv:2309.14309, definition of causal responsibility.

    >>> responsibility_of_parts([False, True, True, True])  # either of two parts suffices
    [0.5, 0.5]
    >>> responsibility_of_parts([False, False, False, True])  # both are needed
    [1.0, 1.0]
    """
    count = len(sufficient).bit_length() - 1
    everything = len(sufficient) - 1
    found = []
    for part in range(count):
        witnesses = [
            (everything & ~shown).bit_count()
            for shown in range(len(sufficient))
            if shown >> part & 1 and sufficient[shown] and not sufficient[shown & ~(1 << part)]
        ]
        found.append(1 / (1 + min(witnesses)) if witnesses else 0.0)
    return found


def shares_of_parts(sufficient: Sequence[bool]) -> list[float]:
    """The official tool's rule: every sufficient proper subset gives each of its parts one over its number of parts.

    >>> shares_of_parts([False, True, True, True])
    [1.0, 1.0]
    """
    count = len(sufficient).bit_length() - 1
    found = [0.0] * count
    for shown in range(1, len(sufficient) - 1):
        if sufficient[shown]:
            for part in range(count):
                if shown >> part & 1:
                    found[part] += 1 / shown.bit_count()
    return found


def merged(maps: Sequence[Tensor], merge: str) -> Tensor:
    """One map ``(H, W)`` of several: their mean, or the normalised product of ``1 + map`` (official tool)."""
    if merge == "mean":
        return torch.stack(list(maps)).mean(0)
    product = torch.ones_like(maps[0])
    for one in maps:
        product = product * (1 + one)
        product = product / product.max()
    return product
