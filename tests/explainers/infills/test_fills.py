"""Fills of any mask: where they stand, what they look at, and their names."""

import numpy as np
import pytest
import torch
from tiny_classifiers import random_images, small_network

from cae.errors import UserError
from explainers.base import Instance
from explainers.caes.study import FILLS as CAES_FILLS
from explainers.infills import INFILLS, SAMPLERS, build_fill, build_sampler, everywhere, fill_image, without
from explainers.infills.fills import blurred, masked_blur
from explainers.infills.whole_image import NAMES
from explainers.metrics.perturbation import FILLS as METRIC_FILLS

BACKGROUND = random_images(12, 3, 16, seed=4)
OF_MASKS = {name: name for name, infill in INFILLS.items() if infill.fill}


def squares(count: int = 6, size: int = 16) -> torch.Tensor:
    masks = torch.zeros(count, 1, size, size, dtype=torch.bool)
    for row in range(count):
        masks[row, 0, row : row + 4, 2 : 5 + row % 3] = True
    return masks


def fill_of(name: str):
    return build_fill(name, OF_MASKS, background=BACKGROUND, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("name", OF_MASKS)
def test_only_the_removed_part_is_filled(name):
    images, removed = random_images(6, 3, 16), squares()
    changed = without(images, removed, fill_of(name))
    where = removed.expand_as(images)
    assert torch.equal(changed[~where], images[~where])
    assert changed.isfinite().all()
    assert 0 <= changed.min() <= changed.max() <= 1
    if name == "black":
        assert (changed[where] == 0).all()


@pytest.mark.parametrize("name", OF_MASKS)
def test_an_image_is_filled_alike_alone_and_in_company(name):
    images, removed = random_images(2, 3, 16), squares(2)
    together, alone = (fill_of(name)(images[:rows], removed[:rows])[0] for rows in (2, 1))
    assert torch.allclose(together, alone, atol=1e-6)


@pytest.mark.parametrize("name", ["masked_blur", "linear"])
def test_fills_from_the_rest_see_nothing_of_what_is_removed(name):
    removed = squares()
    images = torch.where(removed, 0.9, 0.3).expand(6, 1, 16, 16)
    assert torch.allclose(without(images, removed, fill_of(name)), torch.full_like(images, 0.3), atol=1e-5)


def test_an_image_removed_as_a_whole_becomes_its_mean_under_the_masked_blur():
    image = random_images(1, 3, 16)[0]
    assert torch.allclose(everywhere(image, masked_blur), image.mean((1, 2), keepdim=True), atol=1e-5)


def test_blur_keeps_constants_and_has_the_width_it_says():
    blur = blurred(5 / 224)
    assert torch.allclose(everywhere(torch.full((1, 40, 40), 0.3), blur), torch.tensor(0.3))
    point = torch.zeros(1, 224, 224)
    point[0, 112, 112] = 1
    profile = everywhere(point, blur)[0].sum(0).numpy()
    offsets = np.arange(224) - 112
    assert profile.sum() == pytest.approx(1, abs=1e-5)
    # a Gaussian cut at 3 sigma has 0.9866 of the spread
    assert np.sqrt((profile * offsets**2).sum()) == pytest.approx(5 * 0.9866, abs=0.02)


def test_every_name_of_every_option_stands_for_an_in_fill_of_the_table():
    for names in (CAES_FILLS, METRIC_FILLS, NAMES):
        assert {INFILLS[name].fill for name in names.values()}.isdisjoint({None})
    assert all(infill.fill or infill.sampler for infill in INFILLS.values())
    assert {name: INFILLS[name].words for name in SAMPLERS} == SAMPLERS


def test_the_names_of_a_colour_agree_whichever_way_it_is_used():
    image, instance = BACKGROUND[0], Instance(BACKGROUND[0], 0, torch.ones(3) / 3, seed=0)
    for name in ("gray", "mean_colour"):
        flat = everywhere(image, fill_of(name))
        tops, generators = torch.zeros(1, 2, dtype=torch.int64), [torch.Generator()]
        assert torch.allclose(build_sampler(name, BACKGROUND).sample(image, tops, 16, 1, generators)[0, 0], flat)
        assert torch.allclose(fill_image(name, instance, small_network(3), BACKGROUND), flat)


def test_an_unknown_fill_names_the_nearest():
    with pytest.raises(UserError, match="`fill` must be one of black, mean, masked_blur or a function.*mean 'black'"):
        build_fill("blak", CAES_FILLS)


def test_a_fill_that_lacks_what_it_is_made_from_says_so():
    with pytest.raises(UserError, match="`fill=mean_colour` needs the mean of the data set"):
        build_fill("mean_colour", OF_MASKS)
    with pytest.raises(UserError, match="`sampler=marginal` is made from training images"):
        build_sampler("marginal")
