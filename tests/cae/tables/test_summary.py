from __future__ import annotations

import dataclasses
import typing

import numpy as np
import pytest
import torch

from cae.metrics.localisation import best_dice, centre_map, dice_at_area, evidence_map, localise
from cae.tables.index import Index, IndexRow
from cae.tables.summary import summarise, summarise_features, table


def row(id: str = "a", **values) -> IndexRow:
    """A row of which only the given values are set."""
    blank = {"str": "", "int": 0, "float": 0.0, "bool": False}
    hints = typing.get_type_hints(IndexRow)
    fields = {
        field.name: None if type(None) in typing.get_args(hints[field.name]) else blank[hints[field.name].__name__]
        for field in dataclasses.fields(IndexRow)
    }
    return IndexRow(**{**fields, "id": id, "status": "found" if values.get("found") else "not_found", **values})


def test_rates_count_failures_and_leave_out_what_needs_no_change():
    rows = [
        row("a", found=True, oracle_source="x", oracle_agrees=True, overshoot=0.1),
        row("b", found=True, oracle_source="x", oracle_agrees=False, overshoot=0.3),
        row("c", found=False, oracle_source="x"),
        row("d", status="reconstruction_flip", oracle_source="x"),
        row("e", status="already_target", oracle_source="x"),
    ]
    metrics = summarise(rows)
    assert metrics["counterfactual/images"] == 5
    assert metrics["counterfactual/explained"] == 4
    assert metrics["counterfactual/found"] == 0.5
    assert metrics["counterfactual/validity_oracle"] == 0.25
    assert metrics["counterfactual/overshoot_mean"] == pytest.approx(0.2)
    assert metrics["counterfactual/overshoot_p95"] == 0.3
    assert metrics["counterfactual/already_target"] == metrics["counterfactual/reconstruction_flip"] == 1
    assert metrics["localisation/images"] == 0
    assert "localisation/dice" not in metrics
    assert "counterfactual/cout" not in metrics


def test_the_end_of_the_path_counts_also_where_nothing_is_found():
    rows = [
        row("a", found=True, end_l1=0.1, end_cout=0.8, end_dice=0.9, outside=0.0, mask_share=0.1, dice=0.2),
        row("b", found=False, end_l1=0.3, end_cout=0.2, end_dice=0.5, outside=0.3),
        row("c", found=False, end_l1=0.2, end_cout=0.2, outside=0.03),
        row("d", status="already_target"),
    ]
    metrics = summarise(rows)
    assert metrics["counterfactual/end_cout"] == pytest.approx(0.4)
    assert metrics["localisation/end_dice"] == pytest.approx(0.7)
    assert (metrics["localisation/end_images"], metrics["localisation/images"]) == (2, 1)
    assert metrics["localisation/dice"] == 0.2
    assert metrics["localisation/outside"] == pytest.approx(0.11)
    assert metrics["localisation/outside_median"] == 0.03


def test_bkl_is_the_missing_probability_of_the_target():
    rows = [
        row("a", found=True, boundary_target_probability=0.6),
        row("b", found=True, boundary_target_probability=0.5),
    ]
    assert summarise(rows)["counterfactual/bkl"] == pytest.approx(0.45)


def test_without_an_oracle_nothing_is_said_of_it():
    assert "counterfactual/validity_oracle" not in summarise([row(found=True)])


def test_no_rows_give_counts_and_no_rate():
    metrics = summarise([])
    assert metrics["counterfactual/images"] == 0
    assert "counterfactual/found" not in metrics


def test_the_table_leaves_out_what_is_not_known():
    text = table({"a": 0.5, "a_low": 0.4, "a_high": 0.6}, [("a", "first"), ("b", "second")])
    assert text == "     0.500  0.400 to 0.600     first"


def square(offset: int = 0) -> torch.Tensor:
    mask = torch.zeros(12, 12, dtype=torch.bool)
    mask[2:6, 2 + offset : 6 + offset] = True
    return mask


def test_shifted_squares_overlap_by_half():
    found = localise(square(2).float(), square())
    assert (found.dice, found.dice_best, found.dice_area) == (0.5, 0.5, 0.5)
    assert (found.pointing, found.energy) == (0.5, 0.5)
    assert found.mask_share == 16 / 144


def test_a_perfect_map_scores_one_everywhere():
    found = localise(3 * square().float(), square())
    assert {found.dice, found.dice_best, found.dice_area, found.pointing, found.energy} == {1.0}
    assert found.dice_centre < 1


def test_empty_masks_and_empty_maps_score_nothing():
    assert localise(torch.rand(12, 12), torch.zeros(12, 12, dtype=torch.bool)) is None
    found = localise(torch.zeros(12, 12), square())
    assert (found.dice, found.dice_best, found.dice_area, found.pointing, found.energy) == (None,) * 5


