"""Weights as they are found in the wild: inside anything, under any name, or told in a sentence."""

from __future__ import annotations

import warnings

import pytest
import torch
from torch import nn

from cae.classifiers import SmallResNet, TargetClassifier, load_classifier
from cae.classifiers.state_dicts import common_prefix, weights_inside, with_own_head
from cae.config import ClassifierConfig
from cae.errors import UserError

CLASSES = ("a", "b", "c")
SHAPE = (1, 32, 32)


@pytest.fixture
def images():
    return torch.rand(2, *SHAPE, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def network():
    torch.manual_seed(0)
    return SmallResNet(3, channels=1, width=4).eval()


def load(content, path, model="resnet") -> TargetClassifier:
    torch.save(content, path)
    return load_classifier(ClassifierConfig(model=model, width=4, weights=str(path)), CLASSES, SHAPE)


@pytest.mark.parametrize(
    "wrap",
    [
        lambda state: {"net": state},
        lambda state: {"weights": state, "optimizer": {"state": {0: {"momentum": torch.zeros(9)}}}},
        lambda state: {"checkpoint": {"state": {"params": state}}, "epoch": 3},
        lambda state: {"state_dict": {f"net.{key}": value for key, value in state.items()}},
        lambda state: {f"lightning.backbone.{key}": value for key, value in state.items()},
        lambda state: {"model": {f"_orig_mod.module.{key}": value for key, value in state.items()}},
    ],
)
def test_weights_are_found_inside_anything_and_behind_any_prefix(tmp_path, network, images, wrap):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        loaded = load(wrap(network.state_dict()), tmp_path / "w.pt")
    assert torch.equal(loaded.logits(images), network(images))


def test_of_raw_and_averaged_weights_the_raw_ones_are_used_and_said(tmp_path, network, images):
    state = network.state_dict()
    averaged = {key: torch.zeros_like(value) for key, value in state.items()}
    flat = {f"ema.{key}": value for key, value in averaged.items()}
    flat |= {f"online.{key}": value for key, value in state.items()}
    for content, words in (
        ({"model_ema": averaged, "network": state}, "those under 'network' are used, not those under 'model_ema'"),
        (flat, r"under the names online\.…, ema\.…; the first is used"),
    ):
        with pytest.warns(UserWarning, match=words):
            loaded = load(content, tmp_path / "w.pt")
        assert torch.equal(loaded.logits(images), network(images))


def test_a_path_may_start_at_the_home_folder(tmp_path, network, images, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    torch.save(network.state_dict(), tmp_path / "w.pt")
    loaded = load_classifier(ClassifierConfig(width=4, weights="~/w.pt"), CLASSES, SHAPE)
    assert torch.equal(loaded.logits(images), network(images))


def test_a_replaced_head_is_read_as_the_networks_own(tmp_path, images):
    models = pytest.importorskip("torchvision.models")
    torch.manual_seed(0)
    network = models.resnet18(num_classes=3)
    network.fc = nn.Sequential(nn.Dropout(0.5), network.fc)
    with pytest.warns(UserWarning, match=r"'fc\.1' read as 'fc'"):
        loaded = load(network.state_dict(), tmp_path / "w.pt", "torchvision:resnet18")
    assert torch.allclose(loaded.logits(images), network.eval()(images.repeat(1, 3, 1, 1)), atol=1e-5)
    wider = dict(network.state_dict()) | {"fc.1.weight": torch.zeros(7, 512), "fc.1.bias": torch.zeros(7)}
    with pytest.raises(UserError, match="for 7 classes, but the data has 3"):
        load(wider, tmp_path / "w.pt", "torchvision:resnet18")


def test_a_head_that_cannot_be_read_is_told_with_the_line_that_would_cure_it(tmp_path):
    models = pytest.importorskip("torchvision.models")
    network = models.resnet18(num_classes=3)
    network.fc = nn.Sequential(nn.Linear(512, 8), nn.ReLU(), nn.Linear(8, 3))
    state = {f"backbone.{key}": value for key, value in network.state_dict().items()} | {"loss.weight": torch.ones(3)}
    with pytest.raises(UserError) as error:
        load(state, tmp_path / "w.pt", "torchvision:resnet18")
    for words in (
        "2 of its 122 tensors are missing (fc.weight, fc.bias)",
        "5 are unexpected (fc.0.weight, fc.0.bias, fc.2.weight, …)",
        "`model = torchvision.models.resnet18(); model.fc = …`",
        "`classifier.model=callable:my_networks:model`",
    ):
        assert words in str(error.value)


def test_auxiliary_heads_may_be_missing_or_left_over():
    network = nn.ModuleDict({"body": nn.Linear(2, 2), "aux1": nn.Linear(2, 2)})
    from cae.classifiers.checkpoints import load_weights

    state = {f"body.{key}": torch.ones_like(value) for key, value in nn.Linear(2, 2).state_dict().items()}
    for left_over in ({}, {"AuxLogits.fc.weight": torch.zeros(1)}):
        load_weights(network, state | left_over, "w.pt", "mine")
        assert torch.equal(network["body"].weight, torch.ones(2, 2))


def test_the_prefix_is_what_makes_most_names_those_of_the_network():
    state = {"a.b.weight": 0, "a.b.bias": 0, "a.c.weight": 0, "weight": 0}
    assert common_prefix(state, {"b.weight", "b.bias", "c.weight", "weight"}) == "a."
    assert common_prefix(state, {"nothing"}) == ""


def test_optimizer_states_are_no_weights():
    assert weights_inside({"optimizer": {"state": {"0": torch.zeros(1)}}}, "x") == {}


def test_two_layers_are_no_replaced_head():
    network = nn.ModuleDict({"fc": nn.Linear(2, 2)})
    state = {"fc.0.weight": torch.zeros(2, 2), "fc.2.weight": torch.zeros(2, 2)}
    assert with_own_head(network, state) == (state, "")


def test_a_network_that_may_have_normalised_its_input_itself_is_questioned(tmp_path):
    models = pytest.importorskip("torchvision.models")
    network = models.googlenet(num_classes=3, aux_logits=False, init_weights=False)
    torch.save(network.state_dict(), tmp_path / "w.pt")
    config = ClassifierConfig(model="torchvision:googlenet", weights=str(tmp_path / "w.pt"))
    with pytest.warns(UserWarning, match=r"classifier\.mean=\[0\.5,0\.5,0\.5\]"):
        loaded = load_classifier(config, CLASSES, (3, 64, 64))
    images = torch.rand(1, 3, 64, 64)
    assert torch.allclose(loaded.logits(images), network.eval()(images), atol=1e-4)


def test_two_sets_of_weights_are_told_where_one_has_no_counters(tmp_path, network, images):
    state = network.state_dict()
    twin = {f"shadow.{key}": value * 0 for key, value in state.items() if "num_batches" not in key}
    with pytest.warns(UserWarning, match=r"several sets of weights, under the names net\.…, shadow\.…"):
        loaded = load(twin | {f"net.{key}": value for key, value in state.items()}, tmp_path / "w.pt")
    assert torch.equal(loaded.logits(images), network(images))


@pytest.mark.parametrize(
    "quantised",
    [
        lambda weight: (weight * 100).to(torch.int8),
        lambda weight: torch.quantize_per_tensor(weight, 0.01, 0, torch.qint8),
    ],
)
def test_weights_of_a_quantised_network_are_refused(tmp_path, network, quantised):
    state = {key: quantised(value) if value.ndim > 1 else value for key, value in network.state_dict().items()}
    with pytest.raises(UserError, match="holds the weights of a quantised network: .* tensors are whole numbers"):
        load(state, tmp_path / "w.pt")


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16, torch.float64])
def test_weights_of_other_precision_are_read(tmp_path, network, images, kind):
    state = {key: value.to(kind) if value.is_floating_point() else value for key, value in network.state_dict().items()}
    assert torch.allclose(load(state, tmp_path / "w.pt").logits(images), network(images), atol=0.1)
