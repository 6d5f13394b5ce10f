"""What is said of classifiers that are not worth explaining and oracles that are not worth asking."""

from __future__ import annotations

import pytest
import torch

from cae.classifiers import PlainConvNet, SmallResNet, TargetClassifier, save_classifier
from cae.classifiers.gates import (
    classifier_advice,
    classifier_doubts,
    load_oracle,
    null_figures,
    oracle_doubt,
    saved_classifier_doubts,
)
from cae.config import ClassifierConfig, OracleConfig

CLASSES = ("cat", "dog", "hen")
SOUND = torch.tensor([[18, 2, 0], [1, 19, 0], [3, 0, 17]])
BLIND_TO_HENS = torch.tensor([[18, 2, 0], [1, 19, 0], [10, 10, 0]])
GUESSES = torch.tensor([[10, 10, 0], [11, 9, 0], [10, 10, 0]])


def test_a_sound_classifier_raises_no_doubt():
    assert classifier_doubts(SOUND, CLASSES) == []
    assert oracle_doubt(SOUND) is None


def test_a_class_that_is_never_answered_is_named_with_a_way_out():
    (sentence,) = classifier_doubts(BLIND_TO_HENS, CLASSES)
    assert "'hen' for none of 60 test images" in sentence
    assert "classifier.patience" in sentence


def test_a_guess_is_told():
    (sentence,) = classifier_doubts(GUESSES, CLASSES)
    assert "no better than guessing on 60 test images (balanced accuracy 31.7%)" in sentence


def test_a_class_without_test_images_is_not_missed():
    without = BLIND_TO_HENS.clone()
    without[2] = 0
    assert classifier_doubts(without, CLASSES) == []


def test_a_trained_network_is_advised_where_a_small_one_had_too_few_images():
    small = ClassifierConfig()
    assert "376 images: classifier.model=efficientnet_lite0" in classifier_advice(small, 0.85, 376)
    assert classifier_advice(small, 0.9, 376) is None
    assert classifier_advice(small, 0.85, 3000) is None
    assert classifier_advice(ClassifierConfig(model="efficientnet_lite0", finetune=True), 0.85, 376) is None


@pytest.mark.parametrize(("right", "worth"), [(74, False), (75, True)])
def test_an_oracle_must_agree_on_three_quarters(right, worth):
    doubt = oracle_doubt(torch.tensor([[right, 100 - right], [0, 0]]))
    assert (doubt is None) == worth
    assert worth or "agrees with the classifier on 74.0% of 100 test images, less than 75%" in doubt


def test_an_oracle_of_one_answer_is_no_oracle_however_often_it_is_right():
    doubt = oracle_doubt(torch.tensor([[90, 0], [10, 0]]))
    assert "no better than a guess on test images (50.0%, balanced)" in doubt


def test_an_oracle_is_loaded_if_it_is_worth_asking(tmp_path):
    network, shape = PlainConvNet(3, width=4), (1, 16, 16)
    classifier = TargetClassifier(network, CLASSES, image_shape=shape)
    assert load_oracle(tmp_path, classifier) == (None, None)
    for agreement, metrics, worth in (
        (SOUND, {}, True),
        (GUESSES, {"oracle/agreement": 0.9}, False),
        (None, {"oracle/agreement": 0.9}, True),  # of a former version
        (None, {"oracle/agreement": 0.4}, False),
        (None, {}, True),
    ):
        matrices = {} if agreement is None else {"agreement": agreement}
        save_classifier(tmp_path, network, OracleConfig(width=4), CLASSES, shape, metrics, "oracle", matrices)
        oracle, doubt = load_oracle(tmp_path, classifier)
        assert (oracle is not None) == (doubt is None) == worth


def test_the_training_may_ask_an_oracle_that_only_the_test_images_are_beyond(tmp_path):
    network, shape = PlainConvNet(3, width=4), (1, 16, 16)
    classifier = TargetClassifier(network, CLASSES, image_shape=shape)
    for on_test, on_validation in ((GUESSES, SOUND), (SOUND, GUESSES)):
        matrices = {"agreement": on_test, "validation_agreement": on_validation}
        save_classifier(tmp_path, network, OracleConfig(width=4), CLASSES, shape, name="oracle", matrices=matrices)
        for split, matrix in (("test", on_test), ("val", on_validation)):
            oracle, doubt = load_oracle(tmp_path, classifier, split)
            assert (oracle is None) == (matrix is GUESSES)
            assert doubt == oracle_doubt(matrix, split)


def test_figures_without_an_oracle_are_null_with_the_reason():
    assert null_figures(None, ["a"]) == {}
    assert null_figures("why", ["a", "b"]) == {"a": None, "b": None, "oracle/doubt": "why"}


def test_doubts_about_a_saved_classifier_are_raised_again(tmp_path):
    assert saved_classifier_doubts(tmp_path) == []
    network, config = SmallResNet(3, width=4), ClassifierConfig(width=4)
    save_classifier(tmp_path, network, config, CLASSES, (1, 16, 16), matrices={"confusion": BLIND_TO_HENS})
    assert "'hen'" in saved_classifier_doubts(tmp_path)[0]
