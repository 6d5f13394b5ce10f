"""The command `sanity` end to end with tiny models, and the faulty classifiers that it makes."""

from __future__ import annotations

import json

import pytest
import torch
from PIL import Image

import explain
from cae.classifiers import TargetClassifier
from cae.classifiers.networks import PlainConvNet
from cae.commands.sanity import sanity, table
from cae.commands.train import classifier_stage
from cae.config.command_line import run_program
from cae.data import CAEDataModule
from cae.data.lesions import marker_box
from cae.errors import UserError
from cae.files import read_json
from cae.sanity import control_models as models
from cae.sanity.control_models import (
    RelabelledData,
    arm_config,
    brightness_labels,
    has_marker,
    marked_config,
    marker_labels,
    permuted_labels,
)
from cae.sanity.criteria import Rule
from cae.sanity.null_cases import Constant
from cae.training.cae import answers_of
from tests.support.tiny_training import tiny_config

LESIONS = (
    "name=toy", "data.batch_size=12", "data.lesions.train=96", "data.lesions.val=24", "data.lesions.test=36",
    "classifier.width=4", "classifier.epochs=6", "oracle.width=4", "oracle.epochs=1", "cae.max_steps=8",
    "cae.validate_every=8", "cae.validation_pairs=24", "counterfactual.steps=3", "counterfactual.bisections=1",
    "sanity.images=12",
)  # fmt: skip


def config_in(folder, *overrides: str):
    return tiny_config(*LESIONS, f"runs={folder}", *overrides)


def test_all_tests_give_verdicts_numbers_and_figures_and_are_resumed(tmp_path, capsys):
    classifier_stage(config_in(tmp_path))
    sanity(config_in(tmp_path))
    folder = tmp_path / "toy" / "sanity"
    found = read_json(folder / "sanity.json")
    rules = ("randomised/brightness_found", "randomised/brightness_maps", "randomised/brightness_flips",
             "randomised/permuted_maps", "randomised/permuted_flips", "randomised/random_maps",
             "randomised/random_flips", "shortcut/planted", "shortcut/removed", "shortcut/added", "shortcut/control",
             "labels/follows", "guards/constant", "guards/self")  # fmt: skip
    out = capsys.readouterr().out
    for rule in rules:
        assert isinstance(found[f"{rule}_passed"], bool)
        assert f"{'PASS' if found[f'{rule}_passed'] else 'FAIL'}  {rule}: " in out
    assert all(isinstance(value, (int, float)) for value in found.values())
    assert found["guards/constant_passed"]
    assert found["guards/self_passed"]
    assert found["shortcut/passed"] == all(found[f"{rule}_passed"] for rule in rules if rule.startswith("shortcut"))
    for name in ("randomised", "shortcut", "labels"):
        with Image.open(folder / f"{name}.png") as picture:
            assert picture.width > 600, name
    trained = {path: path.stat().st_mtime for path in folder.rglob("*.safetensors")}
    assert len(trained) == 6 + 1 + 7 * 2  # classifiers, oracle, and CAEs with their manifolds
    sanity(config_in(tmp_path))
    assert read_json(folder / "sanity.json") == found
    assert trained == {path: path.stat().st_mtime for path in folder.rglob("*.safetensors")}
    with pytest.raises(UserError, match=r"'cae.loss.minimal' is 1.*sanity.folder"):
        sanity(config_in(tmp_path, "cae.loss.minimal=1"))


def test_a_run_without_the_embedded_data_is_told_which_tests_it_can_have(tmp_path):
    with pytest.raises(UserError) as refused:
        sanity(config_in(tmp_path, "data.source=digits", "sanity.folder=../x"))
    assert "sanity.tests=[randomised,guards]" in str(refused.value)
    assert "sanity.folder must be a plain folder name" in str(refused.value)


def test_a_run_without_a_classifier_says_how_to_train_one(tmp_path, capsys):
    words = [*LESIONS, f"runs={tmp_path}", "data.image_size=16"]
    with pytest.raises(SystemExit) as stop:
        run_program(explain.main, ["sanity", *words, "sanity.tests=[guards]", "cae.warmup_steps=1", "cae.ramp_steps=1"])
    assert stop.value.code == 2
    assert "train.py classifier" in capsys.readouterr().err


def test_the_runs_own_cae_is_the_first_of_the_two(tmp_path, monkeypatch):
    config = config_in(tmp_path)
    taken = arm_config(config, "randomised", "seed_0")
    own, arm = tmp_path / "toy", tmp_path / "toy" / "sanity" / "randomised" / "seed_0"
    own.mkdir()
    for name in ("cae", "manifold"):
        (own / f"{name}.safetensors").write_bytes(name.encode())
    header = {"config": json.loads(json.dumps(models.asdict(taken.cae))), "classifier": "f" * 16}
    monkeypatch.setattr(models, "read_weights", lambda path: (header, {}))
    run = models.RunFolder(taken)
    monkeypatch.setattr(TargetClassifier, "fingerprint", lambda self: "other")
    blind = TargetClassifier(Constant((0.0, 1.0)), ("a", "b"), image_shape=(1, 16, 16))
    models._take_over(own, run, taken, blind)
    assert not arm.exists()
    monkeypatch.setattr(TargetClassifier, "fingerprint", lambda self: "f" * 16)
    models._take_over(own, run, taken, blind)
    assert (arm / "cae.safetensors").read_bytes() == b"cae"
    assert (arm / "manifold.safetensors").read_bytes() == b"manifold"


