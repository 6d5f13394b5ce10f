"""A classifier read from within: logits, features and maps of one pass."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from cae.classifiers import ClassifierReader, PlainConvNet, SmallResNet, TargetClassifier, readable
from cae.classifiers.reading import as_map

CLASSES = ("a", "b", "c")


def classifier(network: nn.Module, shape=(1, 32, 32), **named) -> TargetClassifier:
    return TargetClassifier(network, CLASSES, image_shape=shape, scores="logits", **named)


@pytest.mark.parametrize("kind", [SmallResNet, PlainConvNet])
def test_one_pass_gives_the_logits_and_the_features_that_the_classifier_gives(kind):
    target, images = classifier(kind(3)), torch.rand(4, 1, 32, 32)
    reading = ClassifierReader(target)(images)
    assert torch.equal(reading.logits, target.logits(images))
    torch.testing.assert_close(reading.features, target.features(images))
    head = target.network.head
    torch.testing.assert_close(reading.features @ head.weight.T + head.bias, reading.logits)


def test_maps_are_the_last_of_each_size_from_half_of_the_side_on():
    target, images = classifier(SmallResNet(3)), torch.rand(2, 1, 32, 32)
    reader = ClassifierReader(target)
    assert reader.map_shapes == ((16, 16, 16), (32, 8, 8), (64, 4, 4))
    torch.testing.assert_close(reader(images).maps[-1].mean((2, 3)), target.features(images))
    assert reader(images, maps=False).maps == ()


def test_reading_leaves_no_hook_behind():
    target = classifier(SmallResNet(3))
    ClassifierReader(target)(torch.rand(1, 1, 32, 32))
    assert not any(part._forward_hooks or part._forward_pre_hooks for part in target.network.modules())


def test_gradients_of_features_reach_the_images_and_no_weight():
    target = classifier(SmallResNet(3))
    images = torch.rand(2, 1, 32, 32, requires_grad=True)
    ClassifierReader(target)(images, maps=False).features.sum().backward()
    assert images.grad.abs().sum() > 0
    assert all(weight.grad is None for weight in target.parameters())


def test_a_copy_reads_the_same_frozen_classifier():
    reader = ClassifierReader(classifier(SmallResNet(3)))
    assert copy.deepcopy(reader) is reader


def test_without_a_linear_layer_without_gradients_or_without_maps_there_is_nothing_to_read():
    flat = nn.Sequential(nn.Flatten(), nn.Linear(1024, 3))
    convolution = nn.Sequential(nn.Conv2d(1, 3, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    assert readable(classifier(flat)) is None
    assert readable(classifier(convolution)) is None
    assert readable(classifier(SmallResNet(3), differentiable=False)) is None
    assert readable(classifier(lambda images: images.mean((2, 3)).repeat(3, 1))) is None


def test_tokens_and_maps_with_channels_last_count_as_maps():
    tokens = torch.arange(2 * 17 * 3.0).view(2, 17, 3)
    assert torch.equal(as_map(tokens)[:, :, 0, 1], tokens[:, 2])  # after the token of the class
    assert as_map(tokens[:, 1:]).shape == (2, 3, 4, 4)
    last = torch.rand(2, 5, 5, 7)
    assert torch.equal(as_map(last), last.permute(0, 3, 1, 2))
    assert as_map(torch.rand(2, 7, 5, 5)).shape == (2, 7, 5, 5)
    assert as_map(torch.rand(2, 10, 3)) is None
    assert as_map((tokens,)) is None
