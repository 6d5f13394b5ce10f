"""Which swaps are drawn, and that classifying them depends on nothing else."""

from __future__ import annotations

import pytest
import torch
from toy_embedding import ToyCAE, ToyClassifier, toy_images

from cae.diagnostics.swaps import classify_swaps, sample_pairs
from cae.errors import UserError


def test_pairs_are_spread_evenly_over_ordered_class_pairs_and_never_repeat():
    predictions = torch.tensor([0] * 50 + [1] * 10 + [2] * 5)
    recipients, donors = sample_pairs(predictions, 240, 3, seed=1)
    cells = torch.bincount(3 * predictions[recipients] + predictions[donors], minlength=9).reshape(3, 3)
    assert cells.tolist() == [[0, 40, 40], [40, 0, 40], [40, 40, 0]]
    assert len(set(zip(recipients.tolist(), donors.tolist(), strict=True))) == 240


def test_pairs_of_one_class_never_join_an_image_with_itself():
    predictions = torch.tensor([0, 0, 0, 1, 1])
    recipients, donors = sample_pairs(predictions, 1000, 2, seed=0, same_class=True)
    assert (recipients != donors).all()
    assert len(recipients) == 3 * 2 + 2 * 1 + 2 * 3 * 2  # every pair there is


def test_same_seed_same_pairs_and_another_seed_others():
    predictions = torch.arange(90) % 3
    first, again, other = (torch.stack(sample_pairs(predictions, 60, 3, seed)) for seed in (5, 5, 6))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_a_class_without_images_is_left_out_and_one_class_alone_is_refused():
    recipients, _ = sample_pairs(torch.tensor([0, 0, 2, 2]), 8, 3, seed=0)
    assert len(recipients) == 8
    with pytest.raises(UserError, match=r"4 images only 1 class"):
        sample_pairs(torch.zeros(4, dtype=torch.int64), 8, 3, seed=0)


def test_classified_swaps_do_not_depend_on_the_batch_size_and_keep_the_images_device_and_order():
    images, predictions = toy_images(30, 0)
    pairs = sample_pairs(predictions, 50, 3, seed=0)
    small = classify_swaps(ToyCAE(), {"target": ToyClassifier()}, images, pairs, 3, residual=True)
    large = classify_swaps(ToyCAE(), {"target": ToyClassifier()}, images, pairs, 64, residual=True)
    assert torch.allclose(small.decoded["target"], large.decoded["target"], atol=1e-6)
    assert torch.allclose(small.residual["target"], large.residual["target"], atol=1e-6)
    codes = ToyCAE().encode(images).class_code[:, 0]
    expected = (codes[pairs[0]] - codes[pairs[1]]).abs() / 2  # only the top half changes
    assert torch.allclose(small.change, expected, atol=1e-6)
