"""Data sets are told apart by what they hold, wherever it lies."""

from __future__ import annotations

import json

import pytest
import torch
from tiny_training import CLASSES, tiny_images

from cae.data import ArraySet, Splits
from cae.data.fingerprint import data_fingerprint, same_data


def splits(classes=CLASSES, **changed: ArraySet) -> Splits:
    sets = {name: tiny_images(12, seed, name) for seed, name in enumerate(("train", "val", "test"))}
    return Splits(**{**sets, **changed}, classes=classes)


def test_the_same_data_has_the_same_fingerprint_also_as_json():
    first, second = data_fingerprint(splits()), data_fingerprint(splits())
    assert first == second
    assert same_data(json.loads(json.dumps(first)), second)


@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_other_images_labels_ids_and_classes_are_other_data(split):
    before, images = data_fingerprint(splits()), tiny_images(12, 0, split)
    others = [
        ArraySet(images.images.flip(0), images.labels, images.ids),
        ArraySet(images.images, images.labels.flip(0), images.ids),
        ArraySet(images.images, images.labels, images.ids[::-1]),
        ArraySet(images.images[:9], images.labels[:9], images.ids[:9]),
    ]
    for other in others:
        assert not same_data(before, data_fingerprint(splits(**{split: other})))
    assert not same_data(before, data_fingerprint(splits(classes=CLASSES[::-1])))


def test_what_decoders_differ_in_does_not_make_other_data():
    images = tiny_images(12, 0, "train")
    before = data_fingerprint(splits(train=images))
    rounded = ArraySet(
        (images.images + (torch.rand(images.images.shape) - 0.5) / 255).clamp(0, 1), images.labels, images.ids
    )
    assert same_data(before, data_fingerprint(splits(train=rounded)))


def test_names_that_are_no_unicode_have_a_fingerprint():
    images = tiny_images(12, 0, "train")
    odd = ArraySet(images.images, images.labels, ["a\udcff", *images.ids[1:]])
    assert not same_data(data_fingerprint(splits(train=images)), data_fingerprint(splits(train=odd)))
