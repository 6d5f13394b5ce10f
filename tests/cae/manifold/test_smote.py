"""New codes between neighbouring codes of one class."""

from __future__ import annotations

import pytest
import torch
from manifolds import random_manifold

from cae.manifold.smote import smote


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_codes_lie_between_neighbours_of_one_class():
    classes = torch.tensor([0] * 10 + [1] * 10)
    codes = torch.randn(20, 3, generator=seeded()) + 5 * classes[:, None]
    made = smote(codes, classes, 50, neighbours=3, generator=seeded(1))
    assert made.codes.shape == (50, 3)
    assert torch.equal(classes[made.first], made.predictions)
    assert torch.equal(classes[made.second], made.predictions)
    assert torch.allclose(made.codes, codes[made.first].lerp(codes[made.second], made.share[:, None]))
    for a, b in zip(made.first.tolist(), made.second.tolist(), strict=True):
        own = (classes == classes[a]).nonzero()[:, 0]
        assert b in own[(codes[own] - codes[a]).norm(dim=1).argsort()[1:4]].tolist()


def test_every_one_of_the_nearest_is_drawn_and_each_as_often():
    codes = torch.tensor([[0.0], [1.0], [2.1], [3.3], [9.0]])
    made = smote(codes, torch.zeros(5).long(), 5000, neighbours=3, generator=seeded())
    shares = made.second[made.first == 0].bincount(minlength=5) / (made.first == 0).sum()
    assert shares.tolist() == pytest.approx([0, 1 / 3, 1 / 3, 1 / 3, 0], abs=0.05)


def test_distances_are_in_units_of_the_scale():
    codes = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 5.0]])
    for scale, nearest in (([1.0, 1.0], 1), ([1.0, 10.0], 2)):
        made = smote(codes, torch.zeros(3).long(), 50, 1, seeded(), scale=torch.tensor(scale))
        assert set(made.second[made.first == 0].tolist()) == {nearest}


@pytest.mark.parametrize(("u", "end"), [(0.0, 0), (1.0, 1)])
def test_end_points_are_the_codes_themselves(u, end, monkeypatch):
    codes, probabilities = torch.tensor([[0.3, 0.1], [0.7, 0.9]]), torch.tensor([[0.9, 0.1], [0.6, 0.4]])
    draws = torch.tensor([[0.1], [0.1], [u]])  # a is the first code, b its only neighbour
    monkeypatch.setattr(torch, "rand", lambda *_, **__: draws)
    made = smote(codes, torch.zeros(2).long(), 1)
    assert torch.equal(made.codes[0], codes[end])
    assert torch.equal(made.mix(probabilities)[0], probabilities[end])


def test_whatever_belongs_to_the_codes_mixes_as_they_do():
    codes, probabilities = torch.tensor([[0.0], [1.0]]), torch.tensor([[1.0, 0.0], [0.6, 0.4]])
    made = smote(codes, torch.zeros(2).long(), 20, generator=seeded())
    torch.testing.assert_close(made.mix(probabilities)[:, 1], 0.4 * made.codes[:, 0])
    assert 0 < made.codes.min() < made.codes.max() < 1


def test_lone_codes_are_avoided_unless_all_are_alone():
    codes = torch.tensor([[0.0], [1.0], [9.0]])
    assert smote(codes, torch.tensor([0, 0, 1]), 100, generator=seeded()).codes.max() <= 1
    alone = smote(codes, torch.tensor([0, 1, 2]), 100, generator=seeded())
    assert set(alone.codes.flatten().tolist()) == {0.0, 1.0, 9.0}
    assert torch.equal(alone.first, alone.second)


def test_of_equal_codes_none_is_its_own_neighbour():
    made = smote(torch.zeros(20, 2), torch.zeros(20).long(), 40, generator=seeded())
    assert torch.equal(made.codes, torch.zeros(40, 2))
    assert torch.all(made.first != made.second)


def test_of_none_is_empty_and_of_a_single_code_itself():
    code, prediction = torch.ones(1, 2), torch.zeros(1).long()
    assert smote(code, prediction, 0).codes.shape == (0, 2)
    assert torch.equal(smote(code, prediction, 3).codes, torch.ones(3, 2))


def test_the_seed_decides_and_gradients_pass():
    codes, classes = torch.arange(12.0).view(6, 2).requires_grad_(), torch.tensor([0, 0, 0, 1, 1, 1])
    one, other = (smote(codes, classes, 5, generator=seeded(3)).codes for _ in range(2))
    assert torch.equal(one, other)
    one.sum().backward()
    assert codes.grad is not None
    assert float(codes.grad.sum()) == pytest.approx(10)


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


@pytest.mark.parametrize(("share", "end"), [(0.0, 0), (1.0, 1)])
def test_the_ends_of_a_segment_are_the_codes_themselves(share, end, monkeypatch):
    codes, probabilities = torch.tensor([[0.3, 0.1], [0.7, 0.9]]), torch.tensor([[0.9, 0.1], [0.6, 0.4]])
    draws = torch.tensor([[0.1], [0.1], [share]])  # the first code, and its only neighbour
    monkeypatch.setattr(torch, "rand", lambda *_, **__: draws)
    made = smote(codes, torch.zeros(2, dtype=torch.int64), 1)
    assert torch.equal(made.codes[0], codes[end])
    assert torch.equal(made.mix(probabilities)[0], probabilities[end])
