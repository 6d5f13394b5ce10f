"""The training objective: which terms a step has, and whom each loss reaches."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
import torch
from tiny_training import CLASSES, SIDE, LevelNet, level_classifier, tiny_config, tiny_images
from torch import nn

from cae.classifiers import TargetClassifier
from cae.config import LossConfig
from cae.data import Batch, collate
from cae.models.cae import CAE
from cae.training.objective import Objective

# every weight is that of a term of the same name, but for these
OTHER_OPTIONS = {"r1", "smote", "temperature"}
WARM_UP_TERMS = {"patch_swap"}
GENERATOR_TERMS = {field.name for field in dataclasses.fields(LossConfig)} - OTHER_OPTIONS - WARM_UP_TERMS


def build(classifier=None, weights=None, **options):
    """An objective with every weight 1, or only those of ``weights``."""
    torch.manual_seed(0)
    config = tiny_config().cae
    ones = {field.name: 1.0 for field in dataclasses.fields(LossConfig)}
    chosen = ones if weights is None else {**dict.fromkeys(ones, 0.0), "temperature": 1.0, **weights}
    config = dataclasses.replace(config, loss=LossConfig(**chosen), **options)
    cae = CAE((1, SIDE, SIDE), config.model)
    return Objective(cae, 3, config, classifier or level_classifier(), torch.full((3,), 1 / 3))


@pytest.fixture
def batch() -> Batch:
    images = tiny_images(9, 0, "train")
    return collate([images[index] for index in range(9)])


def swaps_of(objective, batch):
    return objective.swaps(batch.images, objective.logits(batch))


def reached(module: nn.Module) -> bool:
    return any(p.grad is not None and p.grad.abs().sum() > 0 for p in module.parameters())


def touched(module: nn.Module) -> bool:
    return any(p.grad is not None for p in module.parameters())


# --- which terms ------------------------------------------------------------------------------------------------------


def test_all_terms_are_there_and_finite(batch):
    objective = build()
    terms = objective.generator_terms(swaps_of(objective, batch))
    assert set(terms) == GENERATOR_TERMS
    assert all(term.ndim == 0 and torch.isfinite(term) for term in terms.values())


@pytest.mark.parametrize("name", sorted(GENERATOR_TERMS | WARM_UP_TERMS))
def test_weight_zero_removes_a_term(batch, name):
    weights = {field.name: 1.0 for field in dataclasses.fields(LossConfig)} | {name: 0.0}
    objective = build(weights=weights)
    swaps = swaps_of(objective, batch)
    assert set(objective.generator_terms(swaps)) == GENERATOR_TERMS - {name}
    warmup = objective.warmup_terms(batch.images, swaps.logits)
    assert set(warmup) == {"reconstruction", "class_probabilities", "variance", "covariance", "patch_swap"} - {name}
    others = set(objective.other_terms(swaps, penalise=True, query=True))
    gone = {"adversarial": {"real", "fake", "r1"}, "leakage": {"adversary"}}.get(name, set())
    assert others == {"real", "fake", "r1", "adversary"} - gone


def test_the_gradient_penalty_comes_only_when_asked_for(batch):
    objective = build()
    assert "r1" not in objective.other_terms(swaps_of(objective, batch), penalise=False, query=True)


def test_an_edit_that_convinces_has_to_look_real_five_times_as_much(batch, monkeypatch):
    objective = build(weights={"coherency": 1.0, "adversarial": 1.0})
    swaps = swaps_of(objective, batch)
    divergence, factors = torch.full((len(swaps.recipients),), 1e6), torch.ones(len(swaps.recipients))
    divergence[:2], factors[:2] = torch.tensor([0, 0.25]), torch.tensor([5, 1 + 4 / math.e])
    monkeypatch.setattr(objective, "_divergence", lambda *_: (divergence, None))
    shown = swaps.shown(objective.config.coherency_on)
    each = objective.discriminator_terms.adversarial(shown, swaps.donor_probabilities)
    torch.testing.assert_close(objective.generator_terms(swaps)["adversarial"], (factors * each).mean())


# --- whom a loss reaches ----------------------------------------------------------------------------------------------


def test_coherency_alone_teaches_class_encoder_and_decoder(batch):
    objective = build(weights={"coherency": 1.0}, coherency_on="decoded", robust_views=False)
    terms = objective.generator_terms(swaps_of(objective, batch))
    assert set(terms) == {"coherency"}
    terms["coherency"].backward()
    assert reached(objective.cae.class_encoder)
    assert reached(objective.cae.trunk)
    assert reached(objective.cae.editor)


def test_no_gradient_reaches_the_donors_code_through_the_class_code_target(batch):
    objective = build(weights={"class_code": 1.0})
    swaps = swaps_of(objective, batch)
    donors = swaps.donor_codes.detach().requires_grad_()
    image = swaps.decoded.image.detach().requires_grad_()
    swaps = dataclasses.replace(swaps, donor_codes=donors, decoded=dataclasses.replace(swaps.decoded, image=image))
    (gradient,) = torch.autograd.grad(objective.generator_terms(swaps)["class_code"], donors, allow_unused=True)
    assert gradient is None


def test_undoing_a_swap_teaches_trunk_and_editor_and_no_encoder(batch):
    objective = build(weights={"undo": 1.0})
    terms = objective.generator_terms(swaps_of(objective, batch))
    assert set(terms) == {"undo"}
    terms["undo"].backward()
    assert reached(objective.cae.editor)
    assert reached(objective.cae.trunk)
    assert not reached(objective.cae.class_encoder)
    assert not reached(objective.cae.individual_encoder)


def test_without_a_mask_nothing_is_undone(batch):
    config = tiny_config().cae
    objective = build(weights={"undo": 1.0}, model=dataclasses.replace(config.model, mask=False))
    assert objective.generator_terms(swaps_of(objective, batch)) == {}


class CornerNet(LevelNet):
    """The same of a corner alone: a patch can change the prediction."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return super().forward(images[..., :4, :4])


