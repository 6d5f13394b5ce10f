"""A classifier and labelled images: how many it is right on is told and kept, and a better order named."""

from __future__ import annotations

import json
import sys
import types
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from cae.classifiers import TargetClassifier
from cae.classifiers.other_inputs import logits_given, other_inputs
from cae.config import load_config
from cae.runs.label_agreement import LabelAgreement
from explainers.commands.compare import compare

NAMES = ("cat", "dog", "eel", "fox")
LEVELS = (0.2, 0.4, 0.6, 0.8)


def levels_of(images: np.ndarray) -> np.ndarray:
    """Logits of four grey levels."""
    return -200 * (images.mean((1, 2, 3))[:, None] - np.array(LEVELS, np.float32)) ** 2


def turned(images: np.ndarray) -> np.ndarray:
    """The same network, trained on the classes in another order: eel, cat, fox, dog."""
    return levels_of(images)[:, [2, 0, 3, 1]]


def useless(images: np.ndarray) -> np.ndarray:
    return np.tile(np.array([[3.0, 0, 0, 0]], np.float32), (len(images), 1))


def divided_again(images: np.ndarray) -> np.ndarray:
    """A function that takes its images for bytes."""
    return levels_of(images / 255)


def normalised(images: np.ndarray) -> np.ndarray:
    """Trained on images of mean 0.4 and deviation 0.2, which are given normalised."""
    return levels_of(0.4 + 0.2 * images)


