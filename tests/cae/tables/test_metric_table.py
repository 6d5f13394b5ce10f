"""The table of metrics, from which columns, figures, console lines and headings are made."""

from __future__ import annotations

import dataclasses

import pyarrow as pa
import pytest
import torch
from made_counterfactuals import counterfactual

from cae.metrics.statistics import percentile_95
from cae.tables.headings import CONSOLE, console_lines, titles
from cae.tables.index import COLUMNS, SCHEMA, Files, IndexRow, index_row
from cae.tables.metric import Metric, Summary
from cae.tables.metric_table import METRICS, SET_METRICS
from cae.tables.scored_result import ScoredResult

# what scripts read from metrics.json
FIGURES = {
    "counterfactual": "found validity_oracle validity_oracle_end validity_decoded bkl overshoot_p95 overshoot_mean "
    "overshoot_without_bisection_mean target_over_source_p95 oracle_gain cout l1 l2 linf changed_share regions ssim "
    "feature_similarity diversity monotone_share classifier_evaluations seconds end_cout end_l1 end_changed_share sfid "
    "end_sfid sfid_originals skid end_skid skid_originals",
    "localisation": "dice dice_best dice_area dice_centre pointing energy mask_share end_dice end_dice_best "
    "end_pointing end_energy outside outside_median",
}


def scored(status: str = "found", **known) -> ScoredResult:
    """Of a classifier that sees class 1 in bright images."""

    def probabilities(images: torch.Tensor) -> torch.Tensor:
        share = images.mean((1, 2, 3))
        return torch.stack([1 - share, share, torch.zeros_like(share)], 1)

    return ScoredResult(counterfactual(status=status), probabilities, margin=0.05, **known)


def values(of: ScoredResult) -> dict:
    return {metric.name: metric.value(of) for metric in METRICS}


def test_the_names_of_figures_are_the_contract():
    assert set(titles()) == {f"{topic}/{name}" for topic, names in FIGURES.items() for name in names.split()}


def test_every_column_and_figure_says_what_it_is():
    assert len(set(COLUMNS)) == len(COLUMNS)
    assert all(metric.words for metric in METRICS)
    assert all(titles().values())
    names = [summary.name for metric in METRICS for summary in metric.summaries] + [m.name for m in SET_METRICS]
    assert len(set(names)) == len(names)
    assert [name for name, words in console_lines() if words] == list(CONSOLE)
    for metric in METRICS:
        assert f"{metric.name}: {metric.description}." in IndexRow.__doc__


def test_columns_are_identity_metrics_and_files_with_the_types_of_the_table():
    files = [field.name for field in dataclasses.fields(Files)]
    assert list(COLUMNS) == ["image", "id", "label", "source", "target", "status", *(m.name for m in METRICS), *files]
    kinds = {float: pa.float64(), int: pa.int64(), bool: pa.bool_(), str: pa.string()}
    for metric in METRICS:
        assert SCHEMA.field(metric.name).type == kinds[metric.kind]


@pytest.mark.parametrize("status", ["found", "not_found", "already_target", "reconstruction_flip"])
def test_a_row_has_values_of_the_columns_kinds_and_none_only_where_it_may(status: str):
    row = index_row(scored(status), "healthy", 3, Files(strip="a.png"))
    assert (row.image, row.id, row.label, row.status, row.strip) == (3, "test/7", "healthy", status, "a.png")
    for metric in METRICS:
        value = getattr(row, metric.name)
        assert type(value) is metric.kind or (value is None and not metric.always), metric.name
    with pytest.raises(dataclasses.FrozenInstanceError):
        row.found = True


def test_values_of_a_square_that_brightens_are_the_closed_form():
    mask = torch.zeros(1, 28, 28, dtype=torch.bool)
    mask[:, 7:14, 7:14] = True
    found = values(scored(mask=mask, oracle_original=torch.tensor([0.9, 0.1, 0.0]), decoded_prediction=1,
                          oracle_counterfactual=torch.tensor([0.2, 0.3, 0.5]),
                          oracle_end=torch.tensor([0.1, 0.8, 0.1])))  # fmt: skip
    share = 49 / 784
    assert found["changed_share"] == found["end_changed_share"] == found["mask_share"] == pytest.approx(share)
    assert found["l1"] == pytest.approx(0.43 * 0.5 * share)
    assert found["end_l1"] == pytest.approx(0.5 * share)
    assert found["linf"] == pytest.approx(0.43 * 0.5)
    assert (found["regions"], found["dice"], found["pointing"], found["outside"]) == (1, 1.0, 1.0, 0.0)
    assert found["target_over_source"] == pytest.approx(0.53 - 0.47 - 0.05, abs=1e-6)
    assert (found["oracle_source"], found["oracle"]) == ("healthy", "cyst")
    assert (found["oracle_agrees"], found["oracle_end_agrees"], found["decoded_agrees"]) == (False, True, True)
    assert found["oracle_gain"] == pytest.approx(0.2)
    assert found["monotone_share"] == 1
    assert found["backtracking"] == pytest.approx(0, abs=1e-6)


def test_without_a_counterfactual_only_the_end_of_the_path_has_values():
    missed = values(scored("not_found"))
    given = {name for name, value in missed.items() if value is not None}
    assert {"end_l1", "end_cout", "end_changed_share", "monotone_share", "margin"} < given
    assert not given & {"l1", "cout", "ssim", "overshoot", "boundary", "oracle", "dice"}


def test_a_metric_is_an_entry_and_a_function():
    def brightest(scored: ScoredResult) -> torch.Tensor | None:
        edited = scored.result.counterfactual
        return None if edited is None else edited.max()

    summary = Summary("counterfactual/brightest", "found", "brightest pixel", statistic=percentile_95)
    metric = Metric("brightest", float, "largest level of the counterfactual", brightest, "lower", "grey levels",
                    summaries=(summary,))  # fmt: skip
    assert metric.value(scored()) == float(counterfactual().counterfactual.max())
    assert metric.value(scored("not_found")) is None
    assert metric.description == "largest level of the counterfactual (grey levels; lower is better)"