def test_patch_swaps_teach_trunk_and_editor_and_no_class_encoder(batch):
    objective = build(TargetClassifier(CornerNet(), CLASSES, image_shape=(1, SIDE, SIDE)), weights={"patch_swap": 1.0})
    terms = objective.warmup_terms(batch.images, objective.logits(batch))
    assert set(terms) == {"patch_swap"}
    terms["patch_swap"].backward()
    assert reached(objective.cae.editor)
    assert reached(objective.cae.trunk)
    assert not reached(objective.cae.class_encoder)


def test_patches_go_on_after_the_warm_up_with_half_the_tries(batch):
    target = TargetClassifier(CornerNet(), CLASSES, image_shape=(1, SIDE, SIDE))
    objective = build(target, weights={"patch_swap": 1.0}, patch_swaps=100)
    swaps = swaps_of(objective, batch)
    before = target.evaluations
    terms = objective.patch_terms(swaps)
    assert target.evaluations == before + 50 * objective.config.recipients
    assert set(terms) == {"patch_swap"}
    terms["patch_swap"].backward()
    assert reached(objective.cae.editor)
    assert not reached(objective.cae.class_encoder)


def test_where_no_patch_changes_the_prediction_nothing_is_learned_of_patches(batch):
    objective = build(weights={"patch_swap": 1.0})  # half of the image at most does not change the mean level enough
    assert objective.warmup_terms(batch.images, objective.logits(batch))["patch_swap"] == 0


def test_no_patch_swaps_without_a_mask_or_with_a_classifier_that_is_not_to_be_asked(batch):
    model = dataclasses.replace(tiny_config().cae.model, mask=False)
    for options in ({"model": model}, {"target": "labels"}, {"black_box": True}):
        objective = build(weights={"patch_swap": 1.0}, **options)
        assert objective.warmup_terms(batch.images, objective.logits(batch)) == {}
        assert objective.patch_terms(swaps_of(objective, batch)) == {}


@pytest.mark.parametrize("black_box", [False, True])
def test_generator_loss_leaves_the_networks_beside_it_without_gradients(batch, black_box):
    objective = build(black_box=black_box)
    torch.stack(list(objective.generator_terms(swaps_of(objective, batch)).values())).sum().backward()
    assert reached(objective.cae)
    assert not touched(objective.discriminator_terms)
    assert not touched(objective.leakage_terms)


