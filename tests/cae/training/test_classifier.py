"""Training of classifier and oracle: it learns, resumes to the same weights, and never overwrites silently."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from cae.classifiers import TargetClassifier, load_classifier, load_own
from cae.classifiers.saved import load_own_oracle
from cae.config import ClassifierConfig, Config, DataConfig, LoggingConfig, OracleConfig, TrainerConfig
from cae.data import ArraySet, CAEDataModule, Splits
from cae.devices import parse_devices
from cae.errors import UserError
from cae.training.augmentation import random_affine, random_grey_levels, random_noise, random_shift
from cae.training.classifier import rounds, train_classifier, train_oracle
from cae.training.classifier_module import ClassifierModule, calibrate
from cae.training.trainer import AtomicCheckpointIO, build_trainer

CLASSES = ("rows", "columns")


def stripes(count: int, seed: int) -> ArraySet:
    """Noise with bright rows (0) or columns (1): separable at a glance."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % 2
    images = 0.3 * torch.rand(count, 1, 16, 16, generator=generator)
    images[labels == 0, :, ::4] += 0.6
    images[labels == 1, :, :, ::4] += 0.6
    return ArraySet(images, labels, ids=[f"{seed}-{index}" for index in range(count)])


@pytest.fixture
def data() -> CAEDataModule:
    module = CAEDataModule(DataConfig(image_size=16, batch_size=8))
    module._splits = Splits(stripes(48, 0), stripes(16, 1), stripes(16, 2), CLASSES)
    return module


def options(**changes) -> Config:
    return Config(
        classifier=ClassifierConfig(width=4, epochs=8, learning_rate=1e-2, shift=1, noise=0.05, rotation=5),
        oracle=OracleConfig(width=8, epochs=10, fallback=False),
        logging=LoggingConfig(progress=False, every=1),
        trainer=TrainerConfig(accelerator="cpu", devices="1"),
        **changes,
    )


def interrupt_after(epoch: int, monkeypatch) -> None:
    """Let training die at the first step after an epoch."""
    step = ClassifierModule.training_step

    def dying(self, batch, batch_idx):
        if self.current_epoch > epoch and batch_idx == 1:
            raise ConnectionError("power cut")
        return step(self, batch, batch_idx)

    monkeypatch.setattr(ClassifierModule, "training_step", dying)


def test_a_separable_task_is_learned_and_the_run_folder_is_complete(data, tmp_path, monkeypatch):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    folder = tmp_path / "run"
    metrics = train_classifier(options(), data, folder)
    assert metrics == {
        "classifier/test_accuracy": 1.0,
        "classifier/test_balanced_accuracy": 1.0,
        "classifier/recall/rows": 1.0,
        "classifier/recall/columns": 1.0,
        "classifier/temperature": 1.0,
    }
    assert json.loads((folder / "metrics.json").read_text()) == metrics
    assert json.loads((folder / "classifier.json").read_text())["metrics"] == metrics
    assert sorted(path.name for path in (folder / "classifier_checkpoints").iterdir()) == ["best.ckpt", "last.ckpt"]
    with (folder / "classifier_logs" / "metrics.csv").open() as file:
        epochs = [row for row in csv.DictReader(file) if row["val/accuracy"]]
    best = min(epochs, key=lambda row: float(row["val/selection"]))
    chosen = torch.load(folder / "classifier_checkpoints" / "best.ckpt", weights_only=True)
    assert len(epochs) == 3  # 48 steps, of which 20 make a round
    assert chosen["epoch"] == int(best["epoch"])
    assert list(elsewhere.iterdir()) == []

    target = load_classifier(options().classifier, CLASSES, data.image_shape, folder)
    batch = next(iter(data.test_dataloader()))
    assert torch.equal(target.logits(batch.images).argmax(1), batch.labels)


