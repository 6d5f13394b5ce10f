"""Responsibility, cuts, prefixes, minimal sets and separation against their definitions."""

import itertools
import random

import pytest
import torch

from explainers.multirex.candidates import Candidate
from explainers.multirex.disjoint_sets import dice_matrix, separate, without_supersets
from explainers.multirex.minimisation import minimise
from explainers.multirex.partition import Box, cut, disc, grid_centres, splits, tile_numbers
from explainers.multirex.prefixes import prefix
from explainers.multirex.responsibility import merged, responsibility_of_parts, shares_of_parts
from explainers.multirex.sufficiency import MaskScore, SufficiencyCriterion


def scored_by(sufficient):
    """Answer the requests of a search by a function from mask to bool; returns a runner that keeps the masks."""

    def run(steps):
        asked = []
        try:
            request = next(steps)
            while True:
                asked += list(request.masks)
                request = steps.send([score(sufficient(mask)) for mask in request.masks])
        except StopIteration as end:
            return end.value, asked

    return run


def score(holds: bool) -> MaskScore:
    return MaskScore(0.9 if holds else 0.1, 0.1 if holds else 0.9, 1, 0 if holds else 1, holds)


def by_definition(table, part, count):
    """1 / (1 + k) by enumeration of all witnesses W: suff(P - W) and not suff(P - W - i)."""
    others = [i for i in range(count) if i != part]
    for k in range(count):
        for hidden in itertools.combinations(others, k):
            shown = sum(1 << i for i in range(count) if i not in hidden)
            if table[shown] and not table[shown & ~(1 << part)]:
                return 1 / (1 + k)
    return 0.0


def test_responsibility_is_its_definition_for_any_table():
    numbers = random.Random(0)
    for _ in range(300):
        table = [numbers.random() < 0.5 for _ in range(16)]
        assert responsibility_of_parts(table) == [by_definition(table, part, 4) for part in range(4)]


def test_share_rule_divides_each_passing_subset_by_its_parts():
    table = [False] * 16
    table[0b0001] = table[0b0011] = table[0b1111] = True
    assert shares_of_parts(table) == [1.5, 0.5, 0.0, 0.0]


def test_maps_merge_to_mean_or_normalised_product():
    maps = [torch.tensor([[0.0, 1.0]]), torch.tensor([[1.0, 1.0]])]
    assert torch.equal(merged(maps, "mean"), torch.tensor([[0.5, 1.0]]))
    assert torch.equal(merged(maps, "multiplicative"), torch.tensor([[0.5, 1.0]]))


def test_cuts_partition_a_box_and_follow_from_seed_tree_and_path():
    for box in (Box(3, 20, 5, 9, "01"), Box(0, 1, 0, 7), Box(0, 2, 0, 1)):
        parts = cut(box, seed=1, tree=2)
        assert parts == cut(box, seed=1, tree=2)
        assert sum(part.area for part in parts) == box.area
        assert len(parts) == (4 if min(box.bottom - box.top, box.right - box.left) > 1 else 2)
        covered = torch.zeros(20, 9, dtype=torch.long)
        for part in parts:
            covered[part.top : part.bottom, part.left : part.right] += 1
        assert int(covered.max()) == 1
    assert cut(Box(0, 99, 0, 99), 0, 0) != cut(Box(0, 99, 0, 99), 0, 1)


def test_grids_and_splits_are_symmetric():
    for shift in (0.0, 0.5):
        centres = grid_centres((50, 70), 10, shift)
        mirrored = {(49 - row, 69 - column) for row, column in centres}
        assert mirrored == set(centres)
    assert torch.equal(disc((9, 9), (4, 4), 3), disc((9, 9), (4, 4), 3).flip(0, 1))
    assert all(0 < int(part.sum()) < part.numel() for part in splits((32, 32)))
    assert tile_numbers((5, 5), 2).unique().numel() == 9


def test_tie_of_the_best_classes_is_not_sufficient():
    criterion = SufficiencyCriterion(0, 0.3)
    assert criterion.sufficient(0.5, 0.4)
    assert not criterion.sufficient(0.5, 0.5)
    assert not criterion.sufficient(0.25, 0.1)
    assert criterion.is_close(0.5, 0.5 + 1e-6, 1e-5)
    assert not criterion.is_close(0.2, 0.9, 1e-5)
    assert not SufficiencyCriterion(0, 0.0).is_close(1e-7, 0.9, 1e-5)


