"""Which images of a set are taken."""

from __future__ import annotations

import torch

from cae.data.selection import spread_over_classes


def test_spread_takes_classes_in_turn():
    predictions = torch.tensor([0] * 40 + [1] * 3 + [2] * 2)
    chosen = spread_over_classes(predictions, 9, seed=0)
    assert torch.bincount(predictions[chosen]).tolist() == [4, 3, 2]
    assert len(chosen.unique()) == 9
