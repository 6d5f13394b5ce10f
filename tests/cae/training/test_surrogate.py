"""A surrogate of the classifier: when there is one, what it learns, and how far swaps have to convince it."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from tiny_training import CLASSES, SIDE, LevelNet, level_classifier, tiny_config, tiny_data, tiny_images

from cae.classifiers import TargetClassifier
from cae.config.checks import check_config
from cae.data import collate
from cae.errors import UserError
from cae.files import read_json
from cae.models.cae import CAE
from cae.models.loading import load_cae
from cae.training.base_module import wants_surrogate
from cae.training.cae import train_cae
from cae.training.objective import Objective
from cae.training.surrogate import surrogate_for


def sharper() -> TargetClassifier:
    """A classifier of other weights than the usual one."""
    network = LevelNet()
    network.sharpness.data += 1
    return TargetClassifier(network, CLASSES, image_shape=(1, SIDE, SIDE))


WANTED = ("cae.surrogate=true", "oracle.width=4", "oracle.epochs=60", "classifier.learning_rate=0.02")


@pytest.mark.parametrize(
    ("options", "images", "wanted"),
    [
        ({}, 2999, True),
        ({}, 3000, False),
        ({"surrogate": True}, 3000, True),
        ({"surrogate": False}, 10, False),
        ({"preset": "published"}, 10, False),
        ({"black_box": True}, 10, False),
        ({"target": "labels"}, 10, False),
    ],
)
def test_few_images_want_a_surrogate(options, images, wanted):
    assert wants_surrogate(replace(tiny_config().cae, **{"surrogate": None, **options}), images) == wanted


@pytest.mark.parametrize("option", ["cae.preset=published", "cae.target=labels", "cae.black_box=true"])
def test_a_surrogate_where_swaps_follow_no_gradients_is_refused(option):
    with pytest.raises(UserError, match="cae.surrogate=true is for swaps that follow a classifier with gradients"):
        check_config(tiny_config("cae.surrogate=true", option))


class Reversed(LevelNet):
    """Sees in dark images what the other one sees in bright ones."""

    def forward(self, images):
        return super().forward(1 - images)


def test_the_coherency_is_the_mean_over_classifier_and_surrogate():
    images = tiny_images(9, 0, "train")
    batch = collate([images[index] for index in range(9)])
    config = replace(tiny_config().cae, robust_views=False)
    classifier, other = (
        level_classifier(),
        TargetClassifier(Reversed(), CLASSES, image_shape=(1, SIDE, SIDE)),
    )
    torch.manual_seed(0)
    cae = CAE((1, SIDE, SIDE), config.model)

    def divergences(shown_to, surrogate=None):
        """KL of the same swaps, whose donors' probabilities are always those of the classifier."""
        torch.manual_seed(1)
        objective = Objective(cae, 3, config, shown_to, torch.full((3,), 1 / 3), surrogate=surrogate)
        torch.manual_seed(2)
        swaps = objective.swaps(batch.images, classifier.logits(batch.images))
        return objective._divergence(swaps, swaps.shown(config.coherency_on))[0]

    alone, by_other = divergences(classifier), divergences(other)
    assert (alone - by_other).abs().max() > 0.1
    assert torch.allclose(divergences(classifier, other), (alone + by_other) / 2, atol=1e-5)
    assert torch.allclose(divergences(classifier, classifier), alone, atol=1e-6)


def test_it_learns_the_predictions_with_another_architecture_and_other_seed_than_the_oracle(tmp_path):
    config = tiny_config(*WANTED, "oracle.model=resnet")
    data, target = (
        tiny_data(config),
        TargetClassifier(Reversed(), CLASSES, image_shape=(1, SIDE, SIDE)),
    )
    surrogate = surrogate_for(config, data, target, tmp_path)
    images = torch.stack([data.test[index].image for index in range(len(data.test))])
    assert torch.equal(surrogate.logits(images).argmax(1), target.logits(images).argmax(1))
    assert not any(weight.requires_grad for weight in surrogate.parameters())
    assert read_json(tmp_path / "surrogate.json")["model"] == "plain"
    before = (tmp_path / "surrogate.safetensors").stat().st_mtime_ns
    again = surrogate_for(config, data, target, tmp_path)  # as a resumed training finds it
    assert again.fingerprint() == surrogate.fingerprint()
    assert (tmp_path / "surrogate.safetensors").stat().st_mtime_ns == before
    with pytest.raises(UserError, match=r"surrogate\.safetensors' learnt the predictions of another .*train\.py cae"):
        surrogate_for(config, data, sharper(), tmp_path)


def test_a_training_that_began_without_one_goes_on_without(tmp_path):
    config = tiny_config(*WANTED)
    assert surrogate_for(config, tiny_data(config), level_classifier(), tmp_path, tmp_path / "last.ckpt") is None
    assert not list(tmp_path.iterdir())


def test_one_that_follows_badly_is_not_listened_to(tmp_path, capsys):
    config = tiny_config("cae.surrogate=true", "oracle.width=4", "oracle.epochs=1", "classifier.learning_rate=0")
    assert surrogate_for(config, tiny_data(config), level_classifier(), tmp_path) is None
    assert "swaps need not convince it" in capsys.readouterr().out


def test_the_weights_name_the_surrogate_that_they_were_trained_with(tmp_path):
    config = tiny_config("cae.max_steps=6", "cae.validate_every=6", "cae.warmup_steps=2", "cae.ramp_steps=1")
    target, surrogate = level_classifier(), sharper()
    train_cae(config, tiny_data(config), target, target, tmp_path, surrogate=surrogate)
    _, header = load_cae(tmp_path / "cae.safetensors", lambda _: None)
    assert header["surrogate"] == surrogate.fingerprint() != target.fingerprint()
