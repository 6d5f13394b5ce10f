"""Prototypes of a class, medoids and farthest points."""

from __future__ import annotations

import torch

from cae.manifold.prototypes import class_prototypes, farthest_points, k_medoids, medoid


def test_medoids_find_the_centres_of_three_blobs():
    centres = torch.tensor([[0.0, 0.0], [10.0, 0.0], [0.0, 10.0]], dtype=torch.float64)
    offsets = torch.tensor([[0.0, 0.0], [1.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [0.0, -1.0]], dtype=torch.float64)
    points = (centres[:, None] + offsets).reshape(-1, 2)
    assert sorted(k_medoids(points, 3).tolist()) == [0, 5, 10]
    assert k_medoids(points[:2], 3).tolist() == [0, 1]
    assert medoid(points[:5]) == 0
    assert len(set(farthest_points(torch.zeros(4, 2), 2, 4).tolist())) == 4


def test_prototypes_of_a_class_are_its_weighted_mean_its_middle_and_what_it_is_least_sure_of():
    codes = torch.tensor([[0.0, 0.0], [99.0, 99.0], [4.0, 2.0], [1.0, 1.0]], dtype=torch.float64)
    probabilities = torch.tensor([[0.5, 0.3, 0.2], [0.0, 1.0, 0.0], [0.8, 0.1, 0.1], [0.7, 0.1, 0.2]])
    members = torch.tensor([0, 2, 3])  # the second is of another class
    found = class_prototypes(codes, codes, probabilities.double(), members, target=0, clusters=3, boundary=2)
    # (0.5 (0, 0) + 0.8 (4, 2) + 0.7 (1, 1)) / 2
    torch.testing.assert_close(found.mean, torch.tensor([1.95, 1.15], dtype=torch.float64))
    assert found.medoid == 3
    assert sorted(found.medoids) == [0, 2, 3]
    assert found.boundary == (0, 3)  # margins 0.2, 0.7 and 0.5


def test_the_next_point_is_furthest_from_all_that_are_taken():
    line = torch.tensor([[0.0], [1.0], [4.0], [6.0], [10.0]])
    # 10 is furthest from 0; then 4, as far from 0 as 6 is from 10, and the first of the two; then 6, 2 from 4
    assert farthest_points(line, 0, 4).tolist() == [0, 4, 2, 3]
