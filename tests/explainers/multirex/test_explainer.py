"""MultiReX on classifiers whose explanations are known exactly."""

import itertools

import pytest
import torch
from patch_classifiers import (
    CORNERS,
    FIVE,
    SEEN,
    SIDE,
    THREE,
    always,
    cells_classifier,
    distractor,
    either,
    every,
    never,
    odd,
    patches,
    second,
    whole,
)
from tiny_classifiers import LinearHead, random_images, small_network
from torch import Tensor, nn

from cae.classifiers import TargetClassifier
from cae.errors import UserError
from explainers import get_explainer
from explainers.multirex import MultiReX, PublishedMultiReX, multirex_figure, select, table_rows, write_cut_outs

EXACT = {"fill": 0.0, "threshold": 0.0, "tiles": (16, 8, 4, 2), "budget": 1500}


def explained(corners, rule, **options):
    found = MultiReX(patches(corners, rule), **{**EXACT, **options})(torch.ones(1, 1, SIDE, SIDE), target=0)
    return found, found.extras[0]


@pytest.mark.parametrize(
    ("corners", "rule", "count", "optimum"),
    [
        ([(20, 30)], either, 1, SEEN),
        (THREE, either, 3, SEEN),
        (FIVE, either, 5, SEEN),
        (THREE, every, 1, 3 * SEEN),
        (FIVE, every, 1, 5 * SEEN),
        (CORNERS, second, 2, 2 * SEEN),
        (THREE, odd, 3, SEEN),
        (THREE, distractor, 1, SEEN),
    ],
    ids=["or-1", "or-3", "or-5", "and-3", "and-5", "two-of-four", "parity", "distractor"],
)
def test_all_explanations_are_found_and_near_the_smallest(corners, rule, count, optimum):
    found, extras = explained(corners, rule)
    assert extras["status"] == "ok"
    assert extras["count"] == count
    assert max(extras["pixels"]) <= 1.3 * optimum
    assert int(extras["masks"].sum(0).max()) == 1
    # each mask again, alone, by the bare classifier
    classifier = patches(corners, rule)
    for mask in extras["masks"]:
        assert int(classifier.probabilities(mask[None, None].float()).argmax()) == 0
    assert extras["evaluations"]["total"] == int(found.evaluations[0]) <= 1500


def test_default_budget_finds_them_too():
    for corners, rule, count in [(FIVE, either, 5), (THREE, every, 1)]:
        extras = explained(corners, rule, budget=500, tiles=None)[1]
        assert extras["count"] == count
        assert all(certificate["finest"] for certificate in extras["certificates"])


def test_by_default_only_an_image_with_few_explanations_gets_more_evaluations(monkeypatch):
    monkeypatch.setattr("explainers.multirex.explainer.FIRST", 200)
    monkeypatch.setattr("explainers.multirex.explainer.FURTHER", 900)
    plenty = explained(FIVE, either, budget=None)
    assert int(plenty[0].evaluations[0]) <= 200
    assert (plenty[1]["budget"], plenty[1]["ran_out"]) == (200, False)
    assert plenty[1]["count"] >= 2
    found, more = explained(FIVE, either, budget=None, enough=5)
    assert 200 < int(found.evaluations[0]) <= more["budget"] == 900
    assert (more["count"], more["ran_out"]) == (5, False)
    assert_certified(patches(FIVE, either), more)
    # a budget that is given is kept
    assert explained(FIVE, either, budget=200, enough=5)[1]["budget"] == 200


def test_images_whose_budget_ended_with_few_explanations_are_named():
    few = explained(THREE, every, budget=300, tiles=(4, 2))[0]
    assert few.extras[0]["ran_out"]
    assert [row["ran_out"] for row in table_rows(few, ["a"], ("target", "other"))] == [True]
    assert not explained(THREE, every, budget=300, tiles=(4, 2), enough=1)[1]["ran_out"]
    assert not explained(THREE, always)[1]["ran_out"]


def test_certificates_hold_tile_by_tile():
    extras = explained(THREE, every)[1]
    classifier = patches(THREE, every)
    for mask, certificate in zip(extras["masks"], extras["certificates"], strict=True):
        assert certificate["finest"] is not None
        for side in certificate["levels"]:
            tile = torch.arange(SIDE) // side
            numbers = tile[:, None] * SIDE + tile
            for number in numbers[mask].unique():
                without = (mask & (numbers != number))[None, None].float()
                assert int(classifier.probabilities(without).argmax()) == 1


