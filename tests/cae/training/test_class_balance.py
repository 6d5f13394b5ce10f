"""The order of a classifier's training images: classes equal in number, images of a class in turn."""

from __future__ import annotations

import torch

from cae.data import ArraySet
from cae.training.class_balance import BalancedOrder, WithLabels, balanced_order


def test_every_class_and_within_it_every_image_comes_as_often():
    labels = torch.tensor([0] * 12 + [2] * 3 + [5])
    order = balanced_order(labels, 36, torch.Generator().manual_seed(0))
    counts = torch.bincount(order, minlength=16).tolist()
    assert counts == [1] * 12 + [4] * 3 + [12]


def test_what_does_not_divide_is_dealt_out():
    labels = torch.tensor([0, 0, 0, 1, 2])
    for seed in range(5):
        order = balanced_order(labels, 7, torch.Generator().manual_seed(seed))
        assert sorted(torch.bincount(labels[order]).tolist()) == [2, 2, 3]


def test_the_order_follows_from_seed_and_epoch():
    labels = torch.arange(40) % 3
    order = BalancedOrder(labels, 30, seed=1)
    first = list(order)
    assert list(order) == first
    assert len(first) == len(order) == 30
    order.set_epoch(1)
    assert list(order) != first
    assert list(BalancedOrder(labels, 30, seed=2)) != first


def test_other_labels_leave_the_images_as_they_are():
    images = ArraySet(torch.rand(3, 1, 2, 2), torch.tensor([0, 1, 0]), ["a", "b", "c"], torch.ones(3, 1, 2, 2))
    found = WithLabels(images, [2, 2, 1])
    assert found.labels.tolist() == [2, 2, 1]
    assert [found[index].label for index in range(len(found))] == [2, 2, 1]
    assert torch.equal(found[1].image, images[1].image)
    assert found[1].id == "b"
    assert found[1].mask is not None
