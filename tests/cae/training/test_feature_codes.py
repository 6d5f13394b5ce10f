"""Training with class codes that are read in the classifier's own features."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from tiny_training import CLASSES, SIDE, level_classifier, tiny_config, tiny_data
from torch import nn

from cae.classifiers import TargetClassifier, readable
from cae.data import Batch, collate
from cae.errors import UserError
from cae.manifold.class_manifold import ClassManifold
from cae.models.feature_encoder import FeatureEncoder
from cae.models.loading import load_cae
from cae.training.cae import build_module, gather_classifiers, reader_for, train_cae


class LevelFeatures(nn.Module):
    """Tells mean grey values apart by a linear layer over a few features of a map at half of the side."""

    def __init__(self) -> None:
        super().__init__()
        self.pool = nn.AvgPool2d(2)
        self.head = nn.Linear(2, 3)
        with torch.no_grad():  # -60 (x - l)^2 without the part that all classes share
            levels = torch.tensor([0.2, 0.5, 0.8])
            self.head.weight.copy_(torch.stack([120 * levels, torch.zeros(3)], 1))
            self.head.bias.copy_(-60 * levels**2)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        level = self.pool(images).mean((1, 2, 3))
        return self.head(torch.stack([level, level**2], 1))


def classifier() -> TargetClassifier:
    return TargetClassifier(LevelFeatures(), CLASSES, image_shape=(1, SIDE, SIDE), scores="logits")


def batch_of(data, count: int = 6) -> Batch:
    return collate([data.train[index] for index in range(count)])


def test_auto_reads_the_classifier_where_it_shows_features_and_learns_an_encoder_elsewhere():
    config = tiny_config().cae
    assert reader_for(config, classifier()) is not None
    assert reader_for(config, level_classifier()) is None  # it has no linear layer
    for other in ({"black_box": True}, {"target": "labels"}, {"preset": "published"}):
        assert reader_for(dataclasses.replace(config, **other), classifier()) is None
    own = dataclasses.replace(config, model=dataclasses.replace(config.model, class_code="encoder"))
    assert reader_for(own, classifier()) is None


def test_features_that_are_asked_for_and_not_there_are_an_error_in_words():
    config = tiny_config("cae.model.class_code=classifier").cae
    with pytest.raises(UserError, match=r"needs a PyTorch network with gradients and a linear layer at its end"):
        reader_for(config, level_classifier())
    with pytest.raises(UserError, match=r"cae\.black_box=false"):
        reader_for(dataclasses.replace(config, black_box=True), classifier())


@pytest.mark.parametrize(
    ("own", "options", "steps"),
    [
        (True, ("cae.max_steps=1000",), 100),
        (False, ("cae.max_steps=1000",), 300),
        (False, ("cae.max_steps=250",), 75),  # half of what the ramp leaves
        (False, ("cae.max_steps=250", "cae.warmup_steps=0"), 0),
    ],
)
def test_the_warm_up_is_longer_where_class_codes_have_to_be_learnt(own, options, steps):
    config = tiny_config("cae.warmup_steps=null", "cae.ramp_steps=100", *options)
    data, target = tiny_data(config), classifier() if own else level_classifier()
    module = build_module(config, data.image_shape, gather_classifiers(config.cae, data, target, level_classifier()))
    assert module.warmup_steps == steps


def test_training_images_are_read_once_and_altered_ones_anew():
    config = tiny_config()
    data, target = tiny_data(config), classifier()
    known = gather_classifiers(config.cae, data, target, level_classifier())
    batch = batch_of(data)
    before = target.evaluations
    logits, features = known.read(batch)
    assert target.evaluations == before
    anew, read = dataclasses.replace(known, rows={}).read(batch)
    assert target.evaluations == before + len(batch)
    torch.testing.assert_close(logits, anew)
    torch.testing.assert_close(features, read)


def test_the_coherency_teaches_the_linear_map_and_no_weight_of_the_classifier():
    config = tiny_config("cae.loss.variance=0", "cae.loss.covariance=0", "cae.loss.class_probabilities=0")
    data, target = tiny_data(config), classifier()
    module = build_module(config, data.image_shape, gather_classifiers(config.cae, data, target, level_classifier()))
    batch = batch_of(data)
    logits, features = module.classifiers.read(batch)
    module.objective.generator_terms(module.objective.swaps(batch.images, logits, features))["coherency"].backward()
    assert module.cae.class_encoder.head.weight.grad.abs().sum() > 0
    assert all(weight.grad is None for weight in target.parameters())


def test_the_code_of_a_swap_is_read_in_the_pass_that_classifies_it():
    config = tiny_config()
    data, target = tiny_data(config), classifier()
    module = build_module(config, data.image_shape, gather_classifiers(config.cae, data, target, level_classifier()))
    batch = batch_of(data)
    swaps = module.objective.swaps(batch.images, *module.classifiers.read(batch))
    before = target.evaluations
    _, codes = module.objective._divergence(swaps, swaps.shown("both"))
    assert target.evaluations == before + config.cae.pairs
    assert codes.shape == swaps.donor_codes.shape


def test_a_trained_one_opens_with_its_classifier_and_agrees_with_its_manifold(tmp_path):
    config = tiny_config("cae.max_steps=6", "cae.validate_every=6")
    data, target = tiny_data(config), classifier()
    cae = train_cae(config, data, target, level_classifier(), tmp_path)
    assert isinstance(cae.class_encoder, FeatureEncoder)
    loaded, header = load_cae(tmp_path / "cae.safetensors", lambda _: readable(target))
    assert header["model"]["class_code"] == "classifier"
    codes = loaded.encode(batch_of(data).images).class_code
    torch.testing.assert_close(codes, cae.encode(batch_of(data).images).class_code)
    manifold = ClassManifold.load(tmp_path / "manifold.safetensors")
    first = loaded.encode(data.train[0].image[None]).class_code[0]
    torch.testing.assert_close(manifold.codes[manifold.ids.index(data.train[0].id)], first, atol=1e-4, rtol=1e-4)