def test_a_resumed_training_ends_with_the_same_weights(data, tmp_path, monkeypatch):
    train_classifier(options(), data, tmp_path / "whole")
    with monkeypatch.context() as context:
        interrupt_after(0, context)
        with pytest.raises(ConnectionError):
            train_classifier(options(), data, tmp_path / "broken")
    torch.rand(7)  # another state of the global generator
    train_classifier(options(resume="last"), data, tmp_path / "broken")
    for name in ("best", "last"):
        whole, resumed = (
            torch.load(tmp_path / run / "classifier_checkpoints" / f"{name}.ckpt", weights_only=True)
            for run in ("whole", "broken")
        )
        assert whole["epoch"] == resumed["epoch"]
        assert whole["global_step"] == resumed["global_step"]
        assert all(torch.equal(value, resumed["state_dict"][key]) for key, value in whole["state_dict"].items())
    first, second = (load_file(tmp_path / run / "classifier.safetensors") for run in ("whole", "broken"))
    assert all(torch.equal(first[key], second[key]) for key in first)

    def losses(run: str) -> list[tuple[str, str]]:
        with (tmp_path / run / "classifier_logs" / "metrics.csv").open() as file:
            return [(row["step"], row["train/loss"]) for row in csv.DictReader(file) if row["train/loss"]]

    assert losses("whole") == losses("broken")


def test_an_interrupted_training_whose_folder_was_moved_keeps_its_best_epoch(data, tmp_path, monkeypatch):
    with monkeypatch.context() as context:
        interrupt_after(0, context)
        with pytest.raises(ConnectionError):
            train_classifier(options(), data, tmp_path / "before")
    moved = tmp_path / "moved"
    (tmp_path / "before").rename(moved)
    for name in ("best", "last"):  # as if nothing that follows were as good
        path = moved / "classifier_checkpoints" / f"{name}.ckpt"
        checkpoint = torch.load(path, weights_only=True)
        for state in checkpoint["callbacks"].values():
            if state.get("monitor") == "val/selection":
                state["best_model_score"] = state["current_score"] = state["kth_value"] = torch.tensor(-1.0)
                state["best_k_models"] = dict.fromkeys(state["best_k_models"], torch.tensor(-1.0))
        torch.save(checkpoint, path)
    train_classifier(options(resume="last"), data, moved)
    best = torch.load(moved / "classifier_checkpoints" / "best.ckpt", weights_only=True)
    assert best["epoch"] == 0
    exported = load_file(moved / "classifier.safetensors")
    own = [name for name in exported if not name.startswith("head")]  # which the calibration divides
    assert all(torch.equal(exported[name], best["state_dict"][f"network.{name}"]) for name in own)


def test_an_oracle_that_learnt_another_classifiers_predictions_is_refused(data, tmp_path):
    config = options()
    config.oracle.epochs = 1
    first, second = (
        TargetClassifier(Contrary(), classes, image_shape=data.image_shape) for classes in (CLASSES, CLASSES[::-1])
    )
    train_oracle(config, data, first, tmp_path)
    assert load_own_oracle(tmp_path, first).classes == CLASSES
    with pytest.raises(
        UserError, match=rf"oracle\.safetensors' learnt .*{first.fingerprint()}.*{second.fingerprint()}"
    ):
        load_own_oracle(tmp_path, second)
    config.oracle.labels, config.overwrite = "dataset", True
    train_oracle(config, data, first, tmp_path)
    assert load_own_oracle(tmp_path, second).classes == CLASSES


def test_a_checkpoint_of_a_former_version_is_continued(data, tmp_path):
    target = TargetClassifier(Contrary(), CLASSES, image_shape=data.image_shape)
    config = options()
    config.oracle.epochs = 1
    train_oracle(config, data, target, tmp_path)
    path = tmp_path / "oracle_checkpoints" / "last.ckpt"
    checkpoint = torch.load(path, weights_only=True)
    checkpoint["hyper_parameters"]["verdicts"] = checkpoint["hyper_parameters"].pop("learn_predictions")
    torch.save(checkpoint, path)
    config.resume, config.oracle.labels = "last", "dataset"
    with pytest.raises(UserError, match="`learn_predictions` of the oracle was True"):
        train_oracle(config, data, target, tmp_path)
    config.oracle.labels = "predictions"
    assert train_oracle(config, data, target, tmp_path)


