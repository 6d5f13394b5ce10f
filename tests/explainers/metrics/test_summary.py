import numpy as np
import pytest

from explainers.metrics import CONTROL, describe, summarise
from explainers.metrics.summary import share_won


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def results(**columns):
    count = len(next(iter(columns.values())))
    return {
        f"image {place}": {method: {"auroc": values[place]} for method, values in columns.items()}
        for place in range(count)
    }


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


def test_suffixes_are_described_and_unknown_names_have_no_direction():
    assert describe("deletion_auc").better == "low"
    assert describe("deletion_auc_excess").better == "high"
    assert describe("deletion_auc_range").better is None
    assert describe("something_new").better is None


def test_nothing_is_marked_best_on_a_handful_of_images():
    base = rng(1).normal(0.5, 0.2, 6)
    assert not any(f.best for f in summarise(results(a=base[:5] + 1, b=base[:5])))
    assert [f.method for f in summarise(results(a=base + 1, b=base)) if f.best] == ["a"]


def test_correlations_are_averaged_after_fishers_z():
    table = summarise({str(i): {"m": {"faithfulness_corr": r}} for i, r in enumerate((0.0, 0.9))})
    assert table[0].mean == pytest.approx(np.tanh(np.arctanh(0.9) / 2))


def test_ties_with_the_control_are_half_won():
    assert share_won(np.zeros(40)) == 0.5
    assert share_won(np.array([1.0, 1.0, -1.0, 0.0, np.nan])) == 0.625