def test_permuted_labels_keep_their_counts_and_forget_the_images(tmp_path):
    config = config_in(tmp_path)
    data = RelabelledData(config.data, permuted_labels(0), val_from_train=True)
    plain = CAEDataModule(config.data)
    assert torch.equal(data.train.labels.bincount(), plain.train.labels.bincount())
    assert 0.2 < float((data.train.labels == plain.train.labels).float().mean()) < 0.5
    assert torch.equal(data.train[5].image, plain.train[5].image)
    assert [data.val[i].id for i in range(3)] == ["train/00000", "train/00001", "train/00002"]
    assert torch.equal(data.val.labels, data.train.labels[:24])


def test_labels_by_brightness_order_the_images_and_have_equal_counts(tmp_path):
    data = RelabelledData(config_in(tmp_path).data, brightness_labels)
    assert data.train.labels.bincount().tolist() == [32, 32, 32]
    middle = torch.stack([data.train[place].image for place in range(96)])[..., 4:12, 4:12].mean((1, 2, 3))
    assert middle[data.train.labels == 0].max() <= middle[data.train.labels == 1].min()
    assert middle[data.train.labels == 1].max() <= middle[data.train.labels == 2].min()


def test_labels_by_the_marker_disagree_with_the_lesion_on_half_of_the_images(tmp_path):
    config = marked_config(config_in(tmp_path), "marker", "follower", 0.0)
    assert config.data.lesions.classes == ["healthy", "mass"]
    data = RelabelledData(config.data, marker_labels(1, 0))
    truth = CAEDataModule(config.data)
    assert 0.3 < float((data.train.labels == truth.train.labels).float().mean()) < 0.7
    top, left, _, _ = marker_box(16)
    for place in range(10):
        sample = data.train[place]
        assert (float(sample.image[0, top, left]) > 0.5) == (sample.label == 1)


def test_a_perfect_shortcut_marks_one_class_alone(tmp_path):
    config = marked_config(config_in(tmp_path), "shortcut", "follower", 1.0)
    train = CAEDataModule(config.data).train
    images = torch.stack([train[place].image for place in range(20)])
    assert torch.equal(has_marker(images), train.labels[:20] == 1)
    assert torch.equal(has_marker((images * 255).byte()), train.labels[:20] == 1)


def test_standardised_logits_have_mean_zero_and_deviation_one_and_spread_verdicts(tmp_path):
    config = arm_config(config_in(tmp_path, "classifier.model=plain"), "randomised", "random")
    data = CAEDataModule(config.data)
    torch.manual_seed(0)
    network = PlainConvNet(3, width=4)
    before = network.head.weight.clone()
    classifier = models.standardised_classifier(config, data, network)
    # dividing by the small deviation of an untrained network's logits magnifies their rounding
    logits, _ = answers_of(classifier, data.train, 32)
    assert torch.allclose(logits.mean(0), torch.zeros(3), atol=5e-3)
    assert torch.allclose(logits.std(0), torch.ones(3), atol=5e-3)
    assert len(logits.argmax(1).unique()) == 3
    assert torch.equal(network.head.weight, before)


def test_an_untrained_network_has_logits_that_differ_before_they_are_scaled(tmp_path, monkeypatch):
    config = arm_config(config_in(tmp_path), "randomised", "random")
    monkeypatch.setattr(models, "standardised_classifier", lambda config, data, network: network)
    data = CAEDataModule(config.data)
    network = models.random_classifier(config, data)
    assert not network.training
    images = torch.stack([data.train[place].image for place in range(48)])
    assert float(network(images).std(0).min()) > 0.01
    assert torch.equal(network.head.weight, models.random_classifier(config, data).head.weight)


def test_steps_of_the_arms_are_checked_like_any_option(tmp_path):
    assert arm_config(config_in(tmp_path), "a", "b").cae.max_steps == 8
    with pytest.raises(UserError, match="cae.warmup_steps"):
        arm_config(config_in(tmp_path, "sanity.steps=3"), "a", "b")


def test_the_table_says_pass_or_fail_for_every_rule():
    text = table([Rule("a/b", "x is small", "0.1", True), Rule("a/c", "y is large", "0.2", False)])
    assert text.splitlines() == [
        "PASS  a/b: x is small", "      0.1", "FAIL  a/c: y is large", "      0.2", "1 of 2 rules hold",
    ]  # fmt: skip
