import pytest
import torch
from tiny_classifiers import random_images

from cae.errors import UserError
from cae.metrics.statistics import places_from_the_top
from explainers.infills.imputation import conjugate_gradients, direct, linear_imputation, pooled_start
from explainers.metrics.perturbation import cells
from explainers.metrics.road import SHARES, road_images, road_noise
from explainers.metrics.seeds import generator


def block(size: int = 24) -> torch.Tensor:
    mask = torch.zeros(1, 1, size, size, dtype=torch.bool)
    mask[..., 5:14, 8:17] = True
    return mask


def ramp(size: int = 24) -> torch.Tensor:
    y, x = torch.meshgrid(torch.arange(size), torch.arange(size), indexing="ij")
    return ((2 * y + x) / (3 * size))[None]


def random_mask(share: float, size: int = 32) -> torch.Tensor:
    return torch.rand(1, 1, size, size, generator=generator("mask", int(share * 100))) < share


def test_a_linear_ramp_is_restored_inside_the_image():
    assert torch.allclose(linear_imputation(ramp(), block())[0], ramp(), atol=1e-6)


def test_a_constant_image_is_restored_up_to_the_border():
    mask = torch.ones(1, 1, 24, 24, dtype=torch.bool)
    mask[..., 11, 11] = False
    image = torch.full((3, 24, 24), 0.3)
    assert torch.allclose(linear_imputation(image, mask)[0], image, atol=1e-6)


def test_every_removed_pixel_is_the_weighted_mean_of_its_neighbours():
    image, mask = random_images(1)[0], random_mask(0.7)
    filled = direct(image, mask[0, 0])[0].double()
    for y, x in mask[0, 0].nonzero().tolist():
        total = weight = 0.0
        for dy in (-1, 0, 1):
            for dx in (-1, 0, 1):
                if (dy, dx) != (0, 0) and 0 <= y + dy < 32 and 0 <= x + dx < 32:
                    share = 1 / 6 if dy * dx == 0 else 1 / 12
                    total, weight = total + share * float(filled[y + dy, x + dx]), weight + share
        assert float(filled[y, x]) == pytest.approx(total / weight, abs=1e-6)


def test_colours_are_filled_in_one_by_one():
    image, mask = random_images(1, 3)[0], random_mask(0.5)
    together = linear_imputation(image, mask)[0]
    alone = [linear_imputation(channel[None], mask)[0, 0] for channel in image]
    assert torch.allclose(together, torch.stack(alone), atol=1e-7)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_conjugate_gradients_agree_with_the_direct_solution(share):
    image = random_images(1, 3)[0]
    units = cells(32, 32)
    place = places_from_the_top(torch.rand(units.count, generator=generator(1)), generator(2))[units.labels]
    masks = torch.stack([random_mask(share)[0], (place < share * units.count)[None]])
    exact = torch.stack([direct(image, mask[0]) for mask in masks])
    assert (conjugate_gradients(image, masks) - exact).abs().max() < 1e-3


def test_pyramid_start_is_the_mean_of_the_smallest_known_block():
    image = torch.arange(16.0).view(1, 4, 4)
    mask = torch.ones(1, 1, 4, 4, dtype=torch.bool)
    mask[..., 0, 1] = mask[..., 1, 0] = False
    start = pooled_start(image, mask)[0, 0]
    assert start[0, 0] == start[3, 3] == (1 + 4) / 2
    assert start[0, 1] == 1


def test_an_image_without_a_known_pixel_is_refused_in_words():
    with pytest.raises(UserError, match="at least one known pixel"):
        linear_imputation(ramp(), torch.ones(1, 1, 24, 24, dtype=torch.bool))


def test_known_pixels_stay_and_noise_falls_on_removed_ones_alone():
    image, mask = random_images(1)[0], random_mask(0.4)
    noise = 0.01 * torch.randn(1, 1, 32, 32, generator=generator(0))
    filled = linear_imputation(image, mask, noise)[0]
    assert torch.equal(filled[~mask[0]], image[~mask[0]])
    clean = linear_imputation(image, mask)[0]
    assert torch.allclose(filled, torch.where(mask[0], (clean + noise[0]).clamp(0, 1), image), atol=1e-6)


def test_road_removes_the_first_in_rank_at_nine_levels():
    image = random_images(1)[0]
    rank = places_from_the_top(torch.rand(1024, generator=generator(3)), generator(4))
    noise = road_noise(image, generator(5))
    images = list(road_images(image, rank, noise))
    assert len(images) == 9
    for share, found in zip(SHARES, images, strict=True):
        known = rank >= round(share * 1024)
        assert torch.equal(found.flatten()[known], image.flatten()[known])
