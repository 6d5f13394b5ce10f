"""Samples of images with their codes: who is taken, in which order, and when pictures belong to codes."""

from __future__ import annotations

import torch
from corner_world import Corners, TwoOfThree, corner_images, corner_manifold

from cae.data.arrays import ArraySet
from cae.manifold.image_codes import encode_rows, holds_images_of, manifold_codes, sampled_rows


def images_named(prefix: str) -> ArraySet:
    images, labels = corner_images()
    return ArraySet(images, labels, [f"{prefix}/{number}" for number in range(len(images))])


def test_sampled_rows_are_seeded_ascending_and_all_there_are_where_few():
    rows = sampled_rows(100, 10, seed=3)
    assert rows.tolist() == sorted(set(rows.tolist()))
    assert len(rows) == 10
    assert torch.equal(rows, sampled_rows(100, 10, seed=3))
    assert sampled_rows(4, 10, seed=0).tolist() == [0, 1, 2, 3]


def test_thumbnails_are_shown_only_beside_the_codes_of_the_same_images():
    manifold, rows = corner_manifold(), torch.tensor([4, 1])
    own, others = images_named("train"), images_named("other")
    assert holds_images_of(manifold, own)
    assert not holds_images_of(manifold, others)
    shown = manifold_codes(manifold, rows, own)
    assert torch.allclose(shown.thumbnails, own.images[rows])
    assert shown.ids == ["train/4", "train/1"]
    assert manifold_codes(manifold, rows, others).thumbnails is None


def test_encoded_rows_keep_their_order_and_do_not_depend_on_the_batch_size():
    images, rows = images_named("test"), torch.tensor([7, 0, 3])
    small, large = (encode_rows(TwoOfThree(), Corners(), images, rows, size) for size in (2, 64))
    assert small.ids == large.ids == ["test/7", "test/0", "test/3"]
    assert torch.equal(small.codes, TwoOfThree().encode(images.images[rows]).class_code)
    assert torch.allclose(small.probabilities, large.probabilities)
    assert torch.equal(small.predictions, images.labels[rows])


def test_large_images_become_thumbnails():
    images = ArraySet(torch.rand(2, 1, 384, 192), torch.tensor([0, 1]), ["a", "b"])
    found = encode_rows(TwoOfThree(), Corners(), images, torch.arange(2), 8)
    assert found.thumbnails.shape == (2, 1, 96, 48)
