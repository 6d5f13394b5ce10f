"""A trained network is trained further on other classes: a new last layer, all the rest from where it was."""

from __future__ import annotations

import pytest
import torch
import torchvision.models as models
from safetensors.torch import load_file, save_file
from shades import CLASSES, SHAPE, shades

from cae.classifiers import load_classifier, load_own
from cae.classifiers.finetuning import starting_network
from cae.config import ClassifierConfig, Config, DataConfig, LoggingConfig, OracleConfig, TrainerConfig
from cae.config.checks import check_config
from cae.data import CAEDataModule, Splits
from cae.errors import UserError
from cae.training.classifier import rounds, train_classifier

NAME = "shufflenet_v2_x0_5"


@pytest.fixture
def weights(tmp_path):
    """A network of seven classes, as if it was trained elsewhere."""
    torch.manual_seed(0)
    path = tmp_path / "seven.safetensors"
    save_file(models.get_model(NAME, num_classes=7).state_dict(), path)
    return path


def options(path, **changes) -> ClassifierConfig:
    given = {"model": f"torchvision:{NAME}", "weights": path and str(path), "mean": [0.5], "std": [0.25], **changes}
    return ClassifierConfig(finetune=True, **given)


def test_all_but_the_last_layer_is_that_of_the_trained_network(weights):
    start = starting_network(options(weights), 2)
    before = models.get_model(NAME, num_classes=7)
    before.load_state_dict(load_file(weights))
    images = torch.rand(2, 3, 32, 32)
    for network in (before, start.network):
        network.eval()
    assert start.network(images).shape == (2, 2)
    before.fc, start.network.fc = torch.nn.Identity(), torch.nn.Identity()
    assert torch.equal(before(images), start.network(images))
    assert (start.mean, start.std) == ((0.5,), (0.25,))


def test_it_learns_other_classes_and_is_found_again_with_its_normalisation(weights, tmp_path):
    data = CAEDataModule(DataConfig(image_size=32, batch_size=8))
    data._splits = Splits(shades(32, 0), shades(8, 1), shades(8, 2), CLASSES)
    classifier = options(weights, epochs=10, learning_rate=0.02, noise=0.0, shift=0, rotation=0.0, scale=0.0)
    config = Config(
        classifier=classifier,
        logging=LoggingConfig(progress=False, every=1),
        trainer=TrainerConfig(accelerator="cpu", devices="1"),
    )
    check_config(config)
    folder = tmp_path / "run"
    accuracy = train_classifier(config, data, folder)["classifier/test_accuracy"]
    assert accuracy >= 0.75
    batch = next(iter(data.test_dataloader()))
    ways = {
        "as the run's own": load_classifier(classifier, CLASSES, SHAPE, folder),
        "without options": load_own(folder),
        "as a file": load_classifier(
            ClassifierConfig(model=f"torchvision:{NAME}", weights=str(folder / "classifier.safetensors")),
            CLASSES,
            SHAPE,
        ),
    }
    for way, found in ways.items():
        assert (found.logits(batch.images).argmax(1) == batch.labels).float().mean() == accuracy, way
        assert found.preprocess.description() == "channels=3 size=(32, 32) mean=[0.5, 0.5, 0.5] std=[0.25, 0.25, 0.25]"
    with pytest.raises(UserError, match=r"`classifier\.mean=\[0\.5\]`, not \[0\.25\]"):
        load_classifier(options(weights, mean=[0.25]), CLASSES, SHAPE, folder)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"model": "resnet", "weights": None}, "classifier.finetune=true trains a network further that comes trained"),
        ({"model": "onnx"}, "not classifier.model=onnx"),
        ({"classes": ["a", "b"]}, "leave classifier.classes out"),
    ],
)
def test_what_cannot_be_trained_further_is_told(given, words, weights):
    with pytest.raises(UserError) as error:
        check_config(Config(classifier=options(weights, **given)))
    assert words in str(error.value)


def test_without_weights_there_is_nothing_to_go_on_from(weights):
    with pytest.raises(UserError, match=r"classifier\.weights=pretrained"):
        starting_network(options(None), 2)


def test_a_network_without_a_last_linear_layer_is_refused(tmp_path):
    path = tmp_path / "squeeze.safetensors"
    save_file(models.get_model("squeezenet1_1", num_classes=7).state_dict(), path)
    with pytest.raises(UserError, match="ends in a linear layer, which torchvision:squeezenet1_1 does not"):
        starting_network(options(path, model="torchvision:squeezenet1_1"), 2)


def test_further_training_is_shorter():
    assert rounds(816, 64, None, 300) == (15, 20)
    assert rounds(4000, 64, None, 300) == (8, 62)  # passes over many images


def test_an_oracle_may_be_a_trained_network():
    check_config(Config(oracle=OracleConfig(model="efficientnet_lite0")))
