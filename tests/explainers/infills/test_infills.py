"""In-fills: what they may look at, what they draw, and the Gaussian's formulas."""

import pytest
import torch
from tiny_classifiers import random_images

from cae.errors import UserError
from explainers.infills import SAMPLERS, Gaussian, Gray, Marginal, build_sampler
from explainers.infills.base import crops, place_crops
from explainers.infills.gaussian import PatchGaussian, condition, fit_patch_gaussian, training_patches

UNTRAINED = sorted(set(SAMPLERS) - {"learned"})
BACKGROUND = random_images(20, 3, 24, seed=4)
TOPS = torch.tensor([[0, 0], [8, 3], [16, 16], [0, 9]])


def draw(sampler, image, size=8, n=3, seed=0):
    generators = [torch.Generator().manual_seed(seed + m) for m in range(len(TOPS))]
    return sampler.sample(image, TOPS, size, n, generators)


@pytest.mark.parametrize("name", UNTRAINED)
def test_fills_are_images_in_range_and_follow_from_the_seed(name):
    sampler, image = build_sampler(name, BACKGROUND), random_images(1, 3, 24)[0]
    fills = draw(sampler, image)
    assert fills.shape == (4, 3, 3, 8, 8)
    assert fills.min() >= 0
    assert fills.max() <= 1
    assert torch.equal(fills, draw(sampler, image))
    assert sampler.deterministic == torch.equal(fills, draw(sampler, image, seed=77))
    assert sampler.card()["name"] == name.replace("mean_colour", "gray")


@pytest.mark.parametrize("size", [8, 24])
@pytest.mark.parametrize("name", sorted(set(UNTRAINED) - {"blur"}))
def test_fill_does_not_look_at_the_patch_it_replaces(name, size):
    sampler, image, tops = build_sampler(name, BACKGROUND), random_images(1, 3, 24)[0], TOPS[1:2] * (size < 24)
    y, x = tops[0].tolist()
    other = image.clone()
    other[:, y : y + size, x : x + size] = 0.9
    one, two = (sampler.sample(shown, tops, size, 2, [torch.Generator().manual_seed(0)]) for shown in (image, other))
    assert torch.equal(one, two)


def test_windows_are_drawn_alike_alone_and_in_company():
    sampler, image = Gaussian(BACKGROUND), random_images(1, 3, 24)[0]
    alone = sampler.sample(image, TOPS[1:2], 8, 3, [torch.Generator().manual_seed(1)])
    assert torch.allclose(draw(sampler, image)[1:2], alone, atol=1e-6)


@pytest.mark.parametrize("name", ["masked_blur", "gaussian"])
def test_constant_surroundings_are_continued(name):
    flat = torch.linspace(0.1, 0.9, 20).view(-1, 1, 1, 1).expand(-1, 3, 24, 24)
    fills = draw(build_sampler(name, flat), torch.full((3, 24, 24), 0.7))
    assert torch.allclose(fills, torch.full_like(fills, 0.7), atol=0.03)


def test_marginal_takes_the_same_place_of_training_images():
    places = torch.arange(24 * 24).view(1, 1, 24, 24).expand(5, 3, 24, 24) / 576
    fills = draw(Marginal(places), torch.zeros(3, 24, 24))
    assert torch.equal(fills, crops(places[0], TOPS, 8)[:, None].expand_as(fills))
    with pytest.raises(UserError, match=r"whose shape is \(24, 24\) and that of the image \(32, 32\)"):
        draw(Marginal(places), torch.zeros(3, 32, 32))


def test_grey_takes_any_colour():
    fills = draw(Gray([0.1, 0.2, 0.3]), torch.zeros(3, 24, 24))
    assert torch.allclose(fills.mean((0, 1, 3, 4)), torch.tensor([0.1, 0.2, 0.3]))


def test_place_crops_equals_slicing():
    images, rows = random_images(3, 3, 24), torch.tensor([2, 0, 1, 2])
    found = place_crops(images, rows, TOPS, 5)
    for m, (y, x) in enumerate(TOPS.tolist()):
        assert torch.equal(found[m], images[rows[m], :, y : y + 5, x : x + 5])


