from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from explainers.caes.masks import (
    blob_masks,
    dilated_masks,
    displaced,
    intersection_over_union,
    largest_pixels,
    otsu_masks,
    rolled_masks,
    shifted_masks,
    swapped_masks,
)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def squares(count: int = 6, size: int = 16) -> torch.Tensor:
    masks = torch.zeros(count, 1, size, size, dtype=torch.bool)
    for row in range(count):
        masks[row, 0, row : row + 4, 2 : 5 + row % 3] = True
    return masks


@pytest.mark.parametrize("control", [rolled_masks, blob_masks, shifted_masks])
def test_controls_have_equal_area(control):
    masks = squares()
    areas = masks.flatten(1).sum(1)
    assert control(masks, seeded()).flatten(1).sum(1).tolist() == areas.tolist()
    assert sorted(swapped_masks(masks).flatten(1).sum(1).tolist()) == sorted(areas.tolist())


def test_displaced_copies_keep_the_shape_and_leave_the_place():
    masks = squares()
    moved = rolled_masks(masks, seeded())
    assert (intersection_over_union(moved, masks) <= 0.5).all()
    # the same power spectrum: a shift on the torus
    spectra = [torch.fft.fft2(part.float()).abs() for part in (moved, masks)]
    assert torch.allclose(*spectra, atol=1e-4)


def test_a_mask_that_overlaps_with_every_shift_gets_the_least_overlapping_one():
    masks = torch.ones(1, 1, 8, 8, dtype=torch.bool)
    masks[..., 0, 0] = False
    moved = rolled_masks(masks, seeded())
    assert int(moved.sum()) == 63
    assert not torch.equal(moved, masks)


def test_displacing_is_rolling():
    masks = squares(2)
    moved = displaced(masks, torch.tensor([[3, 5], [0, -2]]))
    assert torch.equal(moved[0], masks[0].roll((3, 5), (1, 2)))
    assert torch.equal(moved[1], masks[1].roll(-2, 2))


def test_the_number_of_pixels_is_exact_under_massive_ties():
    maps = torch.zeros(3, 1, 16, 16)
    maps[1, 0, 3, 3] = 1
    counts = torch.tensor([7, 1, 256])
    masks, tied = largest_pixels(maps, counts, seeded())
    assert masks.flatten(1).sum(1).tolist() == counts.tolist()
    assert masks[1, 0, 3, 3]
    assert tied == pytest.approx(7 / 264)
    other, _ = largest_pixels(maps, counts, seeded(1))
    assert not torch.equal(masks[0], other[0])  # ties fall at random


def test_negative_values_never_enter_before_all_positive_ones():
    maps = torch.randn(4, 1, 16, 16, generator=seeded())
    maps[0] -= 1
    positive = (maps > 0).flatten(1).sum(1)
    masks, _ = largest_pixels(maps, positive, seeded())
    assert torch.equal(masks, maps > 0)
    assert (otsu_masks(maps) <= (maps > 0)).all()


def test_otsu_on_two_levels_returns_the_upper_one():
    maps = torch.full((1, 1, 8, 8), 0.2)
    maps[..., :3, :3] = 0.9
    assert torch.equal(otsu_masks(maps), maps > 0.5)


def test_a_generous_annotator_contains_the_mask():
    masks = squares()
    wide = dilated_masks(masks, 2)
    assert (masks <= wide).all()
    assert torch.equal(wide, F.max_pool2d(masks.float(), 5, 1, 2) > 0)
