"""What is measured of a counterfactual, and the table of all: exact on images and numbers made for it."""

from __future__ import annotations

import math

import pytest
import torch

from cae.generators.measures import WORDS, Made, leads, measured, places
from cae.generators.table import ORIGINALS, figures_of, markdown, set_figures

ARMS = [{"name": "ours", "words": "ours", "training_seconds": None},
        {"name": "other", "words": "another", "training_seconds": 90.0}]  # fmt: skip


def made(image=None, end=None, mask=None, **changes) -> Made:
    original = torch.full((1, 32, 32), 0.5)
    given = {
        "original": original, "image": original if image is None else image, "end": end, "base": original,
        "probabilities": torch.tensor([0.4, 0.6]), "oracle": torch.tensor([0.6, 0.4]), "end_oracle": None, "mask": mask,
    }  # fmt: skip
    return Made(**{**given, **changes})


def brightness(images):
    share = images.mean((1, 2, 3))
    return torch.stack([1 - share, share], 1)


def corner(value: float) -> torch.Tensor:
    image = torch.full((1, 32, 32), 0.5)
    image[:, :8, :8] = value
    return image


def test_a_class_must_lead_by_the_margin_to_count_as_seen():
    assert leads(torch.tensor([0.46, 0.54]), 1, 0.05)
    assert not leads(torch.tensor([0.48, 0.52]), 1, 0.05)
    assert not leads(torch.tensor([0.6, 0.4]), 1, 0.0)


def test_classifier_and_oracle_are_judged_by_the_same_margin_and_no_change_is_no_change():
    values = measured(made(), 0, 1, 0.05, brightness)
    assert (values["found"], values["oracle"], values["oracle_end"]) == (1.0, 0.0, 0.0)
    assert (values["l1"], values["changed_share"], values["end_l1"]) == (0.0, 0.0, 0.0)
    assert set(values) <= set(WORDS)
    assert "raw_pointing" not in values  # nothing is known of where the class shows


def test_the_end_of_a_path_is_measured_beside_the_counterfactual():
    values = measured(made(corner(0.75), end=corner(1.0), end_oracle=torch.tensor([0.1, 0.9])), 0, 1, 0.05, brightness)
    assert values["l1"] == pytest.approx(0.25 / 16)
    assert values["end_l1"] == pytest.approx(0.5 / 16)
    assert values["end_changed_share"] == pytest.approx(1 / 16)
    assert (values["oracle"], values["oracle_end"]) == (0.0, 1.0)


def test_without_an_oracle_nothing_is_said_of_it():
    values = measured(made(oracle=None), 0, 1, 0.05, brightness)
    assert values["oracle"] is None
    assert values["oracle_end"] is None


def test_a_change_within_the_mask_points_at_it_raw_and_as_evidence():
    mask = torch.zeros(1, 32, 32, dtype=torch.bool)
    mask[:, :8, :8] = True
    values = places(made(corner(1.0), mask=mask))
    assert values["raw_dice"] == 1
    assert values["raw_pointing"] == 1
    assert values["evidence_dice"] > 0.9
    assert values["changed_outside"] == 0
    assert values["mask_share"] == pytest.approx(1 / 16)
    nothing = places(made(mask=mask))
    assert (nothing["raw_dice"], nothing["evidence_pointing"]) == (0.0, 0.0)


def test_change_is_seen_against_the_base_where_that_is_another_than_the_original():
    mask = torch.ones(1, 32, 32, dtype=torch.bool)
    mask[:, 0] = False
    values = places(made(corner(1.0), mask=mask, base=corner(1.0)))
    assert values["raw_pointing"] == 0  # all of it is in the reconstruction already


def test_differences_to_the_baseline_are_paired():
    ours = [{"l1": value} for value in (0.1, 0.2, 0.6)]
    other = [{"l1": row["l1"] + 0.05} for row in ours]
    found = {figure.arm: figure for figure in figures_of({"ours": ours, "other": other}, "ours")}
    assert found["ours"].mean == pytest.approx(0.3)
    assert found["ours"].difference is None
    assert found["other"].difference == pytest.approx(0.05)
    assert found["other"].difference_low == pytest.approx(0.05)  # as in every image
    assert found["other"].low < 0.3 < found["other"].high


def test_a_share_that_is_the_same_in_all_images_is_not_taken_for_certain():
    (figure,) = figures_of({"ours": [{"found": 1.0}] * 10}, "ours")
    assert (figure.mean, figure.high) == (1.0, 1.0)
    assert figure.low == pytest.approx(0.025 ** (1 / 10))


def test_images_without_a_value_are_left_out_and_counted():
    (figure,) = figures_of({"ours": [{"raw_dice": 0.5}, {"raw_dice": None}, {}]}, "ours")
    assert (figure.mean, figure.images) == (0.5, 1)


def test_originals_of_other_images_stand_beside_distances_of_sets():
    rows = torch.randn(40, 1, 2, generator=torch.Generator().manual_seed(0))
    same = rows.expand(40, 3, 2)
    far = torch.cat([rows, rows + 5, rows + 10], 1)
    found = {
        (f.metric, f.arm): f.mean for f in set_figures({"ours": {"classifier": same}, "other": {"classifier": far}})
    }
    assert found["sfid", "ours"] == found["sfid", ORIGINALS] == found["end_sfid", "ours"]
    assert found["end_sfid", "other"] > found["sfid", "other"] > 10 * found["sfid", ORIGINALS]
    few = {f.metric for f in set_figures({"ours": {"classifier": same[:4]}})}
    assert few == {"skid", "end_skid"}  # two images a half are no more than features


def test_the_table_marks_what_differs_from_the_baseline_beyond_its_interval():
    ours = [{"end_l1": value} for value in (0.1, 0.2, 0.6)]
    other = [{"end_l1": row["end_l1"] + 0.05} for row in ours]
    text = markdown(figures_of({"ours": ours, "other": other}, "ours"), ARMS, 3)
    line = next(line for line in text.splitlines() if line.startswith("| end_l1"))
    assert line.count("*") == 1
    assert "| minutes of training ↓ | – | 1.5 |" in text
    assert not any(math.isnan(figure.mean) for figure in figures_of({"ours": ours, "other": other}, "ours"))
