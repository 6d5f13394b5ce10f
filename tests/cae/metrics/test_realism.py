"""Distances between sets of features, with exact answers."""

from __future__ import annotations

import pytest
import torch

from cae.metrics.realism import feature_similarity, fid, frechet_distance, kid, sfid


def features(count: int, width: int, seed: int, shift: float = 0.0) -> torch.Tensor:
    return torch.randn(count, width, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) + shift


def test_frechet_distance_of_normal_distributions_is_the_closed_form():
    a, b, mean = torch.tensor([1.0, 4.0, 0.25]), torch.tensor([9.0, 1.0, 0.25]), torch.tensor([1.0, -2.0, 0.5])
    expected = 1 + 4 + 0.25 + (1 - 3) ** 2 + (2 - 1) ** 2
    distance = frechet_distance(torch.zeros(3), torch.diag(a), mean, torch.diag(b))
    assert distance == pytest.approx(expected, rel=1e-9)
    turn = torch.linalg.qr(features(3, 3, 0))[0]
    turned = frechet_distance(
        torch.zeros(3),
        turn @ torch.diag(a).double() @ turn.T,
        turn @ mean.double(),
        turn @ torch.diag(b).double() @ turn.T,
    )
    assert turned == pytest.approx(expected, rel=1e-9)


def test_identical_sets_have_no_distance_and_a_shift_has_its_square():
    cloud = features(200, 5, 1)
    assert fid(cloud, cloud) == pytest.approx(0, abs=1e-6 * 5)
    assert fid(cloud, cloud + 0.5) == pytest.approx(5 * 0.25, rel=1e-6)


def test_no_more_images_than_features_are_refused_unless_allowed():
    with pytest.raises(ValueError, match="10 features needs more than 10 images, but got 10"):
        fid(features(10, 10, 0), features(50, 10, 1))
    assert fid(features(10, 10, 0), features(50, 10, 1), allow_few=True) > 0
    with pytest.raises(ValueError, match="got 10"):
        sfid(features(20, 10, 0), features(20, 10, 1))


def test_sfid_of_unchanged_images_is_the_distance_of_the_halves():
    cloud = features(60, 4, 2)
    expected, generator = [], torch.Generator().manual_seed(3)
    for _ in range(5):
        first = torch.randperm(60, generator=generator) < 30
        expected.append(fid(cloud[first], cloud[~first]))
    assert sfid(cloud, cloud, seed=3) == pytest.approx(sum(expected) / 5, rel=1e-9)
    assert sfid(cloud, cloud, seed=3) > fid(cloud, cloud) + 0.01


def test_sfid_keeps_all_counterfactuals_of_an_image_out_of_the_half_of_its_original():
    cloud = features(40, 2, 4)
    twice = cloud.repeat_interleave(2, 0)
    images = torch.arange(40).repeat_interleave(2)
    kept, mixed = sfid(twice, twice, images), sfid(twice, twice)
    assert mixed < 0.7 * kept  # where an image stands in both halves, they are alike


def test_kid_is_unbiased_for_few_images_and_sees_a_shift():
    same = [kid(features(8, 6, seed), features(8, 6, 100 + seed)) for seed in range(200)]
    mean, error = torch.tensor(same).mean(), torch.tensor(same).std() / 200**0.5
    assert abs(float(mean)) < 3 * float(error)
    assert min(same) < 0
    moved = [kid(features(8, 6, seed), features(8, 6, 100 + seed, shift=1.0)) for seed in range(20)]
    assert min(moved) > 5 * float(error)


def test_kid_of_points_is_the_kernel_by_hand():
    a, b = torch.tensor([[1.0], [2.0]]), torch.tensor([[0.0], [1.0]])
    kernel = lambda x, y: (x * y + 1) ** 3  # noqa: E731
    expected = kernel(1, 2) + kernel(0, 1) - 2 * (kernel(1, 0) + kernel(1, 1) + kernel(2, 0) + kernel(2, 1)) / 4
    assert kid(a, b) == pytest.approx(expected)


def test_feature_similarity_is_the_cosine():
    a, b = torch.tensor([[1.0, 0.0], [1.0, 1.0], [1.0, 0.0]]), torch.tensor([[2.0, 0.0], [1.0, 0.0], [-1.0, 0.0]])
    assert feature_similarity(a, b).tolist() == pytest.approx([1, 0.5**0.5, -1])
