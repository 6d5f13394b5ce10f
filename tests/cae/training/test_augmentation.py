"""What the classifier sees of generated images in training."""

from __future__ import annotations

import torch

from cae.training.augmentation import clamp_straight_through


def test_displayed_images_are_clamped_and_keep_the_gradient_that_leads_back():
    images = torch.tensor([-0.5, -0.5, 0.0, 0.5, 1.0, 1.5, 1.5], requires_grad=True)
    shown = clamp_straight_through(images)
    assert shown.tolist() == [0, 0, 0, 0.5, 1, 1, 1]
    # descent goes against the gradient
    (gradient,) = torch.autograd.grad(shown, images, torch.tensor([1.0, -1.0, 1.0, -1.0, -1.0, -1.0, 1.0]))
    assert gradient.tolist() == [0, -1, 1, -1, -1, 0, 1]
