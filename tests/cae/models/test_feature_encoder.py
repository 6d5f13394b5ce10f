"""Class codes read in the frozen classifier's own features."""

from __future__ import annotations

import copy

import pytest
import torch

from cae.classifiers import ClassifierReader, SmallResNet, TargetClassifier
from cae.config import ModelConfig
from cae.errors import UserError
from cae.models.cae import CAE
from cae.models.feature_encoder import Standardised
from cae.models.loading import load_cae

SHAPE = (1, 32, 32)


@pytest.fixture
def reader() -> ClassifierReader:
    torch.manual_seed(0)
    return ClassifierReader(TargetClassifier(SmallResNet(3), ("a", "b", "c"), image_shape=SHAPE, scores="logits"))


@pytest.fixture
def cae(reader) -> CAE:
    torch.manual_seed(1)
    built = CAE(SHAPE, ModelConfig(class_dim=4, width=4, individual_channels=2, residual_blocks=1), reader).eval()
    built.class_encoder.calibrate(images(20))
    return built


def images(count: int) -> torch.Tensor:
    return torch.rand(count, *SHAPE, generator=torch.Generator().manual_seed(count))


def test_the_code_is_a_linear_map_of_the_standardised_features(cae, reader):
    seen = images(20)
    features = reader(seen).features
    standard = (features - features.mean(0)) / features.std(0, correction=0)
    expected = standard @ cae.class_encoder.head.weight.T + cae.class_encoder.head.bias
    torch.testing.assert_close(cae.encode(seen).class_code, expected, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(cae.class_code_of(features), expected, atol=1e-4, rtol=1e-4)


def test_calibrated_maps_have_mean_0_and_deviation_1_and_constant_channels_vanish():
    own, x = Standardised(3), torch.randn(50, 3, 4, 4) * torch.tensor([2.0, 0.0, 5.0])[:, None, None] + 7
    own.measure(x.split(20))
    found = own(x)
    torch.testing.assert_close(found.mean((0, 2, 3)), torch.zeros(3), atol=1e-5, rtol=0)
    torch.testing.assert_close(found.std((0, 2, 3), correction=0), torch.tensor([1.0, 0, 1]), atol=1e-5, rtol=0)


def test_own_codes_change_nothing_and_swaps_are_images(cae):
    seen = images(3)
    codes = cae.encode(seen)
    base = cae.base(codes.individual_code, codes.class_code)
    torch.testing.assert_close(cae.join(codes.class_code, base).image, cae.to_unit(base.image))
    swapped = cae.swap(codes, codes[torch.tensor([1, 2, 0])])
    assert swapped.shape == seen.shape
    assert swapped.aminmax().min >= 0
    assert swapped.aminmax().max <= 1


def test_the_classifier_is_no_part_of_the_weights_nor_of_a_copy(cae, reader):
    names = set(cae.state_dict())
    assert {"class_encoder.head.weight", "class_encoder.features.mean"} <= names
    assert not any("network" in name or "stem" in name for name in names)
    assert copy.deepcopy(cae).class_encoder.reader is reader


def test_a_saved_one_opens_with_its_classifier_and_says_so_without(cae, reader, tmp_path):
    path = tmp_path / "cae.safetensors"
    cae.save(path, {"classifier": "f"})
    with pytest.raises(UserError, match="class code in its classifier's features, and no classifier was given"):
        load_cae(path)
    loaded, header = load_cae(path, lambda _: reader)
    assert header["model"]["class_code"] == "classifier"
    assert torch.equal(loaded.encode(images(2)).class_code, cae.encode(images(2)).class_code)


def test_a_model_with_an_encoder_of_its_own_takes_no_features():
    with pytest.raises(ValueError, match="reads images"):
        CAE(SHAPE, ModelConfig(width=4)).class_code_of(torch.rand(2, 64))


def test_evidence_takes_the_maps_of_its_resolution_and_all_coarser_ones(cae):
    assert cae.evidence.first == [1, 0]  # 1/4 of the side: maps of 8 and 4 pixels; 1/2: all
