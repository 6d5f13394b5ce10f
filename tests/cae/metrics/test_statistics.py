"""Exact answers of the statistics, against scipy where scipy has them."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import stats
from skimage.filters import threshold_otsu

from cae.metrics.statistics import (
    Bootstrap,
    binomial_interval,
    defined,
    fisher_z,
    holm,
    interval,
    mean,
    median,
    midpoint_median,
    otsu_threshold,
    pearson,
    percentile_95,
    percentile_interval,
    permutation_p_value,
    places_from_the_top,
    ranks,
    resample_counts,
    sign_flip_p,
    sign_test,
    spearman,
)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_percentile_is_one_of_the_values():
    values = np.arange(1.0, 101)
    assert percentile_95(values, np.ones(100)) == 95
    assert percentile_95(np.array([3.0, 1.0]), np.array([0, 4])) == 1
    assert median(np.array([3.0, 1.0, 2.0]), np.ones(3)) == 2
    assert mean(np.array([1.0, 3.0]), np.array([3, 1])) == 1.5


@pytest.mark.parametrize("statistic", [mean, median, midpoint_median, percentile_95])
def test_many_resamples_at_once_are_each_as_it_is_alone(statistic):
    values, counts = rng().normal(size=7).round(1), resample_counts(7, 20, rng(1))
    assert statistic(values, counts).tolist() == [float(statistic(values, row)) for row in counts]
    drawn = np.repeat(values, counts[0])
    plain = {mean: drawn.mean(), midpoint_median: np.median(drawn)}.get(
        statistic, np.sort(drawn)[3 if statistic is median else 6]
    )
    assert float(statistic(values, counts[0])) == pytest.approx(plain)


def test_ranks_are_those_of_scipy_along_the_last_axis():
    values = torch.randint(6, (3, 20), generator=seeded()).float()
    assert ranks(values).numpy() == pytest.approx(stats.rankdata(values.numpy(), axis=-1))
    assert ranks(torch.tensor([10.0, 20.0, 10.0])).tolist() == [1.5, 3, 1.5]


@pytest.mark.parametrize("values", [6, 1000])
def test_rank_correlation_is_that_of_scipy_with_and_without_ties(values):
    one = torch.randint(values, (3, 20), generator=seeded()).float()
    other = torch.randint(values, (3, 20), generator=seeded(1)).float()
    expected = [stats.spearmanr(a, b).statistic for a, b in zip(one.numpy(), other.numpy(), strict=True)]
    assert spearman(one, other).tolist() == pytest.approx(expected, abs=1e-12)


def test_ties_share_their_ranks():
    # ranks 1.5 1.5 3 4 against 1 2 3 4: 1 - 6 * 0.5 / 60 would ignore the tie
    assert float(spearman(torch.tensor([0.0, 0, 1, 2]), torch.arange(4.0))) == pytest.approx(4.5 / 22.5**0.5)


def test_linear_correlation_is_that_of_scipy():
    one, other = torch.randn(2, 4, 30, generator=seeded()).unbind()
    expected = [stats.pearsonr(a, b).statistic for a, b in zip(one.numpy(), other.numpy(), strict=True)]
    assert pearson(one, other).tolist() == pytest.approx(expected, abs=1e-6)
    assert float(pearson(one[0], 3 * one[0] - 1)) == pytest.approx(1)


@pytest.mark.parametrize("correlation", [pearson, spearman])
def test_the_correlation_with_what_does_not_vary_is_undefined(correlation):
    varied, constant = torch.randn(9, generator=seeded()), torch.full((9,), 0.1)
    for pair in ((varied, constant), (constant, varied), (constant, constant)):
        assert math.isnan(correlation(*pair))
    assert defined(correlation(varied, constant)) is None
    assert defined(correlation(varied, varied)) == pytest.approx(1)


def test_one_undefined_row_leaves_the_others_defined():
    rows = torch.tensor([[1.0, 2.0, 3.0], [5.0, 5.0, 5.0], [1.0, math.nan, 2.0]])
    assert spearman(rows, torch.arange(3.0)).tolist() == [pytest.approx(1), *[pytest.approx(math.nan, nan_ok=True)] * 2]


def test_rounding_of_a_constant_is_no_variation_within_the_tolerance():
    values = torch.tensor([10.0, 10.000001]).repeat(25)
    assert values.unique().numel() == 2
    assert math.isnan(pearson(values, torch.arange(50.0), tolerance=1e-6))
    assert float(pearson(values, values)) == pytest.approx(1)


def test_places_run_from_the_largest_and_ties_fall_by_the_generator():
    assert places_from_the_top(torch.tensor([1.0, 3.0, 2.0]), seeded()).tolist() == [2, 0, 1]
    places = [places_from_the_top(torch.zeros(50), seeded(seed)).tolist() for seed in (1, 1, 2)]
    assert places[0] == places[1] != places[2]
    assert sorted(places[2]) == list(range(50))


def test_fishers_z_is_finite_for_a_perfect_correlation():
    assert fisher_z(np.array([1.0]))[0] == np.arctanh(0.999)


def test_a_resample_has_as_many_units():
    counts = resample_counts(12, 100, rng())
    assert counts.shape == (100, 12)
    assert (counts.sum(1) == 12).all()


def test_percentile_intervals_cover_the_mean_as_often_as_they_say():
    generator, covered = rng(), 0
    for _ in range(300):
        sample = generator.normal(size=60)
        low, high = percentile_interval(resample_counts(60, 400, generator) @ sample / 60)
        covered += low <= 0 <= high
    assert 0.90 <= covered / 300 <= 0.98


def test_undefined_replicates_are_left_out_of_an_interval():
    replicates = np.append(np.arange(101.0), [math.nan, math.inf])
    assert percentile_interval(replicates, level=0.5) == (25, 75)
    assert percentile_interval(torch.arange(101), level=0.5) == (25, 75)
    assert all(math.isnan(end) for end in percentile_interval(np.full(3, math.nan)))


def test_certainty_is_not_claimed_from_few_images():
    low, high = interval(np.ones(20), [str(i) for i in range(20)])
    assert (low, high) == (pytest.approx(0.025 ** (1 / 20)), 1.0)
    assert interval(np.zeros(20), [str(i) for i in range(20)]) == (0.0, pytest.approx(1 - 0.025 ** (1 / 20)))


def test_rows_of_one_image_are_drawn_together():
    values, generator = np.repeat(np.random.default_rng(0).random(30), 10), np.random.default_rng(1)
    together = interval(values, [str(i // 10) for i in range(300)])
    apart = interval(values, [str(i) for i in range(300)])
    assert together[1] - together[0] > 2 * (apart[1] - apart[0])
    assert interval(values, [str(i // 10) for i in range(300)]) == together
    drawn = [interval(generator.normal(0.5, 1, 40), list(map(str, range(40)))) for _ in range(20)]
    assert np.mean([low <= 0.5 <= high for low, high in drawn]) >= 0.85


def test_the_interval_of_the_midpoint_median_is_that_of_plain_resampling():
    values = rng().normal(size=31)
    draws = rng(1).integers(0, 31, (20_000, 31))
    plain = np.quantile(np.median(values[draws], axis=1), [0.025, 0.975])
    assert interval(values, range(31), midpoint_median, resamples=5000) == pytest.approx(tuple(plain), abs=0.1)
    assert midpoint_median(np.array([1.0, 2.0, 9.0]), np.array([1, 1, 0])) == 1.5


def test_identical_methods_differ_by_nothing():
    interval = Bootstrap(range(40)).mean(np.zeros(40))
    assert (interval.mean, interval.low, interval.high) == (0, 0, 0)
    assert sign_flip_p(np.zeros(40)) == 1


def test_intervals_agree_with_scipys():
    values = rng().exponential(size=40)
    mine = Bootstrap(range(40), seed=1).mean(values)
    theirs = stats.bootstrap((values,), np.mean, n_resamples=10_000, method="BCa", rng=rng(2)).confidence_interval
    # two draws of 10,000 resamples differ by less than a fifth of a standard error, percentiles by two fifths
    error = values.std() / 40**0.5
    assert (mine.low, mine.high) == pytest.approx(tuple(theirs), abs=0.2 * error)
    assert mine.high > values.mean() + 1.96 * error + 0.2 * error  # skewed as the values are
    assert mine.mean == pytest.approx(values.mean())


def test_intervals_cover_the_truth_as_often_as_they_say():
    bootstrap = Bootstrap(range(60), resamples=1000)
    covered = [
        interval.low <= 0.3 <= interval.high
        for values in rng().normal(0.3, 1, (600, 60))
        if (interval := bootstrap.mean(values))
    ]
    assert 0.92 <= np.mean(covered) <= 0.98


def test_missing_values_are_left_out_and_none_is_undefined():
    values = np.array([1.0, np.nan, 3.0, np.nan])
    assert Bootstrap(range(4)).mean(values).mean == 2
    assert Bootstrap(range(4)).mean(np.full(4, np.nan)) is None


def test_images_of_one_patient_are_drawn_together():
    values = np.repeat(rng().normal(size=20), 5)
    alone, grouped = (Bootstrap(groups).mean(values) for groups in (range(100), np.repeat(range(20), 5).tolist()))
    assert grouped.high - grouped.low > 1.8 * (alone.high - alone.low)
    assert grouped.mean == pytest.approx(alone.mean)


def test_intervals_over_unequal_groups_agree_with_scipys_of_the_ratio():
    sizes = np.array([1, 1, 1, 2, 2, 3, 3, 4, 30, 60])
    sums = sizes * rng(3).exponential(size=10) ** 2  # the largest groups weigh most, also where one is left out
    values = np.repeat(sums / sizes, sizes)
    mine = Bootstrap(np.repeat(np.arange(10), sizes).tolist(), seed=1).mean(values)

    def ratio(total, count, axis):
        return total.sum(axis) / count.sum(axis)

    theirs = stats.bootstrap(
        (sums, sizes), ratio, paired=True, n_resamples=10_000, method="BCa", rng=rng(2)
    ).confidence_interval
    assert (mine.low, mine.high) == pytest.approx(tuple(theirs), rel=0.03)


def test_binomial_intervals_are_exact():
    assert binomial_interval(0, 10) == (0, pytest.approx(1 - 0.025**0.1))
    assert binomial_interval(10, 10) == (pytest.approx(0.025**0.1), 1)
    expected = stats.binomtest(79, 100).proportion_ci(method="exact")
    assert binomial_interval(79, 100) == pytest.approx((expected.low, expected.high))


def test_a_permutation_p_value_counts_the_observed_arrangement():
    null = torch.tensor([0.0, 1.0, 2.0, 3.0])
    observed = torch.tensor([2.0, 9.0, -9.0])
    assert permutation_p_value(observed, null[:, None]).tolist() == pytest.approx([3 / 5, 1 / 5, 1])
    assert permutation_p_value(observed, null[:, None], two_sided=True).tolist() == pytest.approx([3 / 5, 1 / 5, 1 / 5])


def test_sign_flips_agree_with_the_exact_test_and_group_by_patient():
    values = np.array([0.9, 0.4, -0.2, 0.7, 0.5, 0.1, 0.3, 0.8])
    signs = np.array(np.meshgrid(*[[-1, 1]] * 8)).reshape(8, -1).T
    exact = (np.abs(signs @ values) >= values.sum() - 1e-12).mean()
    assert sign_flip_p(values) == pytest.approx(exact, abs=0.01)
    assert sign_flip_p(np.append(values, np.nan)) == sign_flip_p(values)
    assert sign_flip_p(values, ["a"] * 8) == 1


def test_the_sign_test_of_twenty_equal_signs_is_two_to_the_minus_nineteen():
    assert sign_test([1.0] * 20) == pytest.approx(2.0**-19)
    assert sign_test([1.0, -1.0, 0.0]) == 1


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.6]) == [1, 1]
    assert holm([]) == []
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])


def test_a_sign_test_without_signs_says_nothing():
    assert sign_test([]) == sign_test([0.0, math.nan]) == 1


def test_otsu_separates_two_groups_exactly():
    values = np.array([0.1, 0.2, 0.15, 0.9, 0.95])
    assert otsu_threshold(values) == 0.2


def test_otsu_separates_two_values_and_counts_each_as_often_as_it_is_there():
    assert otsu_threshold(np.array([0.2, 0.9, 0.9])) == 0.2
    values = np.repeat([0.0, 1.0, 2.0, 5.0], [4, 9, 1, 2])

    def between(cut):  # variance between the groups, in units of that of all
        low, high = values[values <= cut], values[values > cut]
        return len(low) * len(high) * (high.mean() - low.mean()) ** 2

    assert otsu_threshold(values) == max([0.0, 1.0, 2.0], key=between) == 2.0


def test_otsu_finds_no_group_in_a_constant():
    assert math.isnan(otsu_threshold(np.full(9, 0.4)))


def test_otsu_agrees_with_scikit_image_up_to_the_width_of_its_bins():
    values = np.concatenate([rng().normal(0, 1, 300), rng(1).normal(6, 1, 200)])
    width = np.ptp(values) / 256
    lower = values[values <= threshold_otsu(values, nbins=256) + width / 2]
    assert otsu_threshold(values) == pytest.approx(lower.max(), abs=width)
