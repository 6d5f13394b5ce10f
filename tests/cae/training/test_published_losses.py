"""Losses and training rules of the published class association embedding, against values computed by hand."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from tiny_published import pair_of_images, tiny_published
from torch import nn

from cae.training.published_losses import (
    Direction,
    DiscriminatorScores,
    published_directions,
    published_discriminator_loss,
    published_generator_loss,
    published_learning_rate,
    published_optimiser,
    published_pairs,
    published_scores,
)


@pytest.fixture
def tiny():
    return tiny_published()


@pytest.fixture
def images():
    return pair_of_images()


# --- training rules


@pytest.mark.parametrize(
    ("iteration", "rate"), [(0, 1e-4), (19_999, 1e-4), (20_000, 5e-5), (100_000, 1e-4 / 32), (199_999, 1e-4 / 512)]
)
def test_learning_rate_halves_at_every_tenth_of_the_training(iteration, rate):
    assert published_learning_rate(iteration, 200_000) == pytest.approx(rate)


def test_learning_rate_follows_the_step_scheduler_of_pytorch():
    parameter = nn.Parameter(torch.zeros(1))
    optimiser = published_optimiser([parameter])
    scheduler = torch.optim.lr_scheduler.StepLR(optimiser, step_size=3, gamma=0.5)
    for iteration in range(30):
        assert scheduler.get_last_lr()[0] == pytest.approx(published_learning_rate(iteration, 30))
        optimiser.step()
        scheduler.step()
    assert optimiser.param_groups[0]["betas"] == (0.5, 0.999)
    assert optimiser.param_groups[0]["weight_decay"] == 1e-4


def test_pairs_join_a_normal_image_with_one_of_another_class_and_use_none_twice():
    labels = torch.tensor([0, 2, 1, 0, 2, 1, 1, -1, 0])
    normal, other = published_pairs(labels, torch.Generator().manual_seed(0))
    assert sorted(normal.tolist()) == [0, 3, 8]
    assert len(set(other.tolist())) == 3
    assert (labels[other] > 0).all()


def test_pairs_are_shuffled_by_seed_and_empty_without_a_partner():
    labels = torch.arange(40) % 2
    draws = [torch.stack(published_pairs(labels, torch.Generator().manual_seed(s))) for s in (1, 1, 2)]
    assert torch.equal(draws[0], draws[1])
    assert not torch.equal(draws[0], draws[2])
    assert [len(side) for side in published_pairs(torch.zeros(4).long())] == [0, 0]


# --- losses


def direction(label: int) -> Direction:
    """Differences of 0.5, 0.25, 2 and 3, and undecided scores of three classes."""
    image, code = torch.full((2, 1, 4, 4), 0.125), torch.full((2, 3), -0.75)  # not 0, which hides a sign
    return Direction(
        original=image,
        reconstruction=image + 0.5,
        cycle=image - 0.25,
        individual_code=image,
        individual_read=image + 2,
        class_code=code,
        class_read=code - 3,
        scores=torch.zeros(2, 5),
        labels=torch.full((2,), label),
    )


def test_generator_loss_equals_the_published_sum_of_both_directions():
    terms = published_generator_loss((direction(0), direction(2)))
    expected = {
        "reconstruction": 2 * 10 * 0.5,
        "cycle": 2 * 10 * 0.25,
        "individual_code": 2 * 2,
        "class_code": 2 * 3,
        "adversarial": 2 * math.log(2),
        "class_head": 2 * math.log(3),
    }
    assert {name: term.item() for name, term in terms.items()} == pytest.approx(expected)


def test_generator_wants_to_look_real_and_to_be_of_the_donors_class():
    sure = torch.tensor([[-9.0, 9.0, 0.0, 9.0, 0.0]]).repeat(2, 1)  # real, of class 1
    right = published_generator_loss([replace(direction(1), scores=sure)])
    wrong = published_generator_loss([replace(direction(2), scores=-sure)])
    assert right["adversarial"] < 1e-3
    assert right["class_head"] < 1e-3
    assert wrong["adversarial"] > 10


def test_discriminator_loss_counts_the_class_head_twice_and_on_real_images_only():
    labels = torch.tensor([1, 1])
    undecided = torch.zeros(2, 4)
    sure = torch.tensor([[0.0, 0.0, 50.0, 0.0]]).repeat(2, 1)  # a wrong class, on a fake
    one = DiscriminatorScores(real=undecided, fake=sure, labels=labels)
    terms = published_discriminator_loss((one, one))
    expected = {"fake": 2 * math.log(2), "real": 2 * math.log(2), "class_head": 2 * 2 * math.log(2)}
    assert {name: term.item() for name, term in terms.items()} == pytest.approx(expected)


def test_directions_swap_donor_codes_and_labels(tiny, images):
    cae, discriminator = tiny[0], tiny[1].eval()
    labels = torch.tensor([0, 0]), torch.tensor([2, 1])
    ab, ba = published_directions(cae, discriminator, images, labels)
    codes = [cae.encode(image) for image in images]
    swap = 2 * cae.swap(codes[0], codes[1]) - 1
    assert torch.equal(ab.labels, labels[1])
    assert torch.equal(ba.labels, labels[0])
    torch.testing.assert_close(ab.class_code, codes[1].class_code)
    torch.testing.assert_close(ab.scores, discriminator(swap))
    class_read, individual_read = cae.encoders(swap)
    torch.testing.assert_close(ab.class_read, class_read)
    torch.testing.assert_close(ab.cycle, cae.decoder(codes[0].class_code, individual_read))
    torch.testing.assert_close(ba.reconstruction, 2 * cae.swap(codes[1], codes[1]) - 1)


def test_code_terms_have_gradients_on_both_sides(tiny, images):
    labels = torch.tensor([0, 0]), torch.tensor([1, 2])
    cae, discriminator = tiny
    directions = published_directions(cae, discriminator, images, labels)
    assert directions[0].class_code.requires_grad
    assert directions[0].individual_code.requires_grad
    sum(published_generator_loss(directions).values()).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in cae.parameters())


def test_discriminator_step_leaves_encoders_and_decoder_without_gradients(tiny, images):
    labels = torch.tensor([0, 0]), torch.tensor([1, 2])
    cae, discriminator = tiny
    scores = published_scores(cae, discriminator, images, labels)
    assert torch.equal(scores[0].labels, labels[1])
    sum(published_discriminator_loss(scores).values()).backward()
    assert all(p.grad is None for p in cae.parameters())
    assert all(p.grad is not None for p in discriminator.parameters())


def test_discriminator_scores_are_of_the_donor_and_of_the_swap(tiny, images):
    cae, discriminator = tiny[0], tiny[1].eval()
    labels = torch.tensor([0, 0]), torch.tensor([1, 2])
    ab, ba = published_scores(cae, discriminator, images, labels)
    directions = published_directions(cae, discriminator, images, labels)
    torch.testing.assert_close(ab.real, discriminator(2 * images[1] - 1))
    torch.testing.assert_close(ab.fake, directions[0].scores)
    torch.testing.assert_close(ba.fake, directions[1].scores)


def test_a_tiny_version_trains(tiny):
    cae, discriminator = tiny
    ramp = torch.linspace(0.1, 0.6, 32).expand(2, 1, 32, 32)
    spot = ramp.clone()
    spot[..., 10:20, 10:20] += 0.4
    batch = (ramp, spot), (torch.tensor([0, 0]), torch.tensor([1, 2]))
    optimisers = [torch.optim.Adam(module.parameters(), 3e-3, (0.5, 0.999)) for module in (discriminator, cae)]
    errors = []
    for _ in range(30):
        discriminator_terms = published_discriminator_loss(published_scores(cae, discriminator, *batch))
        optimisers[0].zero_grad()
        sum(discriminator_terms.values()).backward()
        optimisers[0].step()
        terms = published_generator_loss(published_directions(cae, discriminator, *batch))
        optimisers[1].zero_grad()
        sum(terms.values()).backward()
        optimisers[1].step()
        errors.append(terms["reconstruction"].item())
    # 0.2 to 0.25; single steps of adversarial training jump, and not at the same step on every processor
    assert sum(errors[-5:]) / 5 < 0.4 * errors[0]
