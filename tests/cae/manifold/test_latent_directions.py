"""Directions of the class code, on toy worlds in which they are known."""

from __future__ import annotations

import pytest
import torch
from corner_world import corner_manifold

from cae.manifold.latent_directions import class_directions, latent_directions, principal_paths


def test_every_two_classes_have_a_direction_and_the_nearest_come_first():
    directions = class_directions(corner_manifold())
    assert sorted(direction.name for direction in directions) == ["a<->b", "a<->c", "b<->c"]
    assert directions[-1].name == "b<->c"
    steps = {direction.name: direction.step for direction in directions}
    assert torch.allclose(steps["a<->b"][:2], torch.tensor([0.8, 0.0]), atol=0.05)
    assert [direction.name for direction in class_directions(corner_manifold(), most=1)] == [directions[0].name]


def test_latent_directions_are_the_directions_that_change_the_features():
    generator = torch.Generator().manual_seed(0)
    changes = torch.randn(4000, 4, generator=generator, dtype=torch.float64)
    edits = changes[:, [2]] * torch.tensor([[3.0, 0.0]]) + changes[:, [0]] * torch.tensor([[0.0, 1.0]])
    found = latent_directions(changes, edits)
    assert found.directions.shape == (2, 4)
    assert abs(float(found.directions[0, 2])) > 0.99
    assert abs(float(found.directions[1, 0])) > 0.99
    assert found.shares.tolist() == pytest.approx([0.9, 0.1], abs=0.02)


def test_principal_paths_move_by_the_standard_deviation_along_each():
    codes = torch.randn(500, 3, generator=torch.Generator().manual_seed(0)) * torch.tensor([3.0, 1.0, 0.2]) + 5
    paths = principal_paths(codes, torch.zeros(3), 2, (-1.0, 0.0, 2.0))
    assert paths.shape == (2, 3, 3)
    assert torch.equal(paths[:, 1], torch.zeros(2, 3))
    assert paths[0, 2].norm() == pytest.approx(6, rel=0.15)
    assert paths[1, 2].norm() == pytest.approx(2, rel=0.15)
