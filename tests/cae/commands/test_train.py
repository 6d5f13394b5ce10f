"""Stages go on with what they began with: data, classifier, oracle and options."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from released import released
from tiny_training import OPTIONS

from cae.classifiers import SmallResNet, load_classifier, load_own, save_classifier
from cae.classifiers.identity import state_digest
from cae.classifiers.networks import PlainConvNet
from cae.commands import train
from cae.config import Config, OracleConfig
from cae.config.command_line import load_config
from cae.errors import UserError
from cae.files import read_json
from cae.models.published import PublishedCAE
from cae.models.released_checkpoints import load_released
from cae.runs.trained_run import load_run

SMALL = (*OPTIONS, "name=own", "classifier.width=4", "oracle.width=4", "data.source=folder", "data.image_size=16")
SHAPE = (1, 16, 16)


class Interrupted(Exception):
    pass


@pytest.fixture(scope="module")
def images(tmp_path_factory) -> Path:
    from PIL import Image

    folder = tmp_path_factory.mktemp("images")
    for name, level in (("dark", 40), ("light", 200)):
        (folder / name).mkdir()
        for number in range(10):
            Image.new("L", (16, 16), level + number).save(folder / name / f"{number}.png")
    return folder


def write_classifier(run: Path, seed: int, name: str = "classifier", side: int = 16, **facts) -> None:
    torch.manual_seed(seed)
    kind, options = (SmallResNet, load_config(overrides=SMALL[:1]).classifier)
    if name == "oracle":
        kind, options = PlainConvNet, OracleConfig(width=4)
    options.width = 4
    save_classifier(run, kind(2, width=4), options, ("dark", "light"), (1, side, side), name=name, **facts)


@pytest.fixture
def begun(images, tmp_path, monkeypatch) -> Path:
    """A run whose CAE training was stopped after its first checkpoint."""
    run = tmp_path / "own"
    write_classifier(run, 0)
    write_classifier(run, 0, "oracle")

    def stopped(config, data, classifier, oracle, folder, checkpoint=None, surrogate=None):
        (folder / "checkpoints").mkdir(exist_ok=True)
        (folder / "checkpoints" / "last.ckpt").touch()
        raise Interrupted(checkpoint)

    monkeypatch.setattr(train, "train_cae", stopped)
    with pytest.raises(Interrupted, match="None"):
        train.cae_stage(config_in(tmp_path, images))
    return run


def config_in(runs: Path, images: Path, *overrides: str) -> Config:
    return load_config(overrides=[*SMALL, f"runs={runs}", f"data.path={images}", *overrides])


def continued(run: Path, images: Path, *overrides: str) -> None:
    train.cae_stage(config_in(run.parent, images, "resume=last", *overrides))


def test_the_same_training_goes_on_also_where_run_and_data_were_moved(begun, images, tmp_path):
    with pytest.raises(Interrupted, match=r"last\.ckpt"):
        continued(begun, images)
    moved = tmp_path / "elsewhere" / "own"
    shutil.move(begun, moved)
    shutil.copytree(images, tmp_path / "images")
    with pytest.raises(Interrupted, match=r"elsewhere/own/checkpoints/last\.ckpt"):
        continued(moved, tmp_path / "images")


@pytest.mark.parametrize("option", ["seed=3", "cae.loss.coherency=1", "cae.learning_rate=0.5", "data.val_share=0.2"])
def test_other_options_are_refused(option, begun, images):
    name, _, value = option.partition("=")
    with pytest.raises(UserError, match=f"'{name}' is {value}, but the run was started with"):
        continued(begun, images, option)


def test_other_images_of_the_same_names_are_refused(begun, images, tmp_path):
    shutil.copytree(images, tmp_path / "images")
    for number in range(10):
        shutil.copy(images / "dark" / f"{9 - number}.png", tmp_path / "images" / "light" / f"{number}.png")
    with pytest.raises(UserError, match="the data are others than those .* set data.path"):
        continued(begun, tmp_path / "images")


@pytest.mark.parametrize("asked", [True, False])
def test_the_training_asks_an_oracle_that_its_validation_images_speak_for(asked, images, tmp_path, monkeypatch, capsys):
    run, agrees, guesses = tmp_path / "own", 10 * torch.eye(2), torch.full((2, 2), 5)
    write_classifier(run, 0)
    matrices = {"agreement": guesses, "validation_agreement": agrees if asked else guesses}
    write_classifier(run, 0, "oracle", matrices=matrices)
    judges = []

    def trained(config, data, classifier, oracle, folder, checkpoint=None, surrogate=None):
        judges.append(oracle and oracle.fingerprint())
        raise Interrupted

    monkeypatch.setattr(train, "train_cae", trained)
    with pytest.raises(Interrupted):
        train.cae_stage(config_in(tmp_path, images))
    assert judges == [load_own(run, "oracle").fingerprint() if asked else None]
    told = capsys.readouterr().out
    assert "50.0% of 20 test images" in told
    assert ("the validations of the training ask it all the same" in told) == asked


def test_another_classifier_or_oracle_is_refused(begun, images):
    before = load_own(begun, "oracle").fingerprint()
    write_classifier(begun, 1, "oracle")
    with pytest.raises(UserError, match=f"another oracle .fingerprint {before}"):
        continued(begun, images)
    write_classifier(begun, 0, "oracle", teacher="0123456789abcdef")
    with pytest.raises(UserError, match=r"oracle\.safetensors' learnt the predictions of another classifier"):
        continued(begun, images)
    write_classifier(begun, 0, "oracle")
    config = config_in(begun.parent, images)
    before = load_classifier(config.classifier, ("dark", "light"), SHAPE, begun).fingerprint()
    write_classifier(begun, 1)
    with pytest.raises(UserError, match=f"another classifier .fingerprint {before}"):
        continued(begun, images)


def test_a_checkpoint_of_the_released_code_becomes_the_cae_of_a_run_that_explains(images, tmp_path):
    torch.save({"ab": released()}, tmp_path / "gen_00200000.pt")
    write_classifier(tmp_path / "own", 0, side=32)
    write_classifier(tmp_path / "own", 0, "oracle", side=32)
    options = ("data.image_size=32", "cae.preset=published", f"cae.weights={tmp_path / 'gen_00200000.pt'}")
    train.cae_stage(config_in(tmp_path, images, *options))
    run = load_run(tmp_path / "own", "trainer.accelerator=cpu")
    assert isinstance(run.cae, PublishedCAE)
    given = load_released(tmp_path / "gen_00200000.pt", (1, 32, 32))
    assert state_digest(run.cae) == state_digest(given)
    assert len(run.manifold) == len(run.data.train)
    image = run.data.test[0].image[None]
    assert torch.equal(run.cae.encode(image).class_code, given.encode(image).class_code)
    assert 0 <= read_json(tmp_path / "own" / "metrics.json")["cae/reassignment"] <= 1
    with pytest.raises(UserError, match=r"cae\.safetensors' exists"):
        train.cae_stage(config_in(tmp_path, images, *options))
    with pytest.raises(UserError, match=r"'cae\.weights' is .*, but the run was started with"):
        train.cae_stage(config_in(tmp_path, images, *options, "cae.weights=other.pt", "resume=last"))
