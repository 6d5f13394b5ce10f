"""Which images of a set are taken."""

from __future__ import annotations

import torch

from cae.data import ArraySet
from cae.data.selection import evenly_spread, spread_over_classes


def test_spread_takes_classes_in_turn():
    predictions = torch.tensor([0] * 40 + [1] * 3 + [2] * 2)
    chosen = spread_over_classes(predictions, 9, seed=0)
    assert torch.bincount(predictions[chosen]).tolist() == [4, 3, 2]
    assert len(chosen.unique()) == 9


def test_evenly_spread_images_reach_from_the_first_to_the_last():
    images = ArraySet(
        torch.arange(11.0).view(11, 1, 1, 1) / 10, torch.zeros(11, dtype=torch.int64), [str(k) for k in range(11)]
    )
    assert torch.allclose(evenly_spread(images, 3).flatten(), torch.tensor([0.0, 0.5, 1.0]))
    assert len(evenly_spread(images, 100)) == 11
