from __future__ import annotations

import pytest
import torch
from halves import halves, left_masks, positive_images, untrained_ncc
from tiny_classifiers import black_box, linear_classifier, random_images, small_network

from cae.errors import UserError
from cae.metrics.log_odds import log_odds
from explainers.caes import CausalScores, ClassStudy, ScoreSettings, causal_scores
from explainers.caes.ncc import NeuralCausation
from explainers.caes.score_terms import Head, do_effects, known_direction, logit_effects

QUICK = {"rolls": 2, "n_boot": 50, "n_perm": 49, "link_permutations": 2}


def test_a_feature_that_reads_only_the_object_has_context_ratio_zero():
    found = causal_scores(halves([1.0, 1.0]), positive_images(20), left_masks(20), 1, **QUICK)
    assert found.arrays["s_o"].tolist() == [1, 0]
    assert found.arrays["s_c"].tolist() == [0, 1]


def test_exchanging_object_and_context_exchanges_the_ratios():
    images, masks = positive_images(20), torch.rand(20, 1, 8, 8, generator=torch.Generator().manual_seed(1)) > 0.6
    classifier = halves([1.0, -2.0])
    one, other = (causal_scores(classifier, images, part, 1, **QUICK) for part in (masks, ~masks))
    assert torch.equal(one.arrays["s_o"], other.arrays["s_c"])
    assert torch.equal(one.arrays["s_c"], other.arrays["s_o"])
    for name in ("s_o", "necessity", "sufficiency", "flip_rate", "caes_do"):
        assert one[name].complement == pytest.approx(other[name].value, abs=1e-6)


def test_the_empty_mask_removes_nothing_and_the_full_mask_everything():
    found = causal_scores(halves([1.0, -2.0]), positive_images(20), left_masks(20), 1, **QUICK)
    assert (found["s_o"].empty, found["s_o"].full) == (0, 1)
    assert (found["s_c"].empty, found["s_c"].full) == (1, 0)
    assert found["necessity"].empty == 0
    assert found["flip_rate"].empty == 0
    assert found.arrays["s_o_norm"].tolist() == [1, 0]