def test_prefix_was_scored_and_is_short():
    ranking = -torch.arange(64 * 64, dtype=torch.float64).reshape(64, 64)
    everything = torch.ones(64, 64, dtype=torch.bool)
    found, asked = scored_by(lambda mask: int(mask.sum()) >= 700)(prefix(ranking, everything))
    assert 700 <= found.pixels <= 700 * (1 + 1 / 8)
    assert any(torch.equal(found.mask, mask) for mask in asked)
    assert bool(found.mask.flatten()[: found.pixels].all())
    assert len(asked) <= 20
    assert scored_by(lambda mask: False)(prefix(ranking, everything))[0] is None


@pytest.mark.parametrize("seed", range(5))
def test_minimal_mask_needs_every_tile_and_says_so(seed):
    numbers = random.Random(seed)
    # any function, not only monotone ones: a random table over what 16 tiles are seen
    table = {}
    tiles = tile_numbers((32, 32), 8)

    def sufficient(mask):
        key = tuple(torch.bincount(tiles[mask], minlength=16).tolist())
        return table.setdefault(key, numbers.random() < 0.4) if sum(key) < 1024 else True

    found = Candidate(torch.ones(32, 32, dtype=torch.bool), score(True))
    ranking = torch.rand(32, 32, generator=torch.Generator().manual_seed(seed))
    certified, _ = scored_by(sufficient)(minimise(found, 8, 0.0, ranking))
    assert certified
    assert sufficient(found.mask)
    assert found.certificate.levels == (8,)
    left_out = [found.mask & (tiles != tile) for tile in tiles[found.mask].unique()]
    assert found.certificate.tests == len(left_out)
    assert not any(sufficient(mask) for mask in left_out)


def test_minimising_ends_whatever_can_be_afforded():
    for least in range(1, 17):
        for affordable in range(0, 40, 3):
            found = Candidate(torch.ones(32, 32, dtype=torch.bool), score(True))
            steps = minimise(found, 8, 0.0, torch.ones(32, 32), lambda masks, most=affordable: masks <= most)
            certified, asked = scored_by(lambda mask, need=64 * least: int(mask.sum()) >= need)(steps)
            assert certified == bool(found.certificate.levels)
            assert len(asked) < 300


def test_dice_of_two_empty_masks_is_zero():
    masks = torch.zeros(3, 4, 4, dtype=torch.bool)
    masks[2, :2] = True
    assert dice_matrix(masks).tolist() == [[0, 0, 0], [0, 0, 0], [0, 0, 1]]


@pytest.mark.parametrize("shared", [0, 1, 2, 3, 5, 10])
def test_two_masks_may_overlap_by_exactly_as_much_as_is_permitted(shared):
    masks = torch.zeros(2, 1, 40, dtype=torch.bool)
    masks[0, 0, :10] = True
    masks[1, 0, 10 - shared : 20 - shared] = True
    dice = shared / 10
    assert separate(masks, [0.9, 0.9], dice).chosen == (0, 1)
    assert len(separate(masks, [0.9, 0.9], dice - 0.001).chosen) == 1


@pytest.mark.parametrize("overlap", [0.0, 0.1, 0.25, 0.5])
def test_separation_equals_brute_force(overlap):
    generator = torch.Generator().manual_seed(3)
    for count in (1, 3, 6, 9, 12):
        masks = torch.rand(count, 6, 6, generator=generator) < 0.12
        masks[:, 0, 0] |= ~masks.flatten(1).any(1)
        confidences = torch.rand(count, generator=generator).tolist()
        dice = dice_matrix(masks)
        best = max(
            (
                (len(places), -int(masks[list(places)].sum()))
                for size in range(1, count + 1)
                for places in itertools.combinations(range(count), size)
                if all(dice[a, b] <= overlap + 1e-12 for a, b in itertools.combinations(places, 2))
            ),
        )
        found = separate(masks, confidences, overlap)
        assert (len(found.chosen), -int(masks[list(found.chosen)].sum())) == best
        assert found.exact


def test_masks_that_contain_another_are_dropped_and_one_of_equals_stays():
    masks = torch.zeros(4, 1, 4, dtype=torch.bool)
    masks[0, 0, :2] = masks[1, 0, :3] = masks[2, 0, 3] = masks[3, 0, :2] = True
    assert without_supersets(masks).tolist() == [True, False, True, False]
