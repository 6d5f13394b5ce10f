from __future__ import annotations

import pytest
import torch
from scipy.stats import binomtest, kstest, spearmanr
from torch import nn

from cae.classifiers import TargetClassifier
from explainers.caes import causal_scores
from explainers.caes.statistics import (
    binomial_interval,
    bootstrap_counts,
    holm,
    percentile_interval,
    permutation_p_value,
    ranks,
    sign_test,
    spearman,
)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_a_permutation_p_value_counts_the_observed_arrangement():
    null = torch.tensor([0.0, 1.0, 2.0, 3.0])
    observed = torch.tensor([2.0, 9.0, -9.0])
    assert permutation_p_value(observed, null[:, None]).tolist() == pytest.approx([3 / 5, 1 / 5, 1])
    assert permutation_p_value(observed, null[:, None], two_sided=True).tolist() == pytest.approx([3 / 5, 1 / 5, 1 / 5])


def test_ranks_and_rank_correlation_are_those_of_scipy():
    x = torch.randint(6, (3, 20), generator=seeded()).float()
    y = torch.randn(3, 20, generator=seeded(1))
    assert ranks(torch.tensor([10.0, 20.0, 10.0])).tolist() == [1.5, 3, 1.5]
    for row in range(3):
        assert float(spearman(x, y)[row]) == pytest.approx(spearmanr(x[row], y[row]).statistic, abs=1e-6)


def test_a_resample_has_as_many_images_and_keeps_groups_together():
    counts = bootstrap_counts(12, 100, seeded())
    assert (counts.sum(1) == 12).all()
    grouped = bootstrap_counts(6, 50, seeded(), groups=[7, 7, 7, 2, 2, 9])
    assert torch.equal(grouped[:, 0], grouped[:, 2])
    assert torch.equal(grouped[:, 3], grouped[:, 4])
    assert (grouped[:, [0, 3, 5]].sum(1) == 3).all()


def test_bootstrap_intervals_cover_the_mean_as_often_as_they_say():
    generator, covered = seeded(), 0
    for _ in range(300):
        sample = torch.randn(60, generator=generator)
        counts = bootstrap_counts(60, 400, generator)
        low, high = percentile_interval(counts @ sample / 60)
        covered += low <= 0 <= high
    assert 0.90 <= covered / 300 <= 0.98


def test_holm_corrects_the_smallest_most():
    assert holm({"a": 0.01, "b": 0.04, "c": 0.03}) == pytest.approx({"a": 0.03, "b": 0.06, "c": 0.06})


def test_the_sign_test_of_twenty_equal_signs_is_two_to_the_minus_nineteen():
    assert sign_test([1.0] * 20) == pytest.approx(2.0**-19)
    assert sign_test([1.0, -1.0, 0.0]) == 1


def test_binomial_intervals_are_exact():
    assert binomial_interval(0, 10) == (0, pytest.approx(1 - 0.025**0.1))
    expected = binomtest(79, 100).proportion_ci(method="exact")
    assert binomial_interval(79, 100) == pytest.approx((expected.low, expected.high))


class Invariant(nn.Module):
    """Two features that a shift on the torus does not change, and a head of one score."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(2, 1)
        self.head.weight.data.copy_(torch.tensor([[1.0, 3.0]]))

    def features(self, images):
        flat = images.flatten(1)
        return torch.stack([flat.mean(1), flat.square().mean(1)], 1)

    def forward(self, images):
        return self.head(self.features(images))


def noise_study(seed: int, planted: bool):
    """Images of independent noise, a 4x4 mask at a random place in each, bright inside if ``planted``."""
    classifier = TargetClassifier(Invariant(), ["no", "yes"], image_shape=(1, 16, 16))
    generator = seeded(seed)
    images = torch.rand(50, 1, 16, 16, generator=generator) * 0.5
    masks = torch.zeros(50, 1, 16, 16, dtype=torch.bool)
    for row, (top, left) in enumerate(torch.randint(12, (50, 2), generator=generator).tolist()):
        masks[row, 0, top : top + 4, left : left + 4] = True
    if planted:
        images = images + 0.3 * masks
    return causal_scores(classifier, images, masks, 1, rolls=8, n_boot=10, n_perm=199, seed=seed)


def test_displaced_masks_are_as_good_where_the_place_does_not_matter():
    found = [noise_study(seed, planted=False)["necessity"] for seed in range(40)]
    assert kstest([row.p_roll for row in found], "uniform").pvalue > 0.01
    excess = torch.tensor([row.excess for row in found])
    assert abs(float(excess.mean())) < 3 * float(excess.std()) / 40**0.5


def test_a_planted_object_beats_its_displaced_copies():
    found = noise_study(0, planted=True)
    assert found["necessity"].p_roll < 0.01
    assert found["s_o"].p_roll < 0.01
    assert found["necessity"].excess > 3
