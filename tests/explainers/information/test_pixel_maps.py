"""Estimates of windows become maps of pixels."""

import math

import pytest
import torch

from explainers.infills.windows import coverage, grid, mean_map
from explainers.information.estimates import Quantity
from explainers.information.marginalisation import InformationTable, summarise
from explainers.information.pixel_maps import PixelMap, ScaleMap, combined, refined, scale_map

LOG_P = torch.tensor([0.6, 0.4], dtype=torch.float64).log()


def table_of(samples: int) -> InformationTable:
    """Nine overlapping windows, with draws of random class probabilities."""
    windows = grid((8, 8), 4, 2)
    generator = torch.Generator().manual_seed(0)
    rows = torch.randn(len(windows), samples, 2, generator=generator, dtype=torch.float64).log_softmax(2)
    return InformationTable(windows, 0, LOG_P, **summarise(rows, LOG_P, 0), forwards=len(windows) * samples)


def plane(*values: float) -> torch.Tensor:
    return torch.tensor([values], dtype=torch.float64)


def test_errors_of_overlapping_windows_add_in_squares_and_at_most_in_full():
    table = table_of(4)
    apart, together = (scale_map(table, Quantity("pmi"), common) for common in (False, True))
    assert torch.equal(apart.map.value, together.map.value)
    assert torch.allclose(together.map.se, mean_map(apart.estimate.se, table.windows))
    assert (apart.map.se <= together.map.se + 1e-12).all()
    once = coverage(table.windows) == 1
    assert torch.allclose(apart.map.se[once], together.map.se[once])


def test_a_map_of_single_fills_has_neither_error_nor_correction():
    found = scale_map(table_of(1), Quantity("pmi"), False).map
    assert found.se is None
    assert found.corrected is None


def test_scales_are_combined_by_mean_or_by_magnitude():
    one, other = PixelMap(plane(1, -4), plane(3, 3), plane(0, 0)), PixelMap(plane(-2, 2), plane(4, 4), plane(1, 1))
    mean, largest = combined([one, other], "mean"), combined([one, other], "largest")
    assert torch.equal(mean.value, plane(-0.5, -1))
    assert torch.equal(mean.se, plane(2.5, 2.5))  # half of sqrt(9 + 16)
    assert torch.equal(mean.corrected, plane(0.5, 0.5))
    assert (largest.value.tolist(), largest.se.tolist(), largest.corrected.tolist()) == ([[-2, -4]], [[4, 3]], [[1, 0]])
    assert combined([one, PixelMap(plane(0, 0), None, None)], "mean").se is None


def test_refinement_replaces_what_it_covers_and_nothing_else():
    fine = scale_map(table_of(4), Quantity("pmi"), False)
    covered = torch.zeros(8, 8, dtype=torch.int64)
    covered[:2] = 1
    coarse = PixelMap(torch.full((8, 8), math.pi, dtype=torch.float64), None, fine.map.value * 0)
    found = refined(coarse, ScaleMap(fine.table, fine.estimate, fine.map, covered))
    assert torch.equal(found.value[:2], fine.map.value[:2])
    assert found.value[2:].unique().tolist() == pytest.approx([math.pi])
    assert found.se is None
    assert torch.equal(found.corrected[:2], fine.map.corrected[:2])
