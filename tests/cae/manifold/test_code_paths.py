"""Polylines in code space, parametrised by arc length."""

from __future__ import annotations

import torch

from cae.manifold.code_paths import Polylines


def test_polylines_are_parametrised_by_arc_length():
    corner = torch.tensor([[0.0, 0.0], [1.0, 0.0], [1.0, 3.0]])
    lines = Polylines.through([corner, corner[:1], corner[[0, 0, 1]]], torch.ones(2))
    points = lines.at(torch.tensor([0.0, 0.25, 0.5, 1.0]).expand(3, -1))
    expected = torch.tensor([[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [1.0, 3.0]], dtype=torch.float64)
    assert torch.allclose(points[0], expected)
    assert torch.equal(points[1], torch.zeros(4, 2, dtype=torch.float64))
    assert torch.allclose(points[2, :, 0], torch.tensor([0.0, 0.25, 0.5, 1.0], dtype=torch.float64))
