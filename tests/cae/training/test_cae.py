"""The CAE training as a whole: what it logs, leaves alone, writes, and takes up again."""

from __future__ import annotations

import copy
import csv
import dataclasses
import math

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from tiny_training import (
    CLASSES,
    SIDE,
    level_classifier,
    same,
    tiny_config,
    tiny_data,
    tiny_images,
    tiny_trainer,
    train_few_steps,
)

from cae.classifiers import TargetClassifier
from cae.classifiers.identity import state_digest, weights_digest
from cae.data import Splits, collate
from cae.errors import UserError
from cae.files import read_json
from cae.manifold.class_manifold import ClassManifold
from cae.models.cae import CAE, read_weights
from cae.runs.run_folder import OUTPUTS
from cae.training.base_module import is_augmented
from cae.training.cae import build_module, check_fits, gather_classifiers, train_cae, train_loader
from cae.training.cae_module import CAEModule
from cae.training.callbacks import TrainingClock
from cae.training.former_checkpoints import RENAMED
from cae.training.validation import SwapValidation


class Stopped(Exception):
    """Stands in for whatever ends a training."""


def train(folder, *overrides, checkpoint=None, data=None):
    config = tiny_config(*overrides)
    data = data or tiny_data(config)
    return train_cae(config, data, level_classifier(), level_classifier(), folder, checkpoint)


def checkpoint_of(folder, name="last"):
    return torch.load(folder / "checkpoints" / f"{name}.ckpt", weights_only=True)


