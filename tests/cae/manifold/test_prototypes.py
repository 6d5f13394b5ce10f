"""Medoids and farthest points."""

from __future__ import annotations

import torch

from cae.manifold.prototypes import farthest_points, k_medoids, medoid


def test_medoids_find_the_centres_of_three_blobs():
    centres = torch.tensor([[0.0, 0.0], [10.0, 0.0], [0.0, 10.0]], dtype=torch.float64)
    offsets = torch.tensor([[0.0, 0.0], [1.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [0.0, -1.0]], dtype=torch.float64)
    points = (centres[:, None] + offsets).reshape(-1, 2)
    assert sorted(k_medoids(points, 3).tolist()) == [0, 5, 10]
    assert k_medoids(points[:2], 3).tolist() == [0, 1]
    assert medoid(points[:5]) == 0
    assert len(set(farthest_points(torch.zeros(4, 2), 2, 4).tolist())) == 4
