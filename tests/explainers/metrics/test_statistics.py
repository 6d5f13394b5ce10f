import numpy as np
import pytest
from scipy import stats

from explainers.metrics import CONTROL, describe, summarise
from explainers.metrics.statistics import Bootstrap, fisher_z, holm, share_won, sign_flip_p


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def results(**columns):
    count = len(next(iter(columns.values())))
    return {
        f"image {place}": {method: {"auroc": values[place]} for method, values in columns.items()}
        for place in range(count)
    }


def test_identical_methods_differ_by_nothing():
    interval = Bootstrap(range(40)).mean(np.zeros(40))
    assert (interval.mean, interval.low, interval.high) == (0, 0, 0)
    assert sign_flip_p(np.zeros(40)) == 1
    assert share_won(np.zeros(40)) == 0.5


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


def test_sign_flips_agree_with_the_exact_test_and_group_by_patient():
    values = np.array([0.9, 0.4, -0.2, 0.7, 0.5, 0.1, 0.3, 0.8])
    signs = np.array(np.meshgrid(*[[-1, 1]] * 8)).reshape(8, -1).T
    exact = (np.abs(signs @ values) >= values.sum() - 1e-12).mean()
    assert sign_flip_p(values) == pytest.approx(exact, abs=0.01)
    assert sign_flip_p(np.append(values, np.nan)) == sign_flip_p(values)
    assert sign_flip_p(values, ["a"] * 8) == 1


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.6]) == [1, 1]
    assert holm([]) == []


def test_best_is_marked_only_where_all_others_are_separated():
    noise = rng().normal(0, 0.1, (3, 50))
    base = rng(1).normal(0.5, 0.2, 50)
    apart = summarise(results(a=base + 0.3 + noise[0], b=base + noise[1], c=base + noise[2]))
    assert [figure.method for figure in apart if figure.best] == ["a"]
    close = summarise(results(a=base + 0.001 + noise[0], b=base + noise[1], c=base - 0.3 + noise[2]))
    assert not any(figure.best for figure in close)


def test_table_compares_with_the_control_image_by_image():
    base = rng(1).normal(0.5, 0.2, 50)
    columns = {"good": base + 0.1, "poor": base - 0.1, "none": [None] * 50, CONTROL: base}
    table = {figure.method: figure for figure in summarise(results(**columns), planned=("auroc",))}
    assert table["good"].difference == pytest.approx(0.1)
    assert table["good"].difference_low == pytest.approx(0.1)  # paired: nothing varies
    assert (table["good"].won, table["poor"].won) == (1, 0)
    assert table["good"].p == pytest.approx(2 / 10_000)  # two planned comparisons
    assert (table["none"].mean, table["none"].undefined, table["none"].difference) == (None, 50, None)
    assert table[CONTROL].difference is None
    assert table["good"].as_dict()["mean"] == pytest.approx(base.mean() + 0.1)


def test_no_p_values_below_thirty_images():
    base = rng(1).normal(0.5, 0.2, 29)
    assert all(f.p is None for f in summarise(results(a=base, **{CONTROL: base - 1}), planned=("auroc",)))


def test_correlations_are_averaged_after_fishers_z():
    assert fisher_z(np.array([1.0]))[0] == np.arctanh(0.999)
    table = summarise({str(i): {"m": {"faithfulness_corr": r}} for i, r in enumerate((0.0, 0.9))})
    assert table[0].mean == pytest.approx(np.tanh(np.arctanh(0.9) / 2))


def test_suffixes_are_described_and_unknown_names_have_no_direction():
    assert describe("deletion_auc").better == "low"
    assert describe("deletion_auc_excess").better == "high"
    assert describe("deletion_auc_range").better is None
    assert describe("something_new").better is None


def test_nothing_is_marked_best_on_a_handful_of_images():
    base = rng(1).normal(0.5, 0.2, 6)
    assert not any(f.best for f in summarise(results(a=base[:5] + 1, b=base[:5])))
    assert [f.method for f in summarise(results(a=base + 1, b=base)) if f.best] == ["a"]