def rows_of(folder):
    with (folder / "metrics.csv").open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A training from beginning to end."""
    folder = tmp_path_factory.mktemp("finished")
    return folder, train(folder)


# --- what a training leaves behind ------------------------------------------------------------------------------------


def test_a_training_writes_what_the_run_folder_promises(finished):
    folder, cae = finished
    names = {path.name for path in folder.iterdir()}
    assert {"cae.safetensors", "manifold.safetensors", "checkpoints", "samples", "metrics.csv"} <= names
    assert names - {"metrics.json"} <= set(OUTPUTS["cae"])  # nothing that `overwrite=true` would leave behind
    steps = ["step-000005.png", "step-000010.png", "step-000012.png"]
    assert sorted(path.name for path in (folder / "samples").iterdir()) == steps
    metrics = read_json(folder / "metrics.json")
    assert metrics["cae/steps"] == 12
    assert metrics["seconds/cae_training"] > 0
    manifold = ClassManifold.load(folder / "manifold.safetensors")
    assert len(manifold.codes) == 30
    assert manifold.config.neighbours == 3
    assert not cae.training
    loaded, images = CAE.load(folder / "cae.safetensors"), tiny_images(3, 5, "other").images
    assert torch.equal(loaded.encode(images).class_code, cae.encode(images).class_code)


def test_the_exported_weights_name_what_they_were_trained_with(finished):
    folder, cae = finished
    header, weights = read_weights(folder / "cae.safetensors")
    assert header["classifier"] == header["oracle"] == level_classifier().fingerprint()
    assert header["data"] == tiny_data(tiny_config()).fingerprint
    assert weights_digest(weights) == state_digest(cae)


def test_the_exported_weights_are_the_averaged_ones_of_the_best_validation(finished):
    folder, cae = finished
    best = checkpoint_of(folder, "best")
    state = best["state_dict"]
    averaged = {name.removeprefix("average."): value for name, value in state.items() if name.startswith("average.")}
    assert same(dict(cae.state_dict()), averaged)
    scores = [float(row["val/score"]) for row in rows_of(folder) if row["val/score"]]
    assert len(scores) == 3
    assert [5, 10, 12].index(best["global_step"]) == scores.index(max(scores))


def test_every_step_is_logged_and_every_number_is_finite(finished):
    folder, _ = finished
    rows = [row for row in rows_of(folder) if row["train/loss"]]
    assert [int(row["step"]) for row in rows] == list(range(12))
    assert all(math.isfinite(float(value)) for row in rows_of(folder) for value in row.values() if value)
    assert [bool(row["train/coherency"]) for row in rows] == [False] * 2 + [True] * 10  # not in the warm-up


def test_frozen_classifiers_stay_out_of_the_checkpoint(finished):
    folder, _ = finished
    assert not any("sharpness" in name for name in checkpoint_of(folder)["state_dict"])


def test_a_weight_of_zero_leaves_no_column_in_the_log(tmp_path):
    train(tmp_path, "cae.loss.coherency=0", "cae.loss.leakage=0", "cae.loss.adversarial=0", "cae.max_steps=5")
    columns = set(rows_of(tmp_path)[0])
    gone = ("coherency", "leakage", "adversary", "adversarial", "real", "fake", "mismatch", "r1")
    assert not columns & {f"train/{name}" for name in gone}
    assert {"train/reconstruction", "train/minimal"} <= columns


def test_options_reach_the_networks(tmp_path):
    cae = train(tmp_path, "cae.model.class_dim=5", "cae.model.width=8", "cae.max_steps=5", "cae.model.mask=false")
    assert cae.class_dim == 5
    assert CAE.load(tmp_path / "cae.safetensors").model.width == 8


# --- what it leaves alone, and whom it asks ---------------------------------------------------------------------------


def test_the_classifier_is_bit_for_bit_the_same_after_training():
    classifier = level_classifier()
    before = copy.deepcopy(dict(classifier.state_dict()))
    module, trainer = train_few_steps(tiny_config("cae.warmup_steps=0"), classifier, 3)
    module.train()
    assert trainer.global_step == 3
    assert not any(part.training for part in classifier.modules())
    assert not any(parameter.requires_grad for parameter in classifier.parameters())
    assert same(before, dict(classifier.state_dict()))


def test_patches_are_laid_in_at_every_step_of_the_warm_up_and_every_second_one_later():
    classifier = level_classifier()
    train_few_steps(tiny_config("cae.patch_swaps=10", "cae.loss.coherency=0"), classifier, 7)
    # 30 training and 15 validation images; patches for 4 recipients in steps 0 and 1, half as many in 2, 4 and 6
    assert classifier.evaluations == 30 + 15 + 4 * (2 * 10 + 3 * 5)


@pytest.mark.parametrize(("query_every", "queried"), [(1, 5), (3, 2)])
def test_a_black_box_is_asked_once_about_images_and_once_about_each_queried_swap(query_every, queried):
    asked = []

    def scores(images: np.ndarray) -> np.ndarray:
        asked.append(len(images))
        values = np.exp(-60 * (images.mean((1, 2, 3))[:, None] - np.array([[0.2, 0.5, 0.8]])) ** 2)
        return values / values.sum(1, keepdims=True)

    classifier = TargetClassifier(scores, CLASSES, image_shape=(1, SIDE, SIDE))
    asked.clear()
    config = tiny_config("cae.black_box=true", f"cae.query_every={query_every}")
    train_few_steps(config, classifier, 7)
    # 30 training and 15 validation images; 4 swaps in each queried step of the five after the warm-up (2, …, 6)
    assert sum(asked) == 30 + 15 + 4 * queried
    assert classifier.evaluations == sum(asked)


def test_known_logits_are_those_that_the_classifier_would_give():
    config = tiny_config()
    data, classifier = tiny_data(config), level_classifier()
    classifiers = gather_classifiers(config.cae, data, classifier, level_classifier())
    batch = next(iter(train_loader(config, data, classifiers.training_logits, tiny_trainer(1))))
    known = classifiers.read(batch)[0]
    torch.testing.assert_close(known, classifier.logits(batch.images).detach(), atol=1e-5, rtol=1e-5)
    config.data.flip = True  # mirrored images are not those that were classified
    assert not gather_classifiers(config.cae, data, classifier, level_classifier()).rows


def test_few_images_are_altered_and_many_are_not_unless_an_option_says_otherwise():
    config = tiny_config().cae
    by_default = dataclasses.replace(config, augment=None)
    assert is_augmented(by_default, 500)
    assert not is_augmented(by_default, 4000)
    assert not is_augmented(dataclasses.replace(by_default, preset="published"), 500)
    assert is_augmented(dataclasses.replace(config, augment=True), 4000)
    assert not is_augmented(dataclasses.replace(config, augment=False), 500)


def test_altered_images_are_classified_anew_and_stay_images():
    config = tiny_config("cae.augment=true")
    data = tiny_data(config)
    classifiers = gather_classifiers(config.cae, data, level_classifier(), level_classifier())
    assert not classifiers.rows
    module = build_module(config, data.image_shape, classifiers)
    batch = collate([data.train[index] for index in range(6)])
    torch.manual_seed(0)
    altered = module.augmented(batch)
    assert altered.images.shape == batch.images.shape
    assert altered.images.aminmax().min >= 0
    assert altered.images.aminmax().max <= 1
    assert (altered.images - batch.images).abs().flatten(1).amax(1).gt(0.01).all()
    assert altered.ids == batch.ids


def test_swaps_of_training_images_stand_beside_those_of_validation(finished):
    folder, _ = finished
    last = rows_of(folder)[-1]
    lower = min(float(last["val/training_reassignment"]), float(last["val/training_reassignment_oracle"]))
    assert float(last["val/training_score"]) == pytest.approx(lower)
    metrics = read_json(folder / "metrics.json")
    assert metrics["cae/training_last"] == pytest.approx(lower)
    assert metrics["cae/validation_last"] == pytest.approx(float(last["val/score"]))
    assert metrics["cae/validation_best"] >= metrics["cae/validation_last"]


def test_a_training_that_gets_no_better_ends_early_and_keeps_its_best(tmp_path, monkeypatch):
    scores = iter([0.5, 0.4, 0.3, 0.9])
    measure = SwapValidation.measure

    def falling(self, cae):
        found = measure(self, cae)
        return found | {"score": next(scores)} if self is watched[0] else found  # the first is that of validation

    watched: list = []
    built = SwapValidation.__init__

    def note(self, *arguments, **named):
        built(self, *arguments, **named)
        watched.append(self)

    monkeypatch.setattr(SwapValidation, "__init__", note)
    monkeypatch.setattr(SwapValidation, "measure", falling)
    train(tmp_path, "cae.max_steps=40", "cae.validate_every=5", "cae.patience=2")
    metrics = read_json(tmp_path / "metrics.json")
    assert metrics["cae/steps"] == 15  # the best at step 5, two more without a better one
    assert metrics["cae/validation_best"] == 0.5


def test_a_single_predicted_class_is_refused_in_words(tmp_path):
    config = tiny_config()
    data = tiny_data(config)
    dark = data.train.subset(range(0, 30, 3))
    data._splits = Splits(dark, data.val, data.test, CLASSES)
    with pytest.raises(UserError, match="one class for all training images \\('dark'\\)"):
        train(tmp_path, data=data)
    data = tiny_data(config)
    data._splits = Splits(data.train, dark, data.test, CLASSES)
    with pytest.raises(UserError, match="one class for all validation images"):
        train(tmp_path, data=data)


# --- taking up an interrupted training --------------------------------------------------------------------------------


def stop_at(monkeypatch, step):
    """Let the training fail when it begins this step."""
    training_step = CAEModule.training_step

    def stopping(module, batch, batch_idx):
        if module.global_step == step:
            raise Stopped
        return training_step(module, batch, batch_idx)

    monkeypatch.setattr(CAEModule, "training_step", stopping)


@pytest.mark.parametrize(
    ("overrides", "step"),
    [((), 7), ((), 11), (("data.flip=true", "cae.black_box=true"), 7)],
    ids=["default", "in the last and shorter epoch", "mirrored black box"],
)
def test_a_training_stopped_and_continued_is_the_uninterrupted_one_bit_for_bit(
    finished, tmp_path, monkeypatch, overrides, step
):
    whole = tmp_path / "whole" if overrides else finished[0]
    if overrides:
        train(whole, *overrides)
    with monkeypatch.context() as patch:
        stop_at(patch, step)
        with pytest.raises(Stopped):
            train(tmp_path / "parts", *overrides)
    first = tmp_path / "parts" / "checkpoints" / "last.ckpt"
    assert torch.load(first, weights_only=True)["global_step"] == step - step % 5
    torch.rand(3)  # the state of the random generator must not matter
    train(tmp_path / "parts", *overrides, checkpoint=first)
    expected, found = checkpoint_of(whole), checkpoint_of(tmp_path / "parts")
    assert found["global_step"] == expected["global_step"] == 12
    for part in ("state_dict", "optimizer_states", "lr_schedulers"):  # weights, average, queue, scales; Adam
        assert same(expected[part], found[part]), part
    assert rows_of(tmp_path / "parts") == rows_of(whole)
    exported = [CAE.load(folder / "cae.safetensors").state_dict() for folder in (whole, tmp_path / "parts")]
    assert same(dict(exported[0]), dict(exported[1]))


def test_a_run_folder_that_was_moved_keeps_its_best_score(tmp_path, monkeypatch):
    before, moved = tmp_path / "before", tmp_path / "moved"
    with monkeypatch.context() as patch:
        stop_at(patch, 7)
        with pytest.raises(Stopped):
            train(before)
    before.rename(moved)
    for name in ("best", "last"):  # as if nothing that follows were as good
        path = moved / "checkpoints" / f"{name}.ckpt"
        checkpoint = torch.load(path, weights_only=True)
        for state in checkpoint["callbacks"].values():
            if state.get("monitor") == "val/score":
                state["best_model_score"] = state["current_score"] = torch.tensor(2.0)
                state["best_k_models"] = dict.fromkeys(state["best_k_models"], torch.tensor(2.0))
                state["kth_value"] = torch.tensor(2.0)
        torch.save(checkpoint, path)
    first = torch.load(moved / "checkpoints" / "best.ckpt", weights_only=True)
    assert first["global_step"] == 5
    train(moved, checkpoint=moved / "checkpoints" / "last.ckpt")
    exported = CAE.load(moved / "cae.safetensors").state_dict()
    average = {
        key.removeprefix("average."): value for key, value in first["state_dict"].items() if key.startswith("average.")
    }
    assert same(dict(exported), average)


def test_a_training_stopped_within_an_epoch_goes_on_at_the_next_step(tmp_path, finished):
    config = tiny_config()

    class SaveAt(pl.Callback):
        def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
            if trainer.global_step == 7:
                trainer.save_checkpoint(tmp_path / "middle.ckpt", weights_only=False)
                raise Stopped

    def fit(checkpoint=None, callbacks=()):
        data = tiny_data(config)
        classifiers = gather_classifiers(config.cae, data, level_classifier(), level_classifier())
        pl.seed_everything(config.seed, verbose=False)
        module = build_module(config, data.image_shape, classifiers)
        trainer = tiny_trainer(12, callbacks=list(callbacks), reload_dataloaders_every_n_epochs=1)
        loader = train_loader(config, data, classifiers.training_logits, trainer)
        trainer.fit(module, loader, ckpt_path=checkpoint, weights_only=True)
        return module, trainer

    with pytest.raises(Stopped):
        fit(callbacks=[SaveAt()])
    module, trainer = fit(tmp_path / "middle.ckpt")
    assert trainer.global_step == 12
    assert same(dict(module.state_dict()), checkpoint_of(finished[0])["state_dict"])


def test_the_clock_counts_the_seconds_of_all_parts():
    clock = TrainingClock()
    clock.load_state_dict({"seconds": 10.0})
    clock.on_train_start(None, None)
    assert clock.state_dict()["seconds"] >= 10
    clock.on_train_end(None, None)
    assert 10 <= clock.seconds < 11


def test_a_checkpoint_of_a_former_version_is_continued_bit_for_bit(finished, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        stop_at(patch, 7)
        with pytest.raises(Stopped):
            train(tmp_path)
    for name in ("best", "last"):
        path = tmp_path / "checkpoints" / f"{name}.ckpt"
        checkpoint = torch.load(path, weights_only=True)
        checkpoint["state_dict"] = former_state(checkpoint["state_dict"])
        assert checkpoint["state_dict"].keys() != checkpoint_of(finished[0])["state_dict"].keys()
        torch.save(checkpoint, path)
    train(tmp_path, checkpoint=tmp_path / "checkpoints" / "last.ckpt")
    expected, found = checkpoint_of(finished[0]), checkpoint_of(tmp_path)
    for part in ("state_dict", "optimizer_states"):
        assert same(expected[part], found[part]), part


def former_state(state):
    """Weights under the names that they had in version 0.1, with the buffer that is gone."""
    found = {"objective.queue.probabilities": torch.zeros(256, 3)}
    for name, tensor in state.items():
        formers = [former + name.removeprefix(now) for former, now in RENAMED.items() if name.startswith(now)]
        found[formers[0] if formers else name] = tensor
    return found


def test_a_checkpoint_of_other_networks_is_refused_in_words(tmp_path):
    network = torch.nn.Linear(2, 2)
    torch.save({"state_dict": network.state_dict()}, tmp_path / "last.ckpt")
    check_fits(network, tmp_path / "last.ckpt")
    with pytest.raises(UserError, match=r"last\.ckpt' holds the weights of other networks.*overwrite=true"):
        check_fits(torch.nn.Linear(2, 3), tmp_path / "last.ckpt")
