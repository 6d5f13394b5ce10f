"""Names of a user's classes from lists and files, and outputs in another order than the data's classes."""

from __future__ import annotations

import json
import sys
import types
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from cae.classifiers import TargetClassifier, load_classifier
from cae.classifiers.class_names import class_names, output_order
from cae.config import ClassifierConfig, load_config
from cae.errors import UserError

SHAPE = (1, 4, 4)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("names.txt", "fish\ncat\ngreat dane\n"),
        ("names.txt", "\ufefffish\r\ncat\r\ngreat dane\r\n\r\n"),
        ("names.json", '["fish", "cat", "great dane"]'),
        ("names.json", '{"0": "fish", "2": "great dane", "1": "cat"}'),
        ("names.json", '{"0": ["n01", "fish"], "1": ["n02", "cat"], "2": ["n03", "great dane"]}'),
        ("names.json", '{"cat": 1, "fish": 0, "great dane": 2}'),
    ],
)
def test_names_are_read_from_the_files_that_people_have(tmp_path: Path, name: str, text: str):
    path = tmp_path / name
    path.write_bytes(text.encode())
    assert class_names([str(path)]) == ("fish", "cat", "great dane")


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("names.json", '{"0": "fish", "2": "cat"}', "0 to 1"),
        ("names.json", "[1, [2]]", "neither a list nor a mapping"),
        ("names.txt", "fish\n", "only 1"),
        ("names.txt", "fish\n\ncat\n", "line 2 is empty"),
    ],
)
def test_a_file_that_holds_no_names_is_told_with_the_forms_that_are_read(tmp_path: Path, name, text, words):
    (tmp_path / name).write_text(text)
    with pytest.raises(UserError, match=words):
        class_names([str(tmp_path / name)])


def test_names_may_be_given_to_a_classifier_in_any_form(tmp_path: Path):
    (tmp_path / "names.txt").write_text("a\nb\n")
    network = nn.Sequential(nn.Flatten(), nn.Linear(16, 2))
    for given in ({1: "b", 0: "a"}, np.array(["a", "b"]), tmp_path / "names.txt", str(tmp_path / "names.txt")):
        assert TargetClassifier(network, given, image_shape=SHAPE).classes == ("a", "b")
    assert TargetClassifier(network, [3, 7], image_shape=SHAPE).classes == ("3", "7")
    with pytest.warns(UserWarning, match=r"come again are numbered: a \(2\)"):
        assert TargetClassifier(network, ["a", "a"], image_shape=SHAPE).classes == ("a", "a (2)")
    with pytest.raises(UserError, match="the numbers must be 0 to 1, each once"):
        TargetClassifier(network, {1: "a", 2: "b"}, image_shape=SHAPE)


def test_a_missing_file_is_told_with_the_nearest_name(tmp_path: Path):
    (tmp_path / "names.txt").write_text("a\nb\n")
    with pytest.raises(UserError, match=r"no file .*did you mean 'names.txt'.*imagenet"):
        class_names([str(tmp_path / "nams.txt")])


def test_imagenets_names_need_no_file_and_names_that_come_again_are_numbered():
    assert class_names(["imagenet"])[4] == "hammerhead"
    with pytest.warns(UserWarning, match="numbered: crane"):
        assert class_names(["crane", "fish", "crane"]) == ("crane", "fish", "crane (2)")


def test_classes_are_given_as_a_list_or_a_file_on_the_command_line_and_not_for_networks_trained_here():
    options = ["classifier.model=onnx", "classifier.weights=a.onnx"]
    assert load_config([], [*options, "classifier.classes=[a,b]"]).classifier.classes == ["a", "b"]
    assert load_config([], [*options, "classifier.classes=names.txt"]).classifier.classes == ["names.txt"]
    with pytest.raises(UserError, match=r"leave classifier.classes out"):
        load_config([], ["classifier.classes=[a,b]"])


def test_other_classes_than_those_of_the_data_are_told_with_the_nearest():
    with pytest.raises(UserError, match=r"'cats' \(did you mean 'cat'\?\); 2 of the classifier's 3 .*'cat', 'fish'"):
        output_order(["cat", "dog", "fish"], ["cats", "dog"])


def test_outputs_come_in_the_order_of_the_datas_classes(monkeypatch):
    def scores(images):
        return torch.tensor([[0.2, 0.5, 0.3]]).expand(len(images), 3).numpy()

    monkeypatch.setitem(sys.modules, "mine", types.ModuleType("mine"))
    sys.modules["mine"].scores = scores
    plain = ClassifierConfig(model="callable:mine:scores")
    named = ClassifierConfig(model="callable:mine:scores", classes=["c", "a", "b"])
    found = load_classifier(named, ("a", "b", "c"), SHAPE)
    assert found.classes == ("a", "b", "c")
    assert found.probabilities(torch.zeros(1, *SHAPE))[0].tolist() == pytest.approx([0.5, 0.3, 0.2])
    assert found.fingerprint() != load_classifier(plain, ("a", "b", "c"), SHAPE).fingerprint()
    alone = load_classifier(named, None, SHAPE)  # photographs, without any data
    assert alone.classes == ("c", "a", "b")
    assert alone.probabilities(torch.zeros(1, *SHAPE))[0].tolist() == pytest.approx([0.2, 0.5, 0.3])


def test_a_single_score_for_two_classes_is_turned_round_too():
    class Mean(nn.Module):
        def forward(self, images):
            return images.mean((1, 2, 3))[:, None]

    images = torch.full((1, *SHAPE), 0.8)
    straight = TargetClassifier(Mean(), ["no", "yes"], image_shape=SHAPE, scores="probabilities")
    turned = TargetClassifier(Mean(), ["yes", "no"], image_shape=SHAPE, scores="probabilities", order=[1, 0])
    assert straight.probabilities(images)[0].tolist() == pytest.approx([0.2, 0.8])
    assert turned.probabilities(images)[0].tolist() == pytest.approx([0.8, 0.2])


def test_photographs_are_explained_under_the_names_of_a_file_without_any_data(tmp_path: Path):
    from cae.runs.classifier_run import open_classifier

    names = [f"kind {number}" for number in range(7)]
    (tmp_path / "names.json").write_text(json.dumps(names))
    network = nn.Sequential(nn.Flatten(), nn.Linear(256, 7)).eval()
    torch.jit.script(network).save(str(tmp_path / "network.pt"))
    overrides = (
        f"runs={tmp_path}", "classifier.model=torchscript", f"classifier.weights={tmp_path / 'network.pt'}",
        f"classifier.classes={tmp_path / 'names.json'}", "data.image_size=16", "data.channels=1",
        "trainer.accelerator=cpu",
    )  # fmt: skip
    config = load_config([], overrides)
    opened = open_classifier(config, needs_data=False)
    assert opened.data is None
    assert opened.classes == tuple(names)