@pytest.mark.parametrize("black_box", [False, True])
def test_loss_of_the_networks_beside_leaves_the_generator_without_gradients(batch, black_box):
    objective = build(black_box=black_box)
    terms = objective.other_terms(swaps_of(objective, batch), penalise=True, query=True)
    objective.weighted_others(terms, 16).backward()
    assert reached(objective.discriminator_terms)
    assert reached(objective.leakage_terms)
    assert not touched(objective.cae)
    assert not touched(objective.code_terms)


def test_code_terms_do_not_change_when_all_codes_are_scaled(batch):
    objective = build(weights={"class_code": 1.0, "individual_code": 1.0})
    objective.cae.eval()
    swaps = swaps_of(objective, batch)
    encode_class, encode_individual = objective.cae.encode_class, objective.cae.encode_individual
    results = []
    for alpha in (1.0, 0.1, 10.0):
        scaled = build(weights={"class_code": 1.0, "individual_code": 1.0})  # a fresh scale
        scaled.cae.encode_class = lambda x, a=alpha: a * encode_class(x)
        scaled.cae.encode_individual = lambda x, a=alpha: a * encode_individual(x)
        codes = type(swaps.codes)(alpha * swaps.codes.class_code, alpha * swaps.codes.individual_code)
        terms = scaled.generator_terms(dataclasses.replace(swaps, codes=codes, donor_codes=alpha * swaps.donor_codes))
        results.append(torch.stack([terms["class_code"], terms["individual_code"]]).detach())
    torch.testing.assert_close(results[1], results[0], rtol=1e-5, atol=0)
    torch.testing.assert_close(results[2], results[0], rtol=1e-5, atol=0)


# --- classifiers that cannot be differentiated ------------------------------------------------------------------------


class NoGradient(torch.autograd.Function):
    @staticmethod
    def forward(context, x):
        return x.clone()

    @staticmethod
    def backward(context, gradient):
        raise RuntimeError("this classifier must not be differentiated")


class RefusingNet(LevelNet):
    def forward(self, images):
        return NoGradient.apply(super().forward(images))


def level_function(images: np.ndarray) -> np.ndarray:
    level = images.mean((1, 2, 3))[:, None]
    scores = np.exp(-60 * (level - np.array([[0.2, 0.5, 0.8]])) ** 2)
    return scores / scores.sum(1, keepdims=True)


@pytest.mark.parametrize("network", [RefusingNet(), level_function], ids=["raises in autograd", "NumPy function"])
def test_black_box_training_asks_for_scores_and_never_for_gradients(batch, network):
    classifier = TargetClassifier(network, CLASSES, image_shape=(1, SIDE, SIDE))
    objective = build(classifier, black_box=True)
    swaps = swaps_of(objective, batch)
    assert classifier.evaluations == 9  # the images themselves
    others = objective.other_terms(swaps, penalise=False, query=False)
    assert classifier.evaluations == 9
    assert "imitation_swaps" not in others
    others = objective.other_terms(swaps, penalise=False, query=True)
    assert classifier.evaluations == 9 + 4  # and the swaps
    assert {"imitation", "imitation_swaps"} <= set(others)
    terms = objective.generator_terms(swaps)
    assert classifier.evaluations == 9 + 4
    (torch.stack(list(terms.values())).sum() + objective.weighted_others(others, 16)).backward()
    assert reached(objective.cae)


def test_the_class_head_learns_to_imitate(batch):
    objective = build(black_box=True)
    swaps = swaps_of(objective, batch)
    optimiser = torch.optim.Adam(objective.discriminator_terms.parameters(), lr=0.02)
    losses = []
    for _ in range(15):
        terms = objective.other_terms(swaps, penalise=False, query=True)
        loss = terms["imitation"] + terms["imitation_swaps"]
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]


def test_labels_can_stand_in_for_the_classifier(batch):
    objective = build(target="labels")
    logits = objective.logits(batch)
    assert objective.classifier.evaluations == 0
    assert torch.equal(logits.argmax(1), batch.labels)
    assert logits.softmax(1).max() < 1