def test_of_an_additive_classifier_necessity_and_sufficiency_are_the_sum_over_the_object():
    weight = torch.randn(1, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    classifier = linear_classifier(torch.cat([torch.zeros_like(weight), weight]))
    images, masks = positive_images(20), left_masks(20)
    found = causal_scores(classifier, images, masks, 1, **QUICK)
    expected = float((weight * images * masks).sum((1, 2, 3)).mean())
    assert found["necessity"].value == pytest.approx(expected, abs=1e-5)
    assert found["sufficiency"].value == pytest.approx(expected, abs=1e-5)
    assert found["necessity"].low <= expected <= found["necessity"].high


def test_effects_on_a_logit_add_up_and_a_weight_of_zero_has_none():
    features, changed = torch.rand(5, 4), torch.rand(5, 4)
    head = Head(torch.randn(3, 4), torch.randn(3))
    head.weight[1, 2] = 0
    effects = logit_effects(features, changed, head.weight[1])
    drop = head.logits(features)[:, 1] - head.logits(changed)[:, 1]
    assert torch.allclose(effects.sum(1), drop, atol=1e-6)
    assert (effects[:, 2] == 0).all()


@pytest.mark.parametrize("classes", [2, 3, 5])
def test_the_column_update_equals_a_full_computation(classes):
    features, changed = torch.rand(6, 4), torch.rand(6, 4)
    head = Head(torch.randn(classes, 4), torch.randn(classes))
    effects = do_effects(features, changed, head, 1)
    for feature in range(4):
        replaced = features.clone()
        replaced[:, feature] = changed[:, feature]
        drop = log_odds(head.logits(features), 1) - log_odds(head.logits(replaced), 1)
        assert torch.allclose(effects[:, feature], drop, atol=1e-5)


def test_the_interventional_score_of_two_features_equals_the_sum_by_hand():
    images, masks = positive_images(20), left_masks(20)
    found = causal_scores(halves([3.0, 2.0]), images, masks, 1, **QUICK)
    by_hand = 3 * images[..., :4].mean((1, 2, 3)).mean()  # removed: black; the other feature does not react
    assert found["caes_do"].value == pytest.approx(float(by_hand), abs=1e-5)
    assert found.arrays["do_effect"].tolist() == pytest.approx([float(by_hand), 0], abs=1e-6)


def test_a_class_that_stands_and_falls_with_the_object_flips_and_keeps():
    classifier = halves([1.0, 0.0], [0.05, 0.0])  # class 0 by the left half; without it both are 0, the first wins
    images = positive_images(20)
    found = causal_scores(classifier, images, left_masks(20), 0, **QUICK)
    assert (found["flip_rate"].value, found["keep_rate"].value) == (0, 1)
    other = halves([-1.0, 0.0], [1.0, 0.0])
    found = causal_scores(other, images, left_masks(20), 1, **QUICK)
    assert (found["flip_rate"].value, found["keep_rate"].value) == (1, 1)


def test_features_that_never_vary_are_dropped_and_counted():
    classifier = small_network()
    with torch.no_grad():
        classifier.network.hidden[0].weight[:3] = 0
        classifier.network.hidden[0].bias[:2] = -1  # zero after the ReLU
        classifier.network.hidden[0].bias[2] = 1  # one for every image
    images = random_images(50)
    masks = torch.zeros(50, 1, 32, 32)
    masks[..., 8:20, 8:20] = 1
    found = causal_scores(classifier, images, masks, 0, ncc=untrained_ncc(), **QUICK)
    assert found.facts["features_dropped"] >= 3
    assert not {0, 1, 2} & set(found.arrays["feature"].tolist())
    for row in found.terms:
        assert row.value is not None, row
    assert all(values.isfinite().all() for name, values in found.arrays.items() if name != "s_o_norm")


def test_too_few_images_are_refused_or_leave_terms_out_in_words():
    with pytest.raises(UserError, match="at least 20 images of a class, but there are 19"):
        causal_scores(halves([1.0, 1.0]), positive_images(19), left_masks(19), 1, **QUICK)
    found = causal_scores(halves([1.0, 1.0]), positive_images(49), left_masks(49), 1, ncc=untrained_ncc(), **QUICK)
    assert found["caes_obj"].value is None
    assert "49 images, fewer than 50" in found["caes_obj"].reason
    assert found["necessity"].value is not None


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda masks: masks[:, :, :4], "`masks` must be"),
        (lambda masks: masks * 0.5, "must hold 0 and 1 alone"),
        (lambda masks: masks & False, "20 of 20 masks are empty or cover the whole image"),
    ],
)
def test_masks_that_do_not_fit_are_refused_in_words(change, words):
    with pytest.raises(UserError, match=words):
        causal_scores(halves([1.0, 1.0]), positive_images(20), change(left_masks(20)), 1, **QUICK)


def test_a_black_box_is_scored_without_what_needs_a_head():
    masks = torch.zeros(20, 1, 32, 32)
    masks[..., :16] = 1
    found = causal_scores(black_box(), random_images(20), masks, 0, **QUICK)
    assert found["caes_do"].value is None
    assert "no linear head" in found["caes_do"].reason
    assert found["necessity"].value is not None


def test_images_masks_and_classifier_stay_as_they_are_and_the_seed_decides():
    classifier, images, masks = small_network(), random_images(50), torch.zeros(50, 1, 32, 32)
    masks[..., 8:20, 8:20] = 1
    copies, digest, state = (images.clone(), masks.clone()), classifier.fingerprint(), torch.get_rng_state()
    options = {**QUICK, "ncc": untrained_ncc(), "blobs": 1}
    first = causal_scores(classifier, images, masks, 0, batch_size=50, **options)
    again = causal_scores(classifier, images, masks, 0, batch_size=7, **options)
    assert torch.equal(images, copies[0])
    assert torch.equal(masks, copies[1])
    assert classifier.fingerprint() == digest
    assert torch.equal(torch.get_rng_state(), state)
    for one, other in zip(first.terms, again.terms, strict=True):
        assert one.value == pytest.approx(other.value, abs=1e-4)
        assert one.p_roll == other.p_roll


def test_every_control_costs_the_evaluations_that_it_is_said_to():
    classifier = halves([1.0, 1.0])
    before = classifier.evaluations
    causal_scores(classifier, positive_images(20), left_masks(20), 1, **{**QUICK, "rolls": 3}, blobs=2)
    trying_the_head = 2 * 20
    assert classifier.evaluations - before == trying_the_head + 2 * 20 + 2 * 20 * (1 + 3 + 2)