def test_a_constant_map_scores_what_a_random_one_does():
    found = localise(torch.full((12, 12), 0.3), square())
    assert found.dice is None
    assert [found.dice_area, found.pointing, found.energy] == pytest.approx([found.mask_share] * 3)


def test_equal_values_count_as_all_their_orders():
    values, mask = np.array([1.0, 0.5, 0.5, 0.5, 0.0]), np.array([True, True, False, False, False])
    assert dice_at_area(values, mask) == pytest.approx((1 + 1 / 3) / 2)
    assert best_dice(values, mask) == pytest.approx(2 / 3)


def test_the_centre_map_falls_off_from_the_centre():
    values = centre_map(5, 7)
    assert values.argmax() == 2 * 7 + 3
    assert torch.allclose(values, values.flip(0).flip(1), atol=1e-12)
    assert values[0, 3].item() == pytest.approx(-0.8)  # two of two and a half pixels up
    assert values[2, 0].item() == pytest.approx(-6 / 7)
    assert values[0, 0].item() == pytest.approx(-((0.8**2 + (6 / 7) ** 2) ** 0.5))


def test_evidence_of_a_single_pixel_is_its_energy_under_a_gaussian():
    point = torch.zeros(2, 64, 64)
    point[:, 32, 32] = torch.tensor([0.6, -0.8])
    weights = np.exp(-(np.arange(-4, 5) ** 2) / 2)
    evidence = evidence_map(point)
    assert evidence.shape == (1, 64, 64)
    assert float(evidence.sum()) == pytest.approx(1, rel=1e-5)
    assert float(evidence[0, 32, 32]) == pytest.approx(1 / weights.sum() ** 2, abs=1e-6)
    assert torch.equal(evidence_map(-point), evidence)


def test_evidence_has_no_gap_within_a_ring_or_where_the_change_has_another_sign():
    y, x = torch.meshgrid(torch.arange(64) - 30, torch.arange(64) - 30, indexing="ij")
    distance = (y.square() + x.square()).float().sqrt()
    ring = torch.where((distance - 3).abs() < 1.1, 0.5, 0.0)[None]
    inside = evidence_map(ring)[0][distance < 1.5]
    assert float(inside.min()) > 0.2  # 0.25 on the ring itself
    signs = torch.where(distance < 3, -0.5, torch.where((distance > 4) & (distance < 6), 0.5, 0.0))[None]
    assert float(evidence_map(signs)[0][distance < 4].min()) > 0.2
    # two structures further apart than the disc is wide stay two
    apart = torch.zeros(1, 64, 64)
    apart[0, 20:24, 20:24] = apart[0, 20:24, 34:38] = 0.5
    assert float(evidence_map(apart)[0, 22, 29]) < 0.01


@pytest.mark.parametrize("side", [8, 28])
def test_evidence_of_small_images(side):
    change = torch.zeros(1, side, side)
    change[0, 3:5, 3:5] = 0.5
    assert float(evidence_map(change)[0, 3:5, 3:5].mean()) > 10 * float(evidence_map(change).mean()) * 4 / side
    assert not evidence_map(torch.zeros(1, side, side)).any()


def test_sets_of_features_are_compared_where_they_are_large_enough(tmp_path):
    generator = torch.Generator().manual_seed(0)
    rows = [row(f"{i:02}", image=i, target="x", found=True) for i in range(20)]
    originals = torch.randn(20, 4, generator=generator)
    features = {(r.id, "x"): torch.stack([a, a + 2, a + 1]) for r, a in zip(rows, originals, strict=True)}
    places = {r.id: r.image for r in rows}
    index = Index(tmp_path, places)
    index.add(rows, features)
    metrics = summarise_features(index)
    assert (metrics["counterfactual/feature_pairs"], metrics["counterfactual/features"]) == (20, 4)
    assert metrics["counterfactual/sfid"] > 10 > metrics["counterfactual/end_sfid"]
    assert metrics["counterfactual/end_sfid"] > 3 > metrics["counterfactual/sfid_originals"]
    assert metrics["counterfactual/skid"] > metrics["counterfactual/skid_originals"]
    index.save()
    again = Index(tmp_path, places, rows)
    assert summarise_features(again) == metrics
    few = Index(tmp_path / "few", places)
    few.add(rows[:8], features)
    assert set(summarise_features(few)) == {
        f"counterfactual/{name}" for name in ("feature_pairs", "features", "skid", "end_skid", "skid_originals")
    }
    assert summarise_features(Index(tmp_path / "none", places)) == {}
