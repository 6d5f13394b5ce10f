"""What the classifier sees of generated images in training."""

from __future__ import annotations

import torch

from cae.training.augmentation import clamp_straight_through, random_affine, random_grey_levels


def test_displayed_images_are_clamped_and_keep_the_gradient_that_leads_back():
    images = torch.tensor([-0.5, -0.5, 0.0, 0.5, 1.0, 1.5, 1.5], requires_grad=True)
    shown = clamp_straight_through(images)
    assert shown.tolist() == [0, 0, 0, 0.5, 1, 1, 1]
    # descent goes against the gradient
    (gradient,) = torch.autograd.grad(shown, images, torch.tensor([1.0, -1.0, 1.0, -1.0, -1.0, -1.0, 1.0]))
    assert gradient.tolist() == [0, -1, 1, -1, -1, 0, 1]


def test_an_affine_change_without_extent_is_the_image_itself():
    images = torch.rand(3, 2, 12, 16)
    torch.testing.assert_close(random_affine(images, 1e-9, 1e-9, 0), images, atol=1e-4, rtol=0)
    assert random_affine(images, 0, 0, 0) is images


def test_grey_levels_leave_an_image_of_one_colour_without_contrast():
    images = torch.full((4, 1, 8, 8), 0.5)
    changed = random_grey_levels(images, 0.2)
    torch.testing.assert_close(changed, changed.mean((1, 2, 3), keepdim=True).expand_as(changed))
    assert (changed - 0.5).abs().max() <= 0.1
    assert random_grey_levels(images, 0) is images
