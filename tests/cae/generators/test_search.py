"""Searches that generators share, where the answer is known."""

from __future__ import annotations

import pytest
import torch

from cae.generators.search import first_or_last, nearest_of_class, real_change, smallest_share


def test_the_first_that_reaches_is_taken_else_the_last():
    reached = torch.tensor([[True, True], [False, True], [False, False]])
    assert first_or_last(reached).tolist() == [0, 1, 1]


def test_bisection_ends_just_above_each_threshold_and_never_below():
    thresholds = torch.tensor([0.3, 0.61803, 0.999], dtype=torch.float64)
    zeros = torch.zeros(3, dtype=torch.float64)
    found = smallest_share(lambda shares, rows: shares >= thresholds[rows], zeros, zeros + 1, halvings=12)
    assert (found >= thresholds).all()
    assert (found - thresholds <= 2**-12).all()


def test_bisection_stays_at_the_upper_end_where_nothing_below_it_reaches():
    found = smallest_share(lambda shares, rows: shares > 1, torch.zeros(1), torch.ones(1))
    assert found.item() == 1


def test_the_nearest_candidate_of_the_target_class_is_found_however_near_others_are():
    candidates = torch.tensor([[0.0, 0.0], [3.0, 0.0], [5.0, 0.0], [0.1, 0.0]])
    index = nearest_of_class(torch.zeros(2, 2), torch.tensor([1, 2]), candidates, torch.tensor([0, 1, 1, 0]))
    assert index.tolist() == [1, -1]


def test_real_images_differ_by_what_the_share_of_pairs_does_not_exceed():
    images = torch.stack([torch.full((1, 4, 4), level) for level in (0.0, 0.25)])
    assert real_change(images, 0.95) == pytest.approx(0.25)  # of two images, every pair is the same
