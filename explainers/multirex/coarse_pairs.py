"""Two disjoint sufficient parts of an image among all unions of the cells of a coarse grid."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import torch
from torch import Tensor

from explainers.multirex.candidates import Candidate
from explainers.multirex.search_steps import SearchSteps, score_masks

CELLS_A_SIDE = 3
UNIONS = 2 ** (CELLS_A_SIDE**2) - 2  # of the cells, but none and all
AT_ONCE = 64  # unions that are held in memory together


def coarse_cells(shape: tuple[int, int]) -> Tensor:
    """``(H, W)`` int64: which of the 3 x 3 cells a pixel lies in, row by row."""
    rows, columns = (torch.arange(side) * CELLS_A_SIDE // side for side in shape)
    return rows[:, None] * CELLS_A_SIDE + columns


def unions(regions: Tensor, codes: Sequence[int]) -> Tensor:
    """``(n, H, W)`` bool: for each code the pixels of those regions whose bits are set.

    Args:
        regions: ``(H, W)`` int64, the number of each pixel's region, from 0 on.
        codes: non-negative; bit k stands for region k.

    >>> unions(torch.tensor([[0, 1, 2]]), [0b101]).tolist()
    [[[True, False, True]]]
    """
    bits = torch.tensor(codes)[:, None] >> torch.arange(int(regions.max()) + 1) & 1
    return bits.bool()[:, regions]


def disjoint_pairs(codes: Sequence[int]) -> list[tuple[int, int]]:
    """All pairs of codes without a common bit."""
    return [(one, other) for one, other in combinations(codes, 2) if not one & other]


def coarse_pair(shape: tuple[int, int]) -> SearchSteps[tuple[Candidate, ...]]:
    """Try every union of the cells, those of half the image first, until two disjoint ones suffice.

    Returns:
        The two of the highest lower log-odds; nothing where no two suffice.
    """
    cells = coarse_cells(shape)
    order = sorted(range(1, UNIONS + 1), key=lambda code: abs(2 * code.bit_count() - CELLS_A_SIDE**2))
    found: dict[int, Candidate] = {}
    for start in range(0, len(order), AT_ONCE):
        codes = order[start : start + AT_ONCE]
        masks = unions(cells, codes)
        scores = yield from score_masks(masks)
        found |= {
            code: Candidate(mask, score)
            for code, mask, score in zip(codes, masks, scores, strict=True)
            if score.sufficient
        }
        pairs = disjoint_pairs(list(found))
        if pairs:
            one, other = max(pairs, key=lambda pair: min(found[code].score.log_odds for code in pair))
            return found[one], found[other]
    return ()