def test_the_same_masks_differ_by_nothing():
    images, masks = positive_images(20), left_masks(20)
    found = causal_scores(halves([1.0, 1.0]), images, masks, 1, other_masks=masks, **QUICK)
    for row in found.differences:
        assert (row.value, row.low, row.high, row.p_swap) == (0, 0, 0, 1)


def test_masks_of_the_evidence_beat_masks_of_the_rest():
    images, masks = positive_images(30), left_masks(30)
    found = causal_scores(halves([1.0, 0.0]), images, masks, 1, other_masks=~masks, **{**QUICK, "n_perm": 999})
    assert found.difference("necessity").low > 0
    assert found.difference("necessity").p_swap == pytest.approx(1e-3)


def test_anticausal_scores_order_what_is_read_from_them():
    images, masks = positive_images(60), left_masks(60)
    found = causal_scores(halves([1.0, 0.5]), images, masks, 1, ncc=untrained_ncc(), **QUICK)
    a, s_o = found.arrays["anticausal"], found.arrays["s_o"]
    assert found["caes_obj"].value == pytest.approx(1 - float(a[0]), abs=1e-6)
    assert found["caes_lp"].value == pytest.approx(float(s_o[a.argmax()] - s_o[a.argmin()]), abs=1e-6)
    assert found["caes_rank"].value == pytest.approx(1.0 if a[0] > a[1] else -1.0)
    assert found["caes_obj"].conditional
    assert not found["necessity"].conditional
    assert 0 < found["caes_obj"].p_link <= 1


def test_intervals_can_include_the_coefficients():
    images, masks = positive_images(60), left_masks(60)
    options = {**QUICK, "ncc": untrained_ncc(1), "boot_ncc": True, "n_boot": 10}
    found = causal_scores(halves([1.0, 0.5]), images, masks, 1, **options)
    assert not found["caes_obj"].conditional
    assert found["caes_obj"].low < found["caes_obj"].high


def test_resamples_keep_groups_together_and_draw_as_many_as_there_are():
    images, groups = positive_images(24), [7] * 10 + [2] * 10 + [9] * 4
    settings = ScoreSettings(n_boot=50)
    counts = ClassStudy(halves([1.0, 1.0]), images, 1, settings).resamples
    assert (counts.sum(1) == 24).all()
    grouped = ClassStudy(halves([1.0, 1.0]), images, 1, settings, groups=groups).resamples
    assert torch.equal(grouped[:, 0], grouped[:, 9])
    assert torch.equal(grouped[:, 10], grouped[:, 19])
    assert (grouped[:, [0, 10, 20]].sum(1) == 3).all()


def test_the_known_direction_counts_influential_features_that_are_called_causes():
    features = torch.eye(4).repeat(5, 1)
    contrast = torch.tensor([4.0, -3.0, 0.1, 0.2])
    assert known_direction(features, torch.tensor([0.2, 0.9, 0.9, 0.9]), contrast) == 0.5


def test_disagreeing_networks_are_flagged():
    agreeing, opposed = untrained_ncc(1).networks[0], untrained_ncc(1).networks[0]
    opposed.classify[-1].weight.data *= -1
    masks = torch.zeros(50, 1, 32, 32)
    masks[..., :9, :9] = 1
    classifier, images = small_network(), random_images(50)
    one, other = (
        causal_scores(classifier, images, masks, 0, ncc=NeuralCausation([agreeing, second]), **QUICK)
        for second in (agreeing, opposed)
    )
    assert one.facts["ncc_agreement"] == pytest.approx(1)
    assert one.facts["flags"] == []
    assert other.facts["ncc_agreement"] == pytest.approx(-1, abs=0.01)  # near ties change places by rounding
    assert "unstable" in other.facts["flags"][0]


def test_the_file_and_the_table_hold_every_term(tmp_path):
    found = causal_scores(
        halves([1.0, 1.0]), positive_images(20), left_masks(20), 1, other_masks=~left_masks(20), **QUICK
    )
    found.save(tmp_path / "scores.safetensors")
    read = CausalScores.load(tmp_path / "scores.safetensors")
    assert read.terms == found.terms
    assert read.differences == found.differences
    assert torch.equal(read.arrays["s_o"], found.arrays["s_o"])
    assert "not public" in read.statement
    frame = found.to_frame()
    assert len(frame) == len(found.terms)
    assert "difference_p_swap" in frame.columns