def known_gaussian(side):
    """A Gaussian over patches whose covariance falls with the distance of pixels."""
    places = torch.cartesian_prod(torch.arange(side), torch.arange(side)).double()
    covariance = 0.01 * torch.exp(-torch.cdist(places, places) / 2)
    mean = torch.linspace(0.3, 0.7, side * side).double()
    return PatchGaussian(side, torch.eye(1).double(), mean[None], covariance[None])


@pytest.mark.parametrize("offset", [(y, x) for y in (0, 2, 4) for x in (0, 2, 4)])
def test_conditional_matches_the_precision_matrix_in_every_border_pattern(offset):
    model = known_gaussian(8)
    hole = torch.zeros(8, 8, dtype=torch.bool)
    hole[offset[0] : offset[0] + 4, offset[1] : offset[1] + 4] = True
    hole = hole.flatten()
    found = condition(model, hole)
    # by another route: with the inverse P of the covariance, residual = P_hh^-1 and W = -P_hh^-1 P_hk
    precision = torch.linalg.inv(model.covariance[0])
    residual = torch.linalg.inv(precision[hole][:, hole])
    assert torch.allclose(found.factor[0] @ found.factor[0].T, residual, atol=1e-10)
    assert torch.allclose(found.weights[0], -residual @ precision[hole][:, ~hole], atol=1e-8)
    diagonal = condition(model, hole, diagonal=True).factor[0]
    assert torch.allclose(diagonal @ diagonal.T, torch.diag(residual.diagonal()), atol=1e-10)


def test_fit_recovers_a_known_covariance():
    model = known_gaussian(4)
    factor = torch.linalg.cholesky(model.covariance[0])
    drawn = torch.randn(40_000, 16, generator=torch.Generator().manual_seed(0)).double() @ factor.T + model.mean
    found = fit_patch_gaussian(drawn.view(-1, 1, 4, 4))
    sign = found.colours[0, 0]
    assert torch.allclose(found.mean * sign, model.mean, atol=3e-3)
    assert torch.allclose(found.covariance, model.covariance, atol=5e-4)


def test_draws_have_the_conditional_mean_and_covariance():
    background = random_images(200, 1, 16, seed=2) * 0.4 + 0.3  # nothing is clipped
    sampler, image = Gaussian(background), background[0]
    fills = sampler.sample(image, torch.tensor([[6, 6]]), 4, 4000, [torch.Generator().manual_seed(0)])[0]
    found = sampler._conditional(4, 8, 2, 2)
    model = sampler._model(4, 8)
    around = image[:, 4:12, 4:12].double().flatten() * model.colours[0, 0]
    mean = model.mean[0, found.hole] + found.weights[0] @ (around[~found.hole] - model.mean[0, ~found.hole])
    mean = mean * model.colours[0, 0]
    covariance = found.factor[0] @ found.factor[0].T
    deviation = covariance.diagonal().sqrt()
    assert ((fills.flatten(1).mean(0).double() - mean).abs() < 5 * deviation / 4000**0.5 + 1e-5).all()
    drawn = torch.cov(fills.flatten(1).T.double())
    assert torch.allclose(drawn, covariance, atol=float(0.15 * covariance.diagonal().max()))


def test_gaussian_bits_of_gaussian_noise_are_its_entropy():
    noise = torch.randn(100, 1, 16, 16, generator=torch.Generator().manual_seed(0)) * 0.1 + 0.5
    rows, tops = torch.arange(100), torch.full((100, 2), 6)
    bits = Gaussian(noise[:50]).bits(noise[50:], rows[:50], tops[:50], 4).mean()
    entropy = 8 + float(torch.log2(torch.tensor(0.1 * (2 * torch.pi * torch.e) ** 0.5)))
    assert bits == pytest.approx(entropy, abs=0.1)


def test_training_images_too_small_for_the_window_are_refused():
    with pytest.raises(UserError, match="at least 40 pixels a side"):
        training_patches(BACKGROUND, 40, 16)
