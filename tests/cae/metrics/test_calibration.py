"""Balanced accuracy and calibration, against values worked out by hand."""

from __future__ import annotations

import math

import pytest
import torch

from cae.metrics.calibration import TEMPERATURES, balanced_scores, class_sums, selection


def test_recalls_are_averaged_over_the_classes_that_have_images():
    logits = torch.tensor([[9.0, 0, 0], [9, 0, 0], [9, 0, 0], [0, 9, 0], [9, 0, 0]])
    sums = class_sums(logits, torch.tensor([0, 0, 0, 1, 1]))
    assert sums[:, :2].tolist() == [[3, 3], [2, 1], [0, 0]]
    assert balanced_scores(sums)[0] == 0.75


def test_a_class_that_is_never_right_and_one_of_a_single_image_count_as_others():
    logits = torch.tensor([[9.0, 0, 0], [9, 0, 0], [9, 0, 0], [0, 0, 9]])
    sums = class_sums(logits, torch.tensor([0, 1, 1, 2]))
    assert balanced_scores(sums)[0] == pytest.approx(2 / 3)


def test_selection_is_in_units_of_a_guess():
    loss = torch.tensor(math.log(4))
    assert float(selection(torch.tensor(0.25), loss, 4)) == pytest.approx(2)
    assert float(selection(torch.tensor(0.75), loss / 2, 4)) == pytest.approx(1 / 3 + 1 / 2)


def test_batches_add_up():
    logits, targets = torch.randn(10, 3, generator=torch.Generator().manual_seed(0)), torch.arange(10) % 3
    parts = class_sums(logits[:4], targets[:4]) + class_sums(logits[4:], targets[4:])
    assert torch.allclose(parts, class_sums(logits, targets), atol=1e-5)


def test_the_temperature_makes_the_confidence_the_share_of_right_answers():
    """Logits of 20 for a class that is right 9 times of 10: log 9 would be calibrated, as 20 / T."""
    logits = torch.tensor([[20.0, 0.0]] * 10 + [[0.0, 20.0]] * 10)
    targets = torch.tensor([0] * 9 + [1] + [1] * 9 + [0])
    _, loss, temperature = balanced_scores(class_sums(logits, targets))
    assert math.isclose(temperature, 20 / math.log(9), rel_tol=0.05)
    entropy = -(0.9 * math.log(0.9) + 0.1 * math.log(0.1))
    assert float(loss) == pytest.approx(entropy, abs=2e-3)


def test_a_classifier_without_errors_is_not_made_more_certain():
    _, loss, temperature = balanced_scores(class_sums(torch.eye(2), torch.arange(2)))
    assert temperature == min(TEMPERATURES) == 1
    assert float(loss) == pytest.approx(math.log(1 + math.exp(-1)), rel=1e-5)
