"""Each term of the causal scores against values computed by hand, on more features than count as the top."""

from __future__ import annotations

import math

import pytest
import torch

from explainers.caes.causation import Causation
from explainers.caes.score_terms import (
    Head,
    Responses,
    averages,
    causation_terms,
    contributions,
    do_effects,
    feature_ratios,
    interventional_score,
    known_direction,
    score_terms,
    top_count,
)
from explainers.caes.significance import drawn_terms, feature_test, link_test, p_values, roll_test, swap_test

S_O = torch.tensor([[0.1, 0.9, 0.3, 0.7, 0.5]])
S_C = torch.tensor([[0.8, 0.2, 0.4, 0.6, 1.0]])
A = torch.tensor([[0.6, 0.2, 0.9, 0.1, 0.5]])  # most anticausal: 2 and 0; most causal: 3 and 1


def test_the_top_is_a_rounded_share_of_the_features_and_never_empty():
    assert [top_count(number, 0.01) for number in (1, 40, 149, 151, 250)] == [1, 1, 1, 2, 2]
    assert top_count(5, 0.4) == 2
    assert top_count(3, 1.0) == top_count(3, 7.0) == 3


def test_the_interventional_score_is_the_mean_effect_of_the_top_minus_that_of_the_others():
    do = torch.tensor([[1.0, 2.0, 4.0, 8.0, 16.0], [0.0, 1.0, 0.0, 0.0, 3.0]])
    found = interventional_score(do, S_O.expand(2, -1), 0.4)  # the top: features 1 and 3
    assert found.tolist() == pytest.approx([(2 + 8) / 2 - (1 + 4 + 16) / 3, 1 / 2 - 3 / 3])
    assert interventional_score(do[:1], S_O, 1.0).tolist() == pytest.approx([31 / 5])  # no others


def test_the_terms_of_the_coefficient_are_read_from_its_most_and_least_anticausal_features():
    found = causation_terms(A, S_O, S_C, 0.4)
    assert found["caes_obj"].item() == pytest.approx(1 - (0.2 + 0.1) / 2)
    assert found["caes_lp"].item() == pytest.approx((0.3 + 0.1) / 2 - (0.7 + 0.9) / 2)
    assert found["caes_lp_context"].item() == pytest.approx((0.4 + 0.8) / 2 - (0.6 + 0.2) / 2)
    # places 3 1 4 0 2 of a against 0 4 1 3 2 of s_o: 1 - 6 (9 + 9 + 9 + 9) / (5 * 24)
    assert found["caes_rank"].item() == pytest.approx(1 - 6 * 36 / 120)


def test_ratios_are_of_what_a_feature_reacts_to_what_it_is():
    means = {
        "object": torch.tensor([[1.0, 3.0]]),
        "context": torch.tensor([[2.0, 0.5]]),
        "scale": torch.tensor([[4.0, 2.0]]),
    }
    s_o, s_c = feature_ratios(means)
    assert s_o.tolist() == [[0.25, 1.5]]
    assert s_c.tolist() == [[0.5, 0.25]]


def responses(features, evidence, predictions) -> Responses:
    return Responses(torch.tensor(features), torch.tensor(evidence), torch.tensor(predictions))


BASE = responses([[2.0, -4.0], [1.0, 1.0]], [3.0, 1.0], [1, 0])
REMOVED = responses([[1.5, -4.0], [1.0, -1.0]], [1.0, 2.0], [1, 1])
ALONE = responses([[2.0, -1.0], [0.0, 1.0]], [2.5, 0.5], [0, 0])


