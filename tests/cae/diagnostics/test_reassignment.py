"""Reassignment matrices, rates and intervals on swaps whose classes are known."""

from __future__ import annotations

import pytest
import torch
from toy_embedding import StubbornCAE, ToyCAE, ToyClassifier, toy_images

from cae.diagnostics.reassignment import (
    measure_reassignment,
    reassignment_interval,
    reassignment_matrix,
    reassignment_rate,
    retention,
    soft_reassignment_matrix,
)
from cae.diagnostics.swaps import sample_pairs


def test_reassignment_matrix_counts_swaps_that_take_the_donors_class():
    rows, columns = torch.tensor([0, 0, 0, 1]), torch.tensor([1, 1, 1, 1])
    matrix = reassignment_matrix(rows, columns, torch.tensor([1, 1, 0, 1]), 2)
    assert matrix[0, 1] == pytest.approx(2 / 3)
    assert matrix[1, 1] == 1
    assert torch.isnan(matrix[1, 0])
    assert reassignment_rate(matrix) == pytest.approx(2 / 3)
    assert retention(matrix) == 1
    soft = soft_reassignment_matrix(rows, columns, torch.tensor([[0.4, 0.6], [0.3, 0.7], [0.9, 0.1], [0.0, 1.0]]), 2)
    assert soft[0, 1] == pytest.approx(1.4 / 3)


@pytest.mark.parametrize(("cae", "across"), [(ToyCAE(), 1.0), (StubbornCAE(), 0.0)])
def test_reassignment_is_one_for_a_decoder_that_obeys_and_zero_for_one_that_ignores_the_code(
    cae: ToyCAE, across: float
):
    images, predictions = toy_images(30, 0)
    pairs = sample_pairs(predictions, 180, 3, seed=0, same_class=True)
    classifiers = {"target": ToyClassifier(), "oracle": ToyClassifier()}
    found = measure_reassignment(cae, classifiers, images, predictions, pairs, batch_size=7, residual=True)
    assert set(found) == {"target", "oracle", "target/residual", "oracle/residual"}
    expected = torch.full((3, 3), across).fill_diagonal_(1.0).double()
    for matrix in found.values():
        assert torch.equal(matrix, expected)


def test_the_interval_holds_the_rate_and_is_wider_with_fewer_images():
    generator = torch.Generator().manual_seed(0)
    widths = []
    for count in (20, 200):
        predictions = torch.arange(count) % 2
        pairs = sample_pairs(predictions, 400, 2, seed=0)
        reliable = torch.rand(count, generator=generator) < 0.7  # some donors work, others never do
        low, high = reassignment_interval(*pairs, predictions, reliable[pairs[1]], seed=0)
        matrix = reassignment_matrix(
            predictions[pairs[0]], predictions[pairs[1]], torch.where(reliable[pairs[1]], predictions[pairs[1]], 9), 2
        )
        assert low <= reassignment_rate(matrix) <= high
        widths.append(high - low)
    assert widths[0] > 1.3 * widths[1]


def test_the_interval_of_a_certain_rate_is_a_point():
    predictions = torch.arange(12) % 2
    pairs = sample_pairs(predictions, 40, 2, seed=0)
    assert reassignment_interval(*pairs, predictions, torch.ones(40, dtype=torch.bool)) == (1.0, 1.0)
