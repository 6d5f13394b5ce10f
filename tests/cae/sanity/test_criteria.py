"""The mathematics of the sanity tests, on maps and swaps whose answers are known."""

from __future__ import annotations

import math

import pytest
import torch

from cae.sanity.criteria import (
    Estimate,
    box_energy,
    box_share,
    disagreeing_pairs,
    edits_marker,
    estimate,
    flips_by_chance,
    follows_classifier,
    goes_by_marker,
    leaves_marker,
    map_correlations,
    maps_differ,
    shared_targets,
)


def between(low: float, high: float) -> Estimate:
    return Estimate((low + high) / 2, low, high, 10)


def test_maps_of_the_same_order_correlate_perfectly_and_with_a_constant_one_it_is_undefined():
    one = torch.arange(12.0).view(3, 4)
    assert map_correlations(one, one.exp())[1] == pytest.approx(1)
    assert map_correlations(one, -one) == pytest.approx((-1, -1))
    assert all(math.isnan(value) for value in map_correlations(one, torch.zeros(3, 4)))


def test_an_estimate_leaves_out_what_is_undefined_and_does_not_count_it():
    values, groups = [1.0, math.nan, 3.0], ["a", "b", "c"]
    assert estimate(values, groups) == estimate([1.0, 3.0], ["a", "c"])
    assert estimate(values, groups).count == 2
    assert estimate([math.nan], ["a"]).count == 0


def test_a_box_has_the_energy_inside_and_a_flat_map_that_of_its_area():
    box = (1, 0, 3, 2)
    assert box_share(box, 4, 5) == 0.2
    assert box_energy(torch.ones(4, 5), box) == pytest.approx(0.2)
    inside = torch.zeros(4, 5)
    inside[1:3, 0:2] = 3.0
    assert box_energy(inside, box) == 1
    inside[0, 0] = 4.0
    assert box_energy(inside, box) == 0.75
    assert box_energy(torch.zeros(4, 5), box) == 0


def test_a_shared_target_is_the_likeliest_class_that_neither_classifier_sees():
    probabilities = torch.tensor([[0.6, 0.3, 0.1], [0.6, 0.3, 0.1], [0.6, 0.3, 0.1], [0.1, 0.2, 0.7]])
    assert shared_targets(probabilities, torch.tensor([0, 1, 2, 2])).tolist() == [1, 2, 1, 1]


def test_two_classes_share_no_target_where_predictions_differ():
    probabilities = torch.tensor([[0.9, 0.1], [0.9, 0.1], [1.0, 0.0]])
    assert shared_targets(probabilities, torch.tensor([0, 1, 0])).tolist() == [1, -1, 1]


def test_pairs_differ_in_prediction_and_label_and_donors_between_the_two():
    predictions, labels = torch.tensor([0, 1, 0, 1]), torch.tensor([0, 0, 1, 1])
    recipients, donors = disagreeing_pairs(predictions, labels, 100, seed=0)
    assert sorted(zip(recipients.tolist(), donors.tolist(), strict=True)) == [(1, 2), (2, 1)]
    assert len(disagreeing_pairs(predictions, labels, 1, seed=0)[0]) == 1
    assert len(disagreeing_pairs(labels, labels, 9, seed=0)[0]) == 0


def test_pairs_are_drawn_without_repetition_and_by_seed():
    predictions = torch.arange(40) % 2
    labels = torch.arange(40) // 2 % 2
    recipients, donors = disagreeing_pairs(predictions, labels, 50, seed=3)
    assert len(set(zip(recipients.tolist(), donors.tolist(), strict=True))) == 50
    assert torch.equal(recipients, disagreeing_pairs(predictions, labels, 50, seed=3)[0])
    assert not torch.equal(recipients, disagreeing_pairs(predictions, labels, 50, seed=4)[0])


def test_an_estimate_is_a_mean_with_an_interval_over_groups():
    found = estimate([0.0, 1.0] * 20, [str(i) for i in range(40)])
    assert (found.value, found.count) == (0.5, 40)
    assert 0.3 < found.low < 0.5 < found.high < 0.7
    assert str(Estimate(0.5, 0.25, 1, 3)) == "0.500 [0.250, 1.000]"
    # one image ten times is one image
    assert estimate([1.0] * 5 + [0.0] * 5, ["a"] * 5 + ["b"] * 5).low == 0
    empty = estimate([], [])
    assert empty.count == 0
    assert math.isnan(empty.value)


@pytest.mark.parametrize(("other", "seeds", "passed"), [
    (between(0.1, 0.3), between(0.4, 0.6), True),
    (between(0.1, 0.4), between(0.4, 0.6), False),
    (between(0.7, 0.8), between(0.4, 0.6), False),
    (estimate([], []), between(0.4, 0.6), False),
])  # fmt: skip
def test_maps_differ_where_the_intervals_lie_apart_on_the_right_side(other, seeds, passed):
    assert maps_differ(other, seeds) is passed


def test_an_excess_is_chance_until_its_interval_lies_above_zero():
    assert flips_by_chance(between(-0.1, 0.3))
    assert flips_by_chance(between(-0.3, -0.1))
    assert not flips_by_chance(between(0.01, 0.3))


def test_thresholds_are_those_of_the_specification():
    assert goes_by_marker(0.59)
    assert not goes_by_marker(0.6)
    assert edits_marker(0.5, 0.1)
    assert not edits_marker(0.49, 0.01)
    assert not edits_marker(0.55, 0.12)
    assert leaves_marker(0.02, 0.01)
    assert not leaves_marker(0.021, 0.01)
    assert follows_classifier(0.9, 0.4)
    assert not follows_classifier(0.89, 0.0)
    assert not follows_classifier(0.95, 0.46)


def test_linear_correlation_of_maps():
    one = torch.zeros(4, 4)
    one[1, 1] = 1
    assert map_correlations(one, 3 * one + 2)[0] == pytest.approx(1)
    assert map_correlations(one, -one)[0] == pytest.approx(-1)
    assert map_correlations(one, one.roll(1, 0))[0] == pytest.approx(-1 / 15)  # two single pixels of sixteen