def mistaken(images: np.ndarray) -> np.ndarray:
    """Right on three of four images, whatever their form."""
    scores = levels_of(images)
    wrong = np.arange(len(images)) % 4 == 3
    scores[wrong] = np.roll(scores[wrong], 1, axis=1)
    return scores


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Twelve grey images of each class, told apart by their level."""
    root = tmp_path_factory.mktemp("levels")
    for name, level in zip(NAMES, LEVELS, strict=True):
        (root / name).mkdir()
        for number in range(12):
            pixels = np.random.default_rng(number).normal(255 * level, 8, (16, 16)).clip(0, 255)
            Image.fromarray(pixels.astype(np.uint8)).save(root / name / f"{number}.png")
    return root


@pytest.fixture
def compared(folder, tmp_path, monkeypatch, capsys):
    """What `compare` prints and keeps of a function as classifier."""
    module = types.ModuleType("mine")
    monkeypatch.setitem(sys.modules, "mine", module)

    def act(function, *overrides: str) -> tuple[str, dict]:
        module.scores = function
        overrides = (
            "name=a", f"runs={tmp_path}", "data.source=folder", f"data.path={folder}", "data.image_size=16",
            "data.test_share=0.5", "classifier.model=callable:mine:scores", "methods=[centre]", "explain.limit=1",
            "explain.metrics=none", "explain.figures=0", "logging.progress=false", "trainer.accelerator=cpu",
            "overwrite=true", *overrides,
        )  # fmt: skip
        compare(load_config([], overrides))
        kept = tmp_path / "a" / "explanations" / "compare" / "labels.json"
        return capsys.readouterr().out, json.loads(kept.read_text()) if kept.exists() else {}

    return act


def test_a_classifier_that_is_right_is_told_to_be_and_kept_by_class(compared):
    said, kept = compared(levels_of)
    assert "right on 100.0% of 24 labelled images of the test split (balanced 100.0%: cat 100%, dog 100%" in said
    assert "warning" not in said
    assert kept["accuracy"] == kept["balanced_accuracy"] == 1
    assert kept["recall"] == dict.fromkeys(NAMES, 1.0)
    assert kept["better_order"] is None


def test_an_order_that_fits_far_better_is_named_with_the_line_that_sets_it_and_the_line_cures_it(compared):
    said, kept = compared(turned)
    assert "warning: another order of the classes fits" in said
    assert "far better (100.0% instead of 0.0%" in said
    line = "classifier.classes=[eel,cat,fox,dog]"
    assert line in said
    assert kept["better_order"] == ["eel", "cat", "fox", "dog"]
    said, kept = compared(turned, line)
    assert "right on 100.0% of 24" in said
    assert "warning" not in said


def test_a_wrong_order_that_the_user_has_set_is_answered_with_the_right_one(compared):
    said, _ = compared(turned, "classifier.classes=[cat,eel,fox,dog]")
    assert "classifier.classes=[eel,cat,fox,dog]" in said


def test_a_classifier_that_guesses_is_warned_of(compared):
    said, kept = compared(useless)
    assert "no better than guessing on 24 labelled images (balanced accuracy 25.0%)" in said
    assert kept["recall"]["cat"] == 1
    assert kept["recall"]["dog"] == 0


def test_a_function_that_divides_by_255_once_more_is_told_with_the_line_that_cures_it(compared):
    said, kept = compared(divided_again)
    assert "given 24 labelled images with values from 0 to 255, the classifier is right on far more of them" in said
    assert "(100.0% instead of 25.0%, balanced)" in said
    assert "take the division by 255 out of it" in said
    line = "classifier.mean=[0] classifier.std=[0.003922]"
    assert line in said
    assert kept["better_input"]["fitting"] == 1
    assert "far more of them" in compared(divided_again)[0]  # the second time, what was kept is told
    said, kept = compared(divided_again, *line.split())
    assert "right on 100.0% of 24" in said
    assert "warning" not in said


def test_exchanged_mean_and_deviation_are_told(compared):
    said, _ = compared(normalised, "classifier.mean=[0.2]", "classifier.std=[0.4]")
    assert "with `classifier.mean` and `classifier.std` exchanged" in said
    assert "set classifier.mean=[0.4] classifier.std=[0.2]" in said
    assert "warning" not in compared(normalised, "classifier.mean=[0.4]", "classifier.std=[0.2]")[0]


def test_a_normalisation_that_is_missing_or_made_twice_is_told(compared):
    said, _ = compared(lambda images: levels_of(0.5 + 0.5 * images))
    assert "brought to the range from -1 to 1" in said
    assert "set classifier.mean=[0.5] classifier.std=[0.5]" in said
    assert "without normalisation" in compared(levels_of, "classifier.mean=[0.5]", "classifier.std=[0.5]")[0]


def test_a_classifier_that_no_other_form_of_the_images_helps_is_not_doubted(compared):
    said, kept = compared(mistaken)
    assert kept["balanced_accuracy"] == pytest.approx(0.75, abs=0.05)
    assert kept["better_input"] is None
    assert "warning" not in said


def test_a_classifier_that_is_right_is_not_given_other_forms_of_the_images(compared):
    asked = []

    def watched(images: np.ndarray) -> np.ndarray:
        asked.append(len(images))
        return levels_of(images)

    compared(watched, "methods=[centre]")
    right, asked[:] = sum(asked), []
    compared(lambda images: watched(images / 255), "methods=[centre]")
    assert sum(asked) > right + 3 * 24


def test_blue_first_is_another_form_of_images_in_colour():
    def blue(images: np.ndarray) -> np.ndarray:
        return images[:, 2::-2, 0, 0]

    classifier = TargetClassifier(blue, ("a", "b"), image_shape=(3, 2, 2), scores="logits")
    images = torch.rand(4, 3, 2, 2)
    (turned,) = [form for form in other_inputs(classifier) if form.turned]
    assert turned.words == "with their channels in the order blue, green, red"
    assert torch.equal(logits_given(classifier, images, turned), classifier.logits(images).flip(1))
    grey = TargetClassifier(levels_of, NAMES, image_shape=(1, 2, 2))
    assert not any(form.turned for form in other_inputs(grey))


def test_no_form_is_tried_twice():
    own = TargetClassifier(levels_of, NAMES, image_shape=(1, 2, 2), mean=[0.5], std=[0.5])
    assert [form.words for form in other_inputs(own)] == [
        "with values from 0 to 255", "without normalisation", "normalised as photographs of ImageNet are",
    ]  # fmt: skip


def test_zero_images_to_check_ask_nothing(compared):
    said, kept = compared(useless, "classifier.check_images=0")
    assert "labelled images" not in said
    assert kept == {}


def test_names_that_are_no_plain_words_are_quoted_and_many_are_written_into_a_file(tmp_path):
    exchanged = torch.tensor([[0, 9], [9, 0]])
    (said,) = LabelAgreement(exchanged, ("a, b", "c d"), "test").doubts()
    assert 'classifier.classes=[c d,"a, b"]' in said
    many = tuple(f"kind {number}" for number in range(30))
    (said,) = LabelAgreement(9 * torch.eye(30, dtype=torch.int64).roll(1, 1), many, "test").doubts(tmp_path)
    path = tmp_path / "class_order.txt"
    assert f"classifier.classes={path}" in said
    assert path.read_text().splitlines() == [many[-1], *many[:-1]]
