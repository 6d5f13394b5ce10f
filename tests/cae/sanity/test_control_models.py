"""The faulty classifiers of the sanity tests, and the options that they are trained with."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest
import torch
from sanity_run import config_in

from cae.classifiers import TargetClassifier
from cae.classifiers.networks import PlainConvNet
from cae.data import CAEDataModule
from cae.errors import UserError
from cae.sanity import control_models as models
from cae.sanity.control_models import control_config
from cae.sanity.null_cases import Constant
from cae.training.cae import logits_of


def test_the_runs_own_cae_is_the_first_of_the_two(tmp_path, monkeypatch):
    config = config_in(tmp_path)
    taken = control_config(config, "randomised", "seed_0")
    own, control = tmp_path / "toy", tmp_path / "toy" / "sanity" / "randomised" / "seed_0"
    own.mkdir()
    for name in ("cae", "manifold"):
        (own / f"{name}.safetensors").write_bytes(name.encode())
    header = {"config": json.loads(json.dumps(models.asdict(taken.cae))), "classifier": "f" * 16}
    monkeypatch.setattr(models, "read_weights", lambda path: (header, {}))
    run = models.RunFolder(taken)
    monkeypatch.setattr(TargetClassifier, "fingerprint", lambda self: "other")
    data = SimpleNamespace(fingerprint={"names": "a", "levels": {}})
    blind = TargetClassifier(Constant((0.0, 1.0)), ("a", "b"), image_shape=(1, 16, 16))
    models._reuse_own_cae(own, run, taken, data, blind)
    assert not control.exists()
    monkeypatch.setattr(TargetClassifier, "fingerprint", lambda self: "f" * 16)
    models._reuse_own_cae(own, run, taken, data, blind)
    assert (control / "cae.safetensors").read_bytes() == b"cae"
    assert (control / "manifold.safetensors").read_bytes() == b"manifold"


def test_standardised_logits_have_mean_zero_and_deviation_one_and_spread_predictions(tmp_path):
    config = control_config(config_in(tmp_path, "classifier.model=plain"), "randomised", "random")
    data = CAEDataModule(config.data)
    torch.manual_seed(0)
    network = PlainConvNet(3, width=4)
    before = network.head.weight.clone()
    classifier = models.standardised_classifier(config, data, network)
    # dividing by the small deviation of an untrained network's logits magnifies their rounding
    logits, _ = logits_of(classifier, data.train, 32)
    assert torch.allclose(logits.mean(0), torch.zeros(3), atol=5e-3)
    assert torch.allclose(logits.std(0), torch.ones(3), atol=5e-3)
    assert len(logits.argmax(1).unique()) == 3
    assert torch.equal(network.head.weight, before)


def test_an_untrained_network_has_logits_that_differ_before_they_are_scaled(tmp_path, monkeypatch):
    config = control_config(config_in(tmp_path), "randomised", "random")
    monkeypatch.setattr(models, "standardised_classifier", lambda config, data, network: network)
    data = CAEDataModule(config.data)
    network = models.random_classifier(config, data)
    assert not network.training
    images = torch.stack([data.train[place].image for place in range(48)])
    assert float(network(images).std(0).min()) > 0.01
    assert torch.equal(network.head.weight, models.random_classifier(config, data).head.weight)


def test_steps_of_the_control_models_are_checked_like_any_option(tmp_path):
    assert control_config(config_in(tmp_path), "a", "b").cae.max_steps == 8
    with pytest.raises(UserError, match="cae.warmup_steps"):
        control_config(config_in(tmp_path, "sanity.steps=3"), "a", "b")
