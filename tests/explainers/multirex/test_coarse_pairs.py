"""Two disjoint sufficient unions of coarse cells are found wherever two exist."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import nn

from cae.classifiers import TargetClassifier
from explainers.multirex import MultiReX
from explainers.multirex.coarse_pairs import UNIONS, coarse_cells, coarse_pair, disjoint_pairs, unions
from explainers.multirex.sufficiency import MaskScore

SIDE = 12  # cells of 4 pixels


def answered(table):
    """The pair of ``coarse_pair`` where the union of code k suffices if ``table[k]``, and how many were asked."""
    corners = coarse_cells((SIDE, SIDE))
    steps, asked = coarse_pair((SIDE, SIDE)), 0
    try:
        request = next(steps)
        while True:
            asked += len(request.masks)
            codes = [sum(1 << int(cell) for cell in corners[mask].unique()) for mask in request.masks]
            shares = [0.6 + code / 2000 if table[code] else 0.1 for code in codes]
            request = steps.send([MaskScore(p, 1 - p, 1, 0, p > 0.5) for p in shares])
    except StopIteration as end:
        return end.value, asked


def test_cells_are_thirds_of_both_sides_row_by_row():
    cells = coarse_cells((6, 7))
    assert cells[::2, 0].tolist() == [0, 3, 6]
    assert cells[5].tolist() == [6, 6, 6, 7, 7, 8, 8]


def test_unions_show_the_regions_of_their_bits():
    regions = torch.tensor([[0, 1], [2, 1]])
    assert unions(regions, [0, 1, 6, 7]).long().tolist() == [
        [[0, 0], [0, 0]], [[1, 0], [0, 0]], [[0, 1], [1, 1]], [[1, 1], [1, 1]],
    ]  # fmt: skip


def test_pairs_have_no_cell_in_common():
    assert disjoint_pairs([1, 2, 3, 4]) == [(1, 2), (1, 4), (2, 4), (3, 4)]


@pytest.mark.parametrize("share", [0.0, 0.01, 0.03, 0.3])
def test_a_pair_is_found_just_where_there_is_one(share):
    generator = torch.Generator().manual_seed(3)
    for _ in range(3):
        table = (torch.rand(UNIONS + 2, generator=generator) < share).tolist()
        exist = any(not one & other for one, other in itertools.combinations([k for k in range(1, 511) if table[k]], 2))
        pair, asked = answered(table)
        assert len(pair) == 2 * exist
        assert asked <= UNIONS if exist else asked == UNIONS
        if pair:
            assert not bool((pair[0].mask & pair[1].mask).any())
            assert all(
                table[sum(1 << int(cell) for cell in coarse_cells((SIDE, SIDE))[one.mask].unique())] for one in pair
            )


class OneOfTwoAlone(nn.Module):
    """Class 0 where just the cells 0, 2 and 7 of a 3 x 3 grid are shown, or just 1, 3, 5 and 6, or all nine."""

    def forward(self, images):
        shown = nn.functional.avg_pool2d(images.double(), 16).flatten(1) > 0.6
        codes = (shown.long() << torch.arange(9)).sum(1)
        logit = torch.where(torch.isin(codes, torch.tensor([0b010000101, 0b001101010, 0b111111111])), 4.0, -4.0)
        return torch.stack([logit, torch.zeros_like(logit)], 1)


def test_parts_that_suffice_only_alone_are_found_where_the_budget_allows_all_unions():
    classifier = bare_classifier()
    image = torch.ones(1, 1, 48, 48)
    found = MultiReX(classifier, fill=0.0, tiles=(16,))(image, target=0).extras[0]
    assert (found["count"], found["ran_out"]) == (2, False)
    assert sorted(found["pixels"]) == [3 * 256, 4 * 256]
    assert found["evaluations"]["total"] <= found["budget"] == 4000
    # by fewer evaluations the image is named
    few = MultiReX(classifier, fill=0.0, tiles=(16,), budget=500)(image, target=0).extras[0]
    assert (few["count"], few["ran_out"]) == (1, True)


def bare_classifier():
    with pytest.warns(UserWarning, match="one and the same answer"):
        return TargetClassifier(OneOfTwoAlone(), ["yes", "no"], image_shape=(1, 48, 48))
