"""Medoids, and codes made between neighbours of one class."""

from __future__ import annotations

import torch

from cae.manifold.prototypes import farthest_points, k_medoids, medoid, smote
from tests.support.manifolds import random_manifold


def test_medoids_find_the_centres_of_three_blobs():
    centres = torch.tensor([[0.0, 0.0], [10.0, 0.0], [0.0, 10.0]], dtype=torch.float64)
    offsets = torch.tensor([[0.0, 0.0], [1.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [0.0, -1.0]], dtype=torch.float64)
    points = (centres[:, None] + offsets).reshape(-1, 2)
    assert sorted(k_medoids(points, 3).tolist()) == [0, 5, 10]
    assert k_medoids(points[:2], 3).tolist() == [0, 1]
    assert medoid(points[:5]) == 0
    assert len(set(farthest_points(torch.zeros(4, 2), 2, 4).tolist())) == 4


def test_smote_draws_from_segments_between_neighbours_of_one_class():
    manifold = random_manifold(80)
    sample = manifold.smote(500, generator=torch.Generator().manual_seed(0))
    first, second = manifold.codes[sample.first], manifold.codes[sample.second]
    assert torch.equal(manifold.predictions[sample.first], manifold.predictions[sample.second])
    assert torch.equal(sample.predictions, manifold.predictions[sample.first])
    assert torch.all(sample.first != sample.second)
    assert torch.allclose(sample.codes, first + sample.share[:, None] * (second - first), atol=1e-5)
    assert 0 <= float(sample.share.min()) <= float(sample.share.max()) <= 1
    points = manifold.standardised(manifold.codes)
    for a, b in zip(sample.first[:50].tolist(), sample.second[:50].tolist(), strict=True):
        same = (manifold.predictions == manifold.predictions[a]).nonzero()[:, 0]
        distance = (points[same] - points[a]).norm(dim=1)
        assert b in same[distance.argsort()[1:6]].tolist()


def test_smote_ends_are_the_codes_themselves():
    codes = torch.randn(20, 4, generator=torch.Generator().manual_seed(1))
    predictions = torch.arange(20) % 2
    for share, end in ((0.0, "first"), (1.0, "second")):
        generator = torch.Generator().manual_seed(2)
        sample = smote(codes, predictions, 30, generator=generator, share=torch.full((30,), share))
        assert torch.equal(sample.codes, codes[getattr(sample, end)])


def test_smote_of_a_single_or_of_equal_codes():
    lonely = smote(
        torch.tensor([[1.0], [5.0], [6.0]]), torch.tensor([0, 1, 1]), 40, generator=torch.Generator().manual_seed(0)
    )
    assert torch.all(lonely.codes[lonely.first == 0] == 1.0)
    equal = smote(
        torch.zeros(20, 2), torch.zeros(20, dtype=torch.int64), 40, generator=torch.Generator().manual_seed(0)
    )
    assert torch.equal(equal.codes, torch.zeros(40, 2))
    assert torch.all(equal.first != equal.second)