def test_every_contribution_is_of_its_image():
    head = Head(torch.tensor([[0.0, 0.0], [1.0, 2.0]]), torch.zeros(2))
    each = contributions(BASE, REMOVED, ALONE, torch.tensor([0.5, -0.5]), head, 1)
    assert {name: values.tolist() for name, values in each.items()} == {
        "object": [[0.5, 0.0], [0.0, 2.0]],
        "context": [[0.0, 3.0], [1.0, 0.0]],
        "scale": [[2.0, 4.0], [1.0, 1.0]],
        "necessity": [[2.0], [-1.0]],
        "sufficiency": [[2.0], [1.0]],
        "flip": [[0.0], [1.0]],
        "keep": [[0.0], [1.0]],
        "do": [[0.5, 0.0], [0.0, 4.0]],
    }


def test_every_term_is_of_its_average():
    each = contributions(BASE, REMOVED, ALONE, torch.tensor([0.5, -0.5]), None, 1) | {
        "gain": torch.tensor([[1.0], [0.5]])
    }
    found = score_terms(averages(each), None, 0.5)
    assert {name: values.item() for name, values in found.items()} == pytest.approx({
        "necessity": 0.5, "sufficiency": 1.5, "flip_rate": 0.5, "keep_rate": 0.5, "necessity_gain": 0.75,
        "s_o": (0.25 / 1.5 + 1.0 / 2.5) / 2, "s_c": (0.5 / 1.5 + 1.5 / 2.5) / 2,
    })  # fmt: skip
    twice_the_first = averages(each, torch.tensor([[2.0, 1.0]]))
    assert twice_the_first["necessity"].tolist() == [[1.0]]
    assert twice_the_first["gain"].item() == pytest.approx(2.5 / 3)


def test_a_feature_without_a_coefficient_counts_in_no_term_of_it():
    means = {"object": S_O, "context": S_C, "scale": torch.ones(1, 5), "necessity": torch.ones(1, 1),
             "sufficiency": torch.ones(1, 1), "flip": torch.ones(1, 1), "keep": torch.ones(1, 1)}  # fmt: skip
    a = torch.tensor([0.6, math.nan, 0.9, 0.1, 0.5])
    found = score_terms(means, a, 0.25)
    assert found["caes_obj"].item() == pytest.approx(1 - 0.1)  # feature 3, as 1 has none
    assert found["caes_lp"].item() == pytest.approx(0.3 - 0.7)
    assert found["s_o"].item() == pytest.approx(0.5)


def test_contrast_is_against_the_mean_of_the_other_classes():
    head = Head(torch.tensor([[1.0, 0.0], [4.0, 2.0], [3.0, 6.0]]), torch.zeros(3))
    assert head.contrast(1).tolist() == [2.0, -1.0]
    assert head.logits(torch.tensor([[1.0, 2.0]])).tolist() == [[1.0, 8.0, 15.0]]


def test_column_updates_do_not_depend_on_how_many_are_made_at_once(monkeypatch):
    generator = torch.Generator().manual_seed(0)
    features, changed = torch.rand(7, 3, generator=generator), torch.rand(7, 3, generator=generator)
    head = Head(torch.randn(4, 3, generator=generator), torch.randn(4, generator=generator))
    together = do_effects(features, changed, head, 2)
    monkeypatch.setattr("explainers.caes.score_terms.LOGITS_AT_ONCE", 2 * 3 * 4)
    torch.testing.assert_close(do_effects(features, changed, head, 2), together)


def test_features_are_influential_by_weight_times_deviation_above_the_median():
    features = torch.tensor([[0.0, 0.0, 0.0, 0.0], [1.0, 10.0, 2.0, 4.0]])
    contrast = torch.tensor([-8.0, 0.1, 3.0, 0.25])  # influence 8, 1, 6, 1, times a constant
    assert known_direction(features, torch.tensor([0.4, 0.9, 0.6, 0.9]), contrast) == 0.5
    assert known_direction(features, torch.tensor([0.4, 0.9, math.nan, 0.9]), contrast) == 1.0


# --- permutation tests