def assert_certified(classifier, extras):
    """Every level of every certificate holds, by trying all its tiles again; only status ``budget`` may lack one."""
    assert extras["status"] == "ok" or (extras["status"], extras["count"]) == ("budget", 1)
    for mask, certificate in zip(extras["masks"], extras["certificates"], strict=True):
        assert certificate["levels"] or extras["status"] == "budget"
        for side in certificate["levels"]:
            rows, columns = (torch.arange(length) // side for length in mask.shape)
            numbers = rows[:, None] * mask.shape[1] + columns
            left_out = torch.stack([mask & (numbers != number) for number in numbers[mask].unique()])
            assert bool((classifier.probabilities(left_out[:, None].float()).argmax(1) == 1).all())


@pytest.mark.parametrize("budget", [3, 20, 80, 120, 160, 250, 500])
def test_every_explanation_is_certified_at_any_budget_or_the_status_says_no(budget):
    generator = torch.Generator().manual_seed(5)
    table = torch.rand(65536, generator=generator) < 0.15  # not monotone
    table[0], table[-1] = False, True
    classifiers = [patches(*case) for case in ((FIVE, either), (FIVE, every), (THREE, odd), (CORNERS, second))]
    for classifier in [*classifiers, cells_classifier(table)]:
        image = torch.ones(1, *classifier.image_shape)
        found = MultiReX(classifier, fill=0.0, threshold=0.0, budget=budget)(image, target=0)
        assert_certified(classifier, found.extras[0])
        assert int(found.evaluations[0]) <= budget


def test_constant_classifier_has_no_explanation_and_ends_at_once():
    found, extras = explained(THREE, always)
    assert (extras["status"], extras["count"]) == ("background_sufficient", 0)
    assert int(found.evaluations[0]) <= 3
    assert extras["masks"].shape == (0, SIDE, SIDE)


def test_classifier_that_needs_every_pixel_gives_the_full_image_certified():
    extras = explained(THREE, whole, budget=500, tiles=None)[1]
    assert extras["pixels"] == [SIDE * SIDE]
    assert extras["certificates"][0]["finest"] <= 16


def test_class_that_is_never_predicted_has_no_explanation():
    extras = explained(THREE, never)[1]
    assert (extras["status"], extras["count"]) == ("target_not_top1", 0)


@pytest.mark.parametrize("budget", [1, 2, 10, 50, 500])
@pytest.mark.parametrize("method", ["multirex", "multirex_published"])
def test_budget_is_never_exceeded_and_what_is_returned_is_verified(budget, method):
    classifier = patches(FIVE, either)
    before = classifier.evaluations
    explainer = get_explainer(method, classifier, budget=budget, fill=0.0)
    found = explainer(torch.ones(1, 1, SIDE, SIDE), target=0)
    assert classifier.evaluations - before == int(found.evaluations[0]) <= budget
    for mask in found.extras[0]["masks"]:
        assert int(classifier.probabilities(mask[None, None].float()).argmax()) == 0


@pytest.mark.parametrize("batch_size", [1, 7])
def test_batch_size_and_company_change_nothing(batch_size):
    classifier = patches(FIVE, either)
    images = torch.stack([torch.ones(1, SIDE, SIDE), torch.ones(1, SIDE, SIDE).index_fill(1, torch.arange(40), 0.0)])
    options = {"fill": 0.0, "threshold": 0.0, "budget": 200}
    first = MultiReX(classifier, **options)(images, target=0)
    again = MultiReX(classifier, batch_size=batch_size, **options)(images.flip(0), target=0)
    for one, other in zip(first.extras, reversed(again.extras), strict=True):
        assert torch.equal(one["masks"], other["masks"])
        assert one["evaluations"] == other["evaluations"]
    assert torch.equal(first.attribution, again.attribution.flip(0))


def test_flipped_image_has_flipped_explanations():
    generator = torch.Generator().manual_seed(1)
    weight = torch.rand(SIDE, SIDE, generator=generator)
    bright = nn.functional.avg_pool2d(weight[None, None], 33, 1, 16)[0, 0]
    image = ((bright - bright.min()) / (bright.max() - bright.min()))[None, None]
    classifier = TargetClassifier(Brightness(), ["yes", "no"], image_shape=(1, SIDE, SIDE))
    options = {"fill": 0.0, "threshold": 0.0, "tiles": (16,)}
    one = MultiReX(classifier, **options)(image, target=0).extras[0]
    other = MultiReX(classifier, **options)(image.flip(3), target=0).extras[0]
    assert one["count"] == other["count"] > 0
    flipped = other["masks"].flip(2)
    for mask in one["masks"]:
        best = max(2 * int((mask & twin).sum()) / int(mask.sum() + twin.sum()) for twin in flipped)
        assert best >= 0.95


class Brightness(nn.Module):
    """Passes where enough light is shown, wherever it is: invariant under flips."""

    def forward(self, images: Tensor) -> Tensor:
        logit = (images.double().square().sum((1, 2, 3)) - 500) / 50
        return torch.stack([logit, torch.zeros_like(logit)], 1)


def test_responsibility_ranking_favours_what_decides():
    classifier = patches([(20, 30)], either)
    explainer = MultiReX(classifier, ranking="trees", trees=4, budget=1500, fill=0.0, threshold=0.0)
    found = explainer(torch.ones(1, 1, SIDE, SIDE), target=0)
    assert found.extras[0]["map"] == "responsibility"
    inside = found.attribution[0, 0, 20:36, 30:46].mean()
    assert inside > 3 * found.attribution.mean()


def test_contrastive_set_suffices_and_its_hiding_changes_the_class():
    for corners, rule in ((THREE, either), (THREE, every)):
        extras = explained(corners, rule, contrastive=True, budget=2500)[1]
        contrast = extras["contrastive"]
        assert contrast["status"] == "found"
        shown = torch.stack([contrast["mask"], ~contrast["mask"]])[:, None].float()
        assert patches(corners, rule).probabilities(shown).argmax(1).tolist() == [0, 1]
        assert contrast["complement_class"] == 1
        assert contrast["finest"] is not None


def test_curve_reaches_shares_of_the_probability_with_rising_sizes():
    extras = explained(THREE, either, curve=True, budget=1500)[1]
    for steps in extras["curve"]:
        assert steps[-1]["relative_confidence"] == 1.0
        sizes = [step["pixels"] for step in steps]
        assert sizes == sorted(sizes)
    front = extras["front"]
    assert all(a[0] <= b[0] and a[1] < b[1] for a, b in itertools.pairwise(front))


def test_stricter_threshold_asks_for_more_of_the_probability():
    classifier = TargetClassifier(Brightness(), ["yes", "no"], image_shape=(1, SIDE, SIDE))
    image = torch.full((1, 1, SIDE, SIDE), 0.2)
    loose, strict = (
        MultiReX(classifier, fill=0.0, threshold=value)(image, target=0).extras[0] for value in (0.0, 0.99)
    )
    assert min(strict["relative_confidences"]) >= 0.99
    assert strict["pixels"][0] >= loose["pixels"][0]
    absolute = MultiReX(classifier, fill=0.0, absolute_threshold=0.9)(image, target=0).extras[0]
    assert min(absolute["confidences"]) >= 0.9


def test_overlap_is_chosen_afterwards_without_evaluations():
    extras = explained(THREE, every)[1]
    for overlap in (0.0, 0.25, 1.0):
        masks = select(extras, overlap)
        assert len(masks) >= extras["count"]
    assert len(select(extras, 1.0)) == len(extras["candidates"])


def test_fills_and_their_mistakes():
    classifier = small_network(3)
    image = random_images(1, 3)
    fills = ["mean", "image_mean", "blur", "noise", "min", "masked_blur", 0.25, [0.1, 0.2, 0.3], image[0].flip(2)]
    for fill in [*fills, lambda shown: shown.flip(1), "0.25"]:
        assert MultiReX(classifier, fill=fill, budget=30)(image).attribution.isfinite().all()
    several = MultiReX(classifier, fill=["mean", "blur", 0.0], quorum=2, budget=90)(image)
    assert int(several.evaluations[0]) <= 200
    for fill, words in (("grey", "did you mean 'gray'"), (2.0, "must be in"), (torch.zeros(3, 5, 5), "like the image")):
        with pytest.raises(UserError, match=words):
            MultiReX(classifier, fill=fill)(image)


def test_mean_fill_is_zero_after_normalisation():
    weight = torch.zeros(2, 1, 8, 8)
    classifier = TargetClassifier(LinearHead(weight), ["a", "b"], image_shape=(1, 8, 8), mean=(0.3,), std=(0.5,))
    seen = []
    classifier.network.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].clone()))
    MultiReX(classifier, budget=3)(torch.ones(1, 1, 8, 8), target=0)
    assert float(seen[-1].abs().max()) < 1e-6


