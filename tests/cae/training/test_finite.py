"""A training that diverges says so, keeps its last good checkpoint, and exports nothing."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import load_file
from tiny_training import level_classifier, tiny_config, tiny_data

from cae.classifiers import SmallResNet, save_classifier
from cae.config import ClassifierConfig
from cae.config.command_line import load_config
from cae.errors import UserError
from cae.files import non_finite, write_weights
from cae.training.cae import train_cae
from cae.training.classifier import train_classifier, train_oracle
from cae.training.classifier_module import ClassifierModule
from cae.training.finite import losses_of
from explainers.caes.ncc_training import ncc_command
from explainers.infills.training import sampler_command

TOO_HIGH = 1e30
SMALL = ("classifier.width=4", "classifier.epochs=3", "oracle.width=4", "oracle.epochs=3")


def exported(folder) -> set[str]:
    """Files of results that a stage has left."""
    names = {path.name for path in folder.iterdir() if path.is_file()}
    return {name for name in names if name.endswith((".safetensors", ".json")) and name != "stages.json"}


def test_what_is_not_finite_is_named():
    tensors = {"a": torch.ones(3), "b": torch.tensor([1.0, torch.nan]), "c": torch.tensor([torch.inf])}
    assert non_finite({**tensors, "count": torch.tensor([2])}) == ["b", "c"]


def test_weights_that_are_not_finite_are_not_written(tmp_path):
    with pytest.raises(UserError, match=r"own\.safetensors' is not written: 1 of 2 .*'b'.*lower learning rate"):
        write_weights(tmp_path / "own.safetensors", {"a": torch.ones(2), "b": torch.tensor([torch.nan])}, "own", {})
    assert list(tmp_path.iterdir()) == []


def test_a_classifier_that_is_not_finite_is_not_written(tmp_path):
    network = SmallResNet(2, channels=1, width=4)
    with torch.no_grad():
        network.head.weight[0, 0] = torch.inf
    with pytest.raises(UserError, match=r"classifier\.safetensors' is not written.*head\.weight"):
        save_classifier(tmp_path, network, ClassifierConfig(width=4), ("a", "b"), (1, 16, 16))
    assert list(tmp_path.iterdir()) == []


def test_losses_are_those_returned_or_else_those_logged():
    logged = {"train/a": torch.tensor(1.0), "val/b": torch.tensor(2.0)}
    assert losses_of({"loss": torch.tensor(3.0)}, logged) == {"loss": torch.tensor(3.0)}
    assert losses_of(torch.tensor(3.0), logged) == {"loss": torch.tensor(3.0)}
    assert losses_of(None, logged) == losses_of({}, logged) == {"train/a": torch.tensor(1.0)}


@pytest.mark.parametrize("every", [1, 1000])  # found by the loss, found before the first validation
def test_a_classifier_that_diverges_exports_nothing(every, tmp_path):
    config = tiny_config(*SMALL, f"logging.every={every}", f"classifier.learning_rate={TOO_HIGH}")
    words = r"classifier: the training diverged.* at step \d+; nothing is exported.*no checkpoint.*lower classifier\.l"
    with pytest.raises(UserError, match=words):
        train_classifier(config, tiny_data(config), tmp_path)
    assert exported(tmp_path) == set()


def test_the_last_good_checkpoint_stays_and_is_named(tmp_path, monkeypatch):
    step = ClassifierModule.training_step

    def diverging(self, batch, batch_idx):
        return step(self, batch, batch_idx) * (torch.nan if self.current_epoch == 1 and batch_idx == 2 else 1)

    monkeypatch.setattr(ClassifierModule, "training_step", diverging)
    config = tiny_config(*SMALL, "logging.every=1000", "classifier.epochs=6")
    with pytest.raises(UserError, match=r"at step 40; .*the last good checkpoint is '.*\.ckpt'.*overwrite=true"):
        train_classifier(config, tiny_data(config), tmp_path)
    for path in (tmp_path / "classifier_checkpoints").glob("*.ckpt"):
        assert not non_finite(torch.load(path, weights_only=True)["state_dict"]), path
    assert exported(tmp_path) == set()


def test_an_oracle_that_diverges_names_the_option_it_follows(tmp_path):
    config = tiny_config(*SMALL, f"classifier.learning_rate={TOO_HIGH}")
    with pytest.raises(UserError, match=r"oracle: the training diverged.*lower classifier\.learning_rate"):
        train_oracle(config, tiny_data(config), level_classifier(), tmp_path)
    assert exported(tmp_path) == set()


@pytest.mark.parametrize("preset", ["default", "published"])
@pytest.mark.parametrize("every", [1, 1000])
def test_a_cae_that_diverges_exports_nothing(preset, every, tmp_path):
    size = ["data.image_size=32"] if preset == "published" else []
    rates = [f"cae.learning_rate={TOO_HIGH}", f"cae.discriminator_learning_rate={TOO_HIGH}"]
    config = tiny_config(f"cae.preset={preset}", *size, *rates, f"logging.every={every}")
    with pytest.raises(UserError, match=r"cae: the training diverged.*lower cae\.learning_rate \(now 1e\+30\) or"):
        train_cae(config, tiny_data(config), level_classifier(), level_classifier(), tmp_path)
    assert exported(tmp_path) == set()


def test_coefficients_that_diverge_export_nothing(tmp_path):
    config = load_config(overrides=[
        f"runs={tmp_path}", "name=own", "ncc.networks=1", "ncc.width=4", "ncc.steps=40", "ncc.validate_every=20",
        "ncc.pairs=20", "ncc.validation_pairs=20", f"ncc.learning_rate={TOO_HIGH}", "trainer.accelerator=cpu",
        "logging.progress=false", "logging.every=5",
    ])  # fmt: skip
    with pytest.raises(UserError, match=r"ncc: the training diverged.*ncc\.learning_rate"):
        ncc_command(config)
    assert exported(tmp_path / "own") == set()


def test_a_sampler_that_diverges_exports_nothing(tmp_path):
    config = load_config(overrides=[
        f"runs={tmp_path}", "name=own", "data.image_size=16", "data.lesions.train=24", "data.lesions.val=6",
        "data.lesions.test=6", "sampler.window=4", "sampler.width=8", "sampler.max_steps=20",
        "sampler.validate_every=10", "sampler.validation_crops=20", f"sampler.learning_rate={TOO_HIGH}",
        "trainer.accelerator=cpu", "logging.progress=false", "logging.every=5",
    ])  # fmt: skip
    with pytest.raises(UserError, match=r"sampler: the training diverged.*sampler\.learning_rate"):
        sampler_command(config)
    assert exported(tmp_path / "own") == set()


def test_weights_of_a_finished_training_are_finite(tmp_path):
    config = tiny_config(*SMALL)
    train_classifier(config, tiny_data(config), tmp_path)
    assert not non_finite(load_file(tmp_path / "classifier.safetensors"))