def version(necessity: list[float], **more: list[float]) -> dict[str, torch.Tensor]:
    count = len(necessity)
    plain = {name: torch.ones(count, 1) for name in ("object", "context", "scale", "sufficiency", "flip", "keep")}
    return {**plain, "necessity": torch.tensor(necessity)[:, None]} | {
        k: torch.tensor(v)[:, None] for k, v in more.items()
    }


def test_drawn_terms_average_the_version_that_was_picked_for_each_image(monkeypatch):
    versions = [version([1.0, 2.0, 4.0], gain=[0.0] * 3), version([10.0, 20.0, 40.0])]
    choice = torch.tensor([[0, 0, 0], [1, 1, 1], [0, 1, 0]])
    expected = [7 / 3, 70 / 3, 25 / 3]
    assert drawn_terms(versions, choice, None, 0.1)["necessity"].tolist() == pytest.approx(expected)
    monkeypatch.setattr("explainers.caes.significance.DRAWS_AT_ONCE", 2)
    found = drawn_terms(versions, choice, None, 0.1)
    assert found["necessity"].tolist() == pytest.approx(expected)
    assert "necessity_gain" not in found  # which not every version has


def test_p_values_count_the_draws_that_are_as_large():
    observed, null = {"a": torch.tensor([2.0])}, {"a": torch.tensor([-3.0, 1.0, 2.0, 0.0])}
    assert p_values(observed, null, ["a"]) == {"a": pytest.approx(2 / 5)}
    assert p_values(observed, null, ["a"], two_sided=True) == {"a": pytest.approx(3 / 5)}


def test_masks_at_the_best_place_of_all_images_are_told_from_displaced_ones():
    versions = [version([1.0] * 8), version([0.0] * 8), version([0.0] * 8)]
    observed = score_terms(averages(versions[0]), None, 0.1)
    found = roll_test(versions, observed, None, 0.1, 999, torch.Generator().manual_seed(0))
    assert found["necessity"] == pytest.approx(1e-3)  # one draw in 3^8 picks the first everywhere
    assert found["sufficiency"] == 1.0


def test_exchanged_masks_test_the_difference_on_both_sides():
    one, other = version([0.0] * 10), version([1.0] * 10)
    for pair in ((one, other), (other, one)):
        found = swap_test(*pair, None, 0.1, 999, torch.Generator().manual_seed(0))
        assert found["necessity"] <= 0.01
        assert found["sufficiency"] == 1.0


def test_coefficients_of_permuted_evidence_test_the_terms_made_of_them():
    means = {**averages(version([1.0, 2.0])), "object": S_O, "context": S_C, "scale": torch.ones(1, 5)}
    generator = torch.Generator().manual_seed(0)
    null = torch.rand(99, 5, generator=generator)
    causation = Causation(A[0], torch.zeros(5), 1.0, link_observed=A[0], link_null=null)
    found = link_test(means, causation, 0.4)
    assert set(found) == {"caes_obj", "caes_rank", "caes_lp", "caes_lp_context"}
    beyond = (score_terms(means, null, 0.4)["caes_obj"] >= 0.85 - 1e-6).sum().item()
    assert found["caes_obj"] == pytest.approx((1 + beyond) / 100)


def test_coefficients_that_order_the_features_as_the_object_does_are_told_from_permuted_ones():
    means = {**averages(version([1.0, 2.0])), "object": S_O, "context": S_C, "scale": torch.ones(1, 5)}
    in_order = score_terms(means, S_O[0], 0.4)
    found = feature_test(means, in_order, S_O[0], 0.4, 999, torch.Generator().manual_seed(0))
    assert set(found) == {"caes_rank"}
    assert found["caes_rank"] == pytest.approx(1 / 120, abs=0.01)  # one order of five features in 120
    gap = torch.tensor([0.1, 0.9, math.nan, 0.7, 0.5])
    assert feature_test(means, score_terms(means, gap, 0.4), gap, 0.4, 9, torch.Generator().manual_seed(0)) == {}