def test_mistakes_in_options_are_told_together():
    with pytest.raises(UserError) as caught:
        MultiReX(small_network(), threshold=-1, overlap=2, ranking="random", budget=0)
    assert len(caught.value.problems) == 4


def test_the_published_steps_find_explanations():
    classifier = patches([(20, 30)], either)
    explainer = PublishedMultiReX(classifier, fill=0.0, spotlights=3, iterations=6, budget=3000)
    found = explainer(torch.ones(1, 1, SIDE, SIDE), target=0)
    extras = found.extras[0]
    assert extras["count"] >= 1
    assert extras["certificates"][0]["finest"] is None
    assert extras["pixels"][0] % explainer.chunk == 0
    row, column = divmod(int(found.attribution[0, 0].argmax()), SIDE)
    assert 20 <= row < 36
    assert 30 <= column < 46


def test_figure_rows_and_cut_outs_show_every_explanation(tmp_path):
    from PIL import Image

    image = torch.ones(1, 1, SIDE, SIDE)
    found, extras = explained(THREE, either)
    multirex_figure(image[0], found, ["yes", "no"], "three patches", tmp_path / "figure.png")
    assert Image.open(tmp_path / "figure.png").width > 5 * 160
    rows = table_rows(found, ["one"], ["yes", "no"])
    assert [row["pixels"] for row in rows] == extras["pixels"]
    assert rows[0]["runner_up"] == "no"
    files = write_cut_outs(image[0], extras["masks"], tmp_path / "cut")
    for file, pixels in zip(files, extras["pixels"], strict=True):
        picture = Image.open(file)
        assert picture.mode == "RGBA"
        assert sum(picture.getchannel("A").histogram()[1:]) == pixels
    empty, _ = explained(THREE, always)
    multirex_figure(image[0], empty, ["yes", "no"], "constant", tmp_path / "empty.png")
    assert table_rows(empty, ["one"], ["yes", "no"])[0]["status"] == "background_sufficient"