def test_a_run_folder_is_never_overwritten_silently(data, tmp_path, monkeypatch):
    config = options()
    config.classifier.epochs = 1
    train_classifier(config, data, tmp_path)
    before = (tmp_path / "classifier.safetensors").read_bytes()
    log = (tmp_path / "classifier_logs" / "metrics.csv").read_text()
    with pytest.raises(UserError, match=r"already holds .*resume=last.*overwrite=true"):
        train_classifier(config, data, tmp_path)
    config.resume, config.overwrite = "last", True
    with pytest.raises(UserError, match="set one of them"):
        train_classifier(config, data, tmp_path)
    config.overwrite, config.classifier.epochs = False, 5
    with pytest.raises(UserError, match=r"`epochs` of the classifier was 1 .* is 5 now"):
        train_classifier(config, data, tmp_path)
    config.classifier.epochs = 1
    assert train_classifier(config, data, tmp_path)  # nothing left to train
    assert (tmp_path / "classifier.safetensors").read_bytes() == before
    assert (tmp_path / "classifier_logs" / "metrics.csv").read_text() == log
    config.resume, config.overwrite, config.seed = None, True, 1
    train_classifier(config, data, tmp_path)
    assert (tmp_path / "classifier.safetensors").read_bytes() != before


def test_a_resume_without_checkpoint_begins_anew(data, tmp_path):
    config = options(resume="last")
    config.classifier.epochs = 1
    assert train_classifier(config, data, tmp_path)
    assert (tmp_path / "classifier.safetensors").exists()


class Contrary(torch.nn.Module):
    """Calls every image of rows one of columns and the other way round, with conviction."""

    def forward(self, images):
        return 20 * torch.stack([images.mean(2).std(2), images.mean(3).std(2)], 2)[:, 0]


@pytest.mark.parametrize(("labels", "accuracy", "agreement"), [("predictions", 0.0, 1.0), ("dataset", 1.0, 0.0)])
def test_the_oracle_learns_predictions_or_labels(data, tmp_path, labels, accuracy, agreement):
    target = TargetClassifier(Contrary(), CLASSES, image_shape=data.image_shape)
    config = options()
    config.oracle.labels = labels
    metrics = train_oracle(config, data, target, tmp_path)
    found = {name: metrics[f"oracle/{name}"] for name in ("test_accuracy", "test_balanced_accuracy")}
    assert found == {"test_accuracy": accuracy, "test_balanced_accuracy": accuracy}
    agreements = ("agreement", "balanced_agreement", "validation_agreement")
    assert {metrics[f"oracle/{name}"] for name in agreements} == {agreement}
    oracle = load_own(tmp_path, "oracle")
    batch = next(iter(data.test_dataloader()))
    predictions = oracle.logits(batch.images).argmax(1)
    expected = target.logits(batch.images).argmax(1) if labels == "predictions" else batch.labels
    assert torch.equal(predictions, expected)
    assert json.loads((tmp_path / "metrics.json").read_text()) == metrics


def test_the_teacher_is_no_part_of_the_oracle(data):
    target = TargetClassifier(Contrary(), CLASSES, image_shape=data.image_shape)
    module = ClassifierModule(list(CLASSES), [1, 16, 16], learn_predictions=True, teacher=target)
    assert {key.partition(".")[0] for key in module.state_dict()} == {"network", "trained", "temperature"}
    assert not any(part is target for part in module.modules())
    assert "teacher" not in module.hparams


def test_a_training_ends_when_it_is_good_enough_and_stays_ended(data, tmp_path):
    config = options()
    config.classifier.epochs = 1000
    train_classifier(config, data, tmp_path)
    last = torch.load(tmp_path / "classifier_checkpoints" / "last.ckpt", weights_only=True)
    assert last["global_step"] < 300
    config.resume = "last"
    before = (tmp_path / "classifier_logs" / "metrics.csv").read_text()
    train_classifier(config, data, tmp_path)
    assert (tmp_path / "classifier_logs" / "metrics.csv").read_text() == before


