"""Patches that change a prediction: where they lie, and which are kept."""

from __future__ import annotations

import torch

from cae.training.patch_swaps import find_patch_swaps, random_rectangles

SIDE = 32


def sees_corner(images):
    """Class 1 where the 4 x 4 pixels in the corner are white in the mean."""
    white = images[:, :, :4, :4].mean((1, 2, 3)) > 0.5
    return torch.stack([~white, white], 1).float()


def marked(count):
    images = torch.full((count, 1, SIDE, SIDE), 0.25)
    images[..., :4, :4] = 1.0
    images[..., 20:, :] = 0.75  # differs as well, and means nothing
    return images


def test_rectangles_are_whole_and_of_the_sizes_asked_for():
    torch.manual_seed(0)
    masks = random_rectangles(500, torch.zeros(3, SIDE, 2 * SIDE))
    assert masks.shape == (500, 1, SIDE, 2 * SIDE)
    rows, columns = masks[:, 0].amax(2), masks[:, 0].amax(1)
    torch.testing.assert_close(masks[:, 0], rows[:, :, None] * columns[:, None, :])
    assert 1 <= rows.sum(1).min() <= 3  # cut at the border
    assert rows.sum(1).max() <= SIDE / 2 + 1
    assert columns.sum(1).max() <= SIDE + 1
    # centres are anywhere: a pixel in the middle is covered as often as sides and sizes say, one in a corner less
    middle, corner = masks[:, 0, SIDE // 2, SIDE].mean(), masks[:, 0, 0, 0].mean()
    assert middle > 2 * corner > 0


def test_the_smallest_patch_that_changes_the_prediction_is_kept():
    torch.manual_seed(0)
    own, donors = torch.full((8, 1, SIDE, SIDE), 0.25), marked(8)
    found = find_patch_swaps(own, donors, torch.ones(8, dtype=torch.int64), sees_corner, tries=400)
    assert len(found) == 8
    assert sees_corner(found.images).argmax(1).tolist() == [1] * 8
    torch.testing.assert_close(found.images, torch.where(found.masks > 0, donors, own))
    assert found.masks[..., 20:, :].sum() == 0  # a patch that reaches there is not the smallest
    assert (found.masks.sum((1, 2, 3)) <= 16).all()


def test_nothing_is_kept_where_no_patch_changes_the_prediction_or_nothing_is_wanted():
    own, donors = torch.full((3, 1, SIDE, SIDE), 0.25), marked(3)
    hopeless = find_patch_swaps(own, own, torch.ones(3, dtype=torch.int64), sees_corner, tries=16)
    assert len(hopeless) == 0
    assert hopeless.images.shape == (0, 1, SIDE, SIDE)
    found = find_patch_swaps(own, donors, torch.tensor([1, -1, 1]), sees_corner, tries=200)
    assert found.rows.tolist() == [0, 2]
