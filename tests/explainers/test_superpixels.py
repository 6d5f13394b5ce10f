"""Superpixels partition an image and follow its colours."""

import pytest
import torch
from tiny_classifiers import random_images

from explainers.superpixels import superpixels


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("blur", [0.0, 1.0])
def test_superpixels_partition_the_image_and_are_the_same_at_every_call(channels, blur):
    image = random_images(1, channels)[0]
    labels = superpixels(image, 16, blur)
    assert (labels.shape, labels.dtype) == (image.shape[1:], torch.int64)
    assert labels.unique().tolist() == list(range(int(labels.max()) + 1))
    assert torch.equal(labels, superpixels(image, 16, blur))


@pytest.mark.parametrize("channels", [1, 3])
def test_no_superpixel_crosses_a_sharp_edge(channels):
    image = torch.full((channels, 32, 32), 0.1)
    image[:, :, 13:] = 0.9
    labels = superpixels(image, 16)
    assert not set(labels[:, :13].unique().tolist()) & set(labels[:, 13:].unique().tolist())