def test_a_training_without_progress_ends_after_its_patience(data, tmp_path):
    """Labels that no image tells: the first validation is as good as any."""
    images = data.train.images[:1].expand(16, -1, -1, -1).contiguous()
    same = ArraySet(images, torch.arange(16) % 2, [f"same-{number}" for number in range(16)])
    data._splits = Splits(same, same, same, CLASSES)
    config = options()
    config.classifier = ClassifierConfig(
        width=4, epochs=1000, patience=80, noise=0, shift=0, rotation=0, scale=0, grey_levels=0, learning_rate=0
    )
    train_classifier(config, data, tmp_path)
    last = torch.load(tmp_path / "classifier_checkpoints" / "last.ckpt", weights_only=True)
    assert last["global_step"] == 20 + 80


def test_a_class_of_few_images_is_shown_as_often_as_the_others(data, tmp_path, monkeypatch):
    kept = [index for index in range(48) if index % 2 == 0 or index < 5]  # 24 rows, 2 columns
    data._splits = Splits(data.train.subset(kept), data.val, data.test, CLASSES)
    seen = torch.zeros(2)
    step = ClassifierModule.training_step

    def counting(self, batch, batch_idx):
        seen.add_(torch.bincount(batch.labels, minlength=2))
        return step(self, batch, batch_idx)

    monkeypatch.setattr(ClassifierModule, "training_step", counting)
    train_classifier(options(), data, tmp_path)
    assert seen[0] == seen[1]


def test_length_of_a_training():
    assert rounds(1_000_000, 64, None) == (8, 15625)  # a pass each
    assert rounds(4000, 64, None) == (33, 62)  # up to 2,000 steps
    assert rounds(190, 64, None) == (100, 20)
    assert rounds(20, 64, 5) == (1, 5)  # fewer images than a batch


def test_calibration_divides_the_logits(data):
    module = ClassifierModule(list(CLASSES), [1, 16, 16]).eval()
    images = data.test.images[:4]
    before = module(images)
    calibrate(module.network, 4.0)
    assert torch.allclose(module(images), before / 4)


def test_only_own_networks_are_trained(data, tmp_path):
    config = options()
    config.classifier.model = "torchvision:resnet18"
    with pytest.raises(UserError, match="nothing to train"):
        train_classifier(config, data, tmp_path)


def test_shifted_images_are_windows_of_the_edge_padded_image():
    images = torch.rand(64, 3, 6, 5, generator=torch.Generator().manual_seed(0))
    padded = torch.nn.functional.pad(images, (2, 2, 2, 2), mode="replicate")
    torch.manual_seed(0)
    moved = random_shift(images, 2)
    seen = set()
    for before, after in zip(padded, moved, strict=True):
        places = [(y, x) for y in range(5) for x in range(5) if torch.equal(before[:, y : y + 6, x : x + 5], after)]
        assert len(places) == 1
        seen.add(places[0])
    assert len(seen) > 15
    assert random_shift(images, 0) is images


def test_a_quarter_turn_is_exact(monkeypatch):
    images = torch.rand(2, 3, 6, 6, generator=torch.Generator().manual_seed(0))
    monkeypatch.setattr(
        torch, "rand", lambda *shape, **_: torch.ones(shape) * torch.tensor([1, 0.5, 0.5, 0.5])[:, None]
    )
    turned = random_affine(images, 90, 0.3, 0)
    assert torch.allclose(turned, images.rot90(1, (2, 3)), atol=1e-5)


def test_an_affine_movement_is_in_pixels_whatever_the_sides(monkeypatch):
    images = torch.rand(2, 1, 6, 12, generator=torch.Generator().manual_seed(0))
    monkeypatch.setattr(torch, "rand", lambda *shape, **_: torch.ones(shape) * torch.tensor([0.5, 0.5, 1, 0])[:, None])
    moved = random_affine(images, 10, 0, 2)  # down by 2 and left by 2 is seen from there
    assert torch.allclose(moved[..., :4, 2:], images[..., 2:, :10], atol=1e-5)


