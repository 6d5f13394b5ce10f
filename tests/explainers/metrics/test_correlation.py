import pytest
import torch

from explainers.metrics.correlation import (
    completeness_gap,
    faithfulness_correlation,
    infidelity,
    random_patches,
    random_sets,
    sensitivity_n,
)
from explainers.metrics.counterfactual import counterfactual_metrics
from explainers.metrics.seeds import generator


def test_sets_have_their_share_of_the_units_and_differ():
    sets = random_sets(50, 0.1, 196, generator(0))
    assert sets.sum(1).tolist() == [20] * 50
    assert len({tuple(row) for row in sets.tolist()}) == 50
    assert random_sets(3, 0.01, 5, generator(0)).sum(1).tolist() == [1, 1, 1]


@pytest.mark.parametrize("size", [(224, 224), (28, 40), (5, 9)])
def test_patches_are_squares_inside_the_image(size):
    for patch in random_patches(50, *size, generator(0)):
        rows, columns = patch.any(1).nonzero().flatten(), patch.any(0).nonzero().flatten()
        assert len(rows) == len(columns) == rows[-1] - rows[0] + 1
        assert patch.sum() == len(rows) ** 2


def test_patches_have_sides_of_one_to_five_fourteenths_of_the_shorter_side():
    sides = {int(patch.any(1).sum()) for patch in random_patches(200, 28, 42, generator(0))}
    assert sides == {2, 4, 6, 8, 10}
    assert {int(patch.any(1).sum()) for patch in random_patches(200, 3, 9, generator(0))} == {1, 2, 3}


def test_patches_reach_every_border():
    patches = random_patches(2000, 28, 28, generator(1)).any(0)
    assert patches.all()


def test_correlation_of_what_does_not_vary_is_undefined():
    drops = torch.rand(50, generator=generator(0))
    assert faithfulness_correlation(drops * 3 + 1, drops) == pytest.approx(1)
    assert faithfulness_correlation(-drops, drops) == pytest.approx(-1)
    assert faithfulness_correlation(torch.ones(50), drops) is None
    assert sensitivity_n(torch.stack([drops, torch.ones(50)]), torch.stack([drops, drops])) == pytest.approx(1)
    assert sensitivity_n(torch.ones(2, 50), torch.stack([drops, drops])) is None


def test_sensitivity_is_the_mean_of_the_correlations_of_all_sizes():
    drops = torch.rand(3, 50, generator=generator(0))
    sums = torch.stack([drops[0], drops[1], -drops[2]])
    assert sensitivity_n(sums, drops) == pytest.approx(1 / 3)


def test_infidelity_is_what_the_best_factor_leaves():
    # the best factor is (2 + 10) / 5 = 2.4, which leaves 0.4 and -0.2
    assert infidelity(torch.tensor([1.0, 2.0]), torch.tensor([2.0, 5.0])) == pytest.approx((0.16 + 0.04) / 2)


def test_infidelity_by_hand():
    sums, drops = torch.tensor([1.0, 2.0]), torch.tensor([2.0, 4.0])
    assert infidelity(sums, drops) == pytest.approx(0)  # the map times two
    assert infidelity(sums, drops, scaled=False) == pytest.approx((1 + 4) / 2)
    assert infidelity(torch.zeros(2), drops) is None


def test_completeness_gap_is_relative_to_what_is_claimed():
    assert completeness_gap(0.5, 0.8, 0.3) == pytest.approx(0, abs=1e-12)
    assert completeness_gap(1.0, 0.8, 0.3) == pytest.approx(1)
    assert completeness_gap(1.0, 0.8, 0.8) is None


def test_counterfactual_that_was_not_found_counts_as_invalid():
    from tiny_classifiers import linear_classifier, random_images

    classifier = linear_classifier(torch.stack([torch.zeros(1, 8, 8), torch.ones(1, 8, 8)]))
    image = random_images(1, size=8)[0]
    nothing = counterfactual_metrics(classifier, image, None, 0, 1)
    assert nothing.pop("valid") == 0
    assert set(nothing.values()) == {None}
    same = counterfactual_metrics(classifier, image, image, 1, 1)
    assert same["valid"] == 1
    assert (same["l1"], same["linf"], same["changed_share"], same["changed_regions"]) == (0, 0, 0, 0)
    p = classifier.probabilities(image[None])[0]
    assert same["cout"] == pytest.approx(0, abs=1e-6)
    other = counterfactual_metrics(classifier, image, image, 0, 1)
    assert other["cout"] == pytest.approx(float(p[1] - p[0]), abs=1e-6)
