"""Gradient descent in pixels: exact on a linear classifier."""

from __future__ import annotations

import pytest
import torch
from level_run import level_run, some_images

from cae.generators.gradient import RATE, PixelGradient, descend, pixel_loss, total_variation

WEIGHTS = torch.tensor([[1.0, -2.0], [0.5, 0.0]])


def linear_logits(images):
    """Two classes; the second wins where the weighted sum of the pixels is positive."""
    score = 100 * (images[:, 0] * WEIGHTS).sum((1, 2))  # steep: four pixels weigh more in the mean than thousands
    return torch.stack([torch.zeros_like(score), score], 1)


def test_the_first_step_goes_along_the_sign_of_the_weights():
    image = torch.full((1, 1, 2, 2), 0.5)
    moved = descend(linear_logits, lambda x, t: torch.ones(len(x), dtype=torch.bool), image, torch.tensor([1]))
    torch.testing.assert_close(moved - image, RATE * WEIGHTS.sign()[None, None])


def test_descent_flips_a_linear_classifier_and_stops_there():
    image, target = torch.full((1, 1, 2, 2), 0.5), torch.tensor([1])
    assert linear_logits(image)[0, 1] < 0

    def reached(images, targets):
        return linear_logits(images).argmax(1) == targets

    found = descend(linear_logits, reached, image, target)
    assert reached(found, target).all()
    score = linear_logits(found)[0, 1]
    assert score <= 100 * RATE * WEIGHTS.abs().sum()  # no further than one step beyond the boundary
    assert (found - image)[0, 0, 1, 1] == 0  # a pixel of no weight stays


def test_an_image_comes_out_the_same_alone_or_in_company():
    images = torch.tensor([0.3, 0.5, 0.7]).view(3, 1, 1, 1).expand(3, 1, 2, 2).clone()
    targets = torch.tensor([1, 1, 0])

    def reached(images, targets):
        return linear_logits(images).argmax(1) == targets

    together = descend(linear_logits, reached, images, targets)
    for row in range(3):
        alone = descend(linear_logits, reached, images[row : row + 1], targets[row : row + 1])
        torch.testing.assert_close(together[row : row + 1], alone)


def test_total_variation_is_the_mean_step_down_and_to_the_right():
    image = torch.tensor([[0.0, 1.0], [0.0, 1.0]])[None, None]
    assert total_variation(image).item() == 1  # no step down, a step of 1 to the right in every row


def test_the_loss_of_no_change_is_the_divergence_alone():
    logits = torch.tensor([[0.0, 0.0]])
    loss = pixel_loss(logits, torch.tensor([1]), torch.zeros(1, 1, 2, 2))
    assert loss.item() == pytest.approx(0.693147, abs=1e-6)
    more = pixel_loss(logits, torch.tensor([1]), torch.full((1, 1, 2, 2), 0.1))
    assert more.item() == pytest.approx(0.693147 + 10 * 0.1, abs=1e-6)


def test_it_convinces_the_classifier_of_a_run_by_the_margin(tmp_path):
    run = level_run(tmp_path)
    generator = PixelGradient(run, 0)
    images = some_images(run, 3)[0]
    targets = torch.tensor([1, 2, 1])  # one grey level up, up, down
    assert not generator.reached(images, targets).any()
    assert generator.reached(generator.generate(images, targets).images, targets).all()