def test_nothing_changes_without_strength():
    images = torch.rand(2, 1, 6, 6)
    assert random_affine(images, 0, 0, 0) is images
    assert random_grey_levels(images, 0) is images


def test_grey_levels_keep_to_their_range():
    images = torch.tensor([0.3, 0.5]).view(1, 1, 1, 2).expand(4000, -1, -1, -1)
    torch.manual_seed(0)
    changed = random_grey_levels(images, 0.2)
    contrast = (changed[..., 1] - changed[..., 0]).flatten() / 0.2
    assert 1 / 1.2 - 1e-5 <= contrast.min() < 0.84
    assert 1.19 < contrast.max() <= 1.2 + 1e-5
    assert 0.09 < (changed.mean((1, 2, 3)) - 0.4).abs().max() <= 0.1 + 1e-5


def test_noise_has_a_level_of_its_own_for_each_image():
    torch.manual_seed(0)
    images = torch.full((400, 1, 32, 32), 0.5)
    levels = (random_noise(images, 0.1, clamp=True) - images).std((1, 2, 3))
    assert levels.max() < 0.11
    assert abs(levels.mean() - 0.05) < 0.005  # uniform in [0, 0.1]
    assert abs(levels.std() - 0.1 / 12**0.5) < 0.003
    half = random_noise(images, 0.1, share=0.5)
    assert 160 < sum(torch.equal(one, whole) for one, whole in zip(half, images, strict=True)) < 240
    noisy = random_noise(torch.rand(4, 1, 32, 32), 1.0, clamp=True)
    assert noisy.min() >= 0
    assert noisy.max() <= 1
    assert random_noise(images, 0.0) is images


def test_a_checkpoint_is_whole_or_absent(tmp_path, monkeypatch):
    path = tmp_path / "last.ckpt"
    AtomicCheckpointIO().save_checkpoint({"epoch": 1}, path)

    def half_written(checkpoint, temporary):
        Path(temporary).write_bytes(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(torch, "save", half_written)
    with pytest.raises(OSError, match="disk full"):
        AtomicCheckpointIO().save_checkpoint({"epoch": 2}, path)
    assert torch.load(path, weights_only=True) == {"epoch": 1}
    assert [file.name for file in tmp_path.iterdir()] == ["last.ckpt"]


@pytest.mark.parametrize(
    ("text", "devices"),
    [("auto", "auto"), ("1", 1), ("-1", -1), ("0,1", [0, 1]), ("[2, 3]", [2, 3]), ("[1]", [1]), ("3,", [3])],
)
def test_devices_are_read_as_they_are_written(text, devices):
    assert parse_devices(text) == devices


def test_wrong_machines_are_told_in_words(tmp_path):
    with pytest.raises(UserError, match=r"`trainer\.devices` must be `auto`"):
        parse_devices("two")
    config = options()
    config.trainer.accelerator = "abacus"
    with pytest.raises(UserError, match=r"trainer\.accelerator=abacus"):
        build_trainer(config, tmp_path, "cae", max_steps=1)


def test_several_devices_train_with_ddp(tmp_path):
    config = options()
    config.trainer.devices = "2"
    trainer = build_trainer(config, tmp_path, "cae", max_steps=1)
    assert trainer.strategy._ddp_kwargs["find_unused_parameters"] is True
    assert trainer.max_steps == 1


def test_tensorboard_writes_inside_the_run_folder(data, tmp_path, monkeypatch):
    pytest.importorskip("tensorboard")
    monkeypatch.chdir(tmp_path)
    config = options()
    config.logging.tensorboard = True
    config.classifier.epochs = 1
    train_classifier(config, data, tmp_path / "run")
    assert list((tmp_path / "run" / "classifier_tensorboard").glob("events.*"))
    assert [path.name for path in tmp_path.iterdir()] == ["run"]
