"""Parts of the mask explainers: pictures, noise, gradients, measures of size, and smooth masks."""

import math

import pytest
import torch
from tiny_classifiers import instance, linear_classifier, precise, random_images

from explainers.shearletx.compositions import (
    compose,
    compose_published,
    draw_noise,
    enlarged,
    matched_fill,
    moved,
    published_fill,
)
from explainers.shearletx.explainer import ShearletX
from explainers.shearletx.objective import (
    ENTROPY_SHARE,
    area_penalty,
    lagrangian,
    low_pass_credit,
    pooled_log_probability,
    quadratic_shortfall,
    unit_ranks,
)
from explainers.shearletx.optimiser import MaskOptimiser
from explainers.shearletx.settings import Settings
from explainers.shearletx.smooth_masks import grid_shape, smooth_mask
from explainers.transforms.representation import energy_entropy, per_coefficient
from explainers.transforms.shearlet import shearlet_system
from explainers.transforms.wavelet import wavelet_system


def test_mask_of_zeros_shows_black_and_the_mean_is_flat_grey():
    system = shearlet_system(32, 24, dtype=torch.float64)
    image = random_images(1, 3)[0, :, :, :24].double()
    coefficients = system.analyse(image)[None]
    means = matched_fill(system, coefficients[0].mean(0), image.mean(0), "global").means[:1]
    mask = torch.zeros_like(coefficients[:, :1])
    pictures, shown = compose(system, mask, coefficients, ("displayed", "mean"), None, means, None)
    assert pictures[0, 0].abs().max() == 0
    assert torch.allclose(pictures[0, 1], image.mean().expand(3, 32, 24), atol=1e-12)
    assert float(shown) == 0


@pytest.mark.parametrize("kind", ["global", "band"])
def test_noise_varies_over_pixels_as_the_image_does(kind):
    system = shearlet_system(32, 32, dtype=torch.float64)
    image = random_images(1)[0, 0].double()
    fill = matched_fill(system, system.analyse(image), image, kind)
    noise = draw_noise(system, fill, (800,), torch.Generator().manual_seed(0))
    variance = float(system.synthesise(noise).square().mean())
    energy = torch.tensor([band.energy for band in system.bands], dtype=torch.float64)
    wanted = float(image.var(correction=0))
    assert float((fill.half_widths.square() / 3 * energy).sum()) == pytest.approx(wanted, rel=1e-12)
    assert variance == pytest.approx(wanted, rel=0.03)


def test_pair_of_opposite_noise_has_the_mean_composition_in_the_middle():
    system = shearlet_system(32, 32, dtype=torch.float64)
    image = 0.5 + 0.05 * random_images(1, 3)[0].double()  # far from the clamp
    coefficients = system.analyse(image)[None]
    fill = matched_fill(system, coefficients[0].mean(0), image.mean(0), "global")
    noise = 0.1 * draw_noise(system, fill, (1, 1), torch.Generator().manual_seed(0))
    mask = torch.rand(coefficients[:, :1].shape, generator=torch.Generator().manual_seed(1)).double()
    pictures, _ = compose(system, mask, coefficients, ("noise", "mean"), noise, fill.means[:1], None)
    assert torch.allclose(pictures[0, :2].mean(0), pictures[0, 2], atol=1e-12)
    assert not torch.allclose(pictures[0, 0], pictures[0, 1], atol=1e-4)


def naive_objective(optimiser, search, parameter, noise):
    """The objective by its definition: every picture synthesised for itself, through the classifier's own graph."""
    settings, system, c = optimiser.settings, optimiser.representation, search.coefficients
    mask = optimiser.pictures.mask(parameter[None])[0]
    fill = per_coefficient(system.bands, search.fill.means)
    pictures = []
    for name in settings.compositions:
        base = {"displayed": 0 * fill, "moved": 0 * fill, "mean": fill, "noise": fill, "blur": search.baseline}[name]
        for extra in [n * sign for n in noise for sign in (1, -1)] if name == "noise" else [0 * fill]:
            pictures.append(system.synthesise(mask * c + (1 - mask) * (base + extra)).clamp(0, 1))
    order = pictures
    if "noise" in settings.compositions:  # the optimiser lists the positive signs first
        first = settings.compositions.index("noise")
        block = pictures[first : first + settings.samples]
        order = pictures[:first] + block[::2] + block[1::2] + pictures[first + settings.samples :]
    seen = torch.stack(order)
    if settings.jitter:  # drawn after the noise
        by = torch.randint(-settings.jitter, settings.jitter + 1, (2,), generator=search.noise).tolist()
        factor = (1 + settings.zoom) ** (2 * float(torch.rand(1, generator=search.noise)) - 1)
        seen = moved(seen, ("displayed", "moved", *["noise"] * settings.samples), tuple(by), factor)
    log_p = optimiser.classifier.logits(seen).log_softmax(1)[None, :, search.instance.target]
    shown = system.synthesise(mask * c).mean(0).clamp(0, 1).mean()
    size = optimiser.objective.size([search], mask[None])
    cost = settings.size_weight * size + settings.spatial_weight * shown
    if settings.form == "weighted":
        return cost + quadratic_shortfall(log_p, torch.ones(1, 1).double())
    bounds = [settings.keep if n == "displayed" else settings.keep_noise for n in settings.compositions]
    least = search.log_probability + torch.tensor(bounds, dtype=torch.float64).log()
    gaps = least - pooled_log_probability(log_p, optimiser.pictures.counts)
    return cost + lagrangian(gaps, torch.ones_like(gaps), torch.ones(1, 1).double())


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(
    "settings",
    [
        Settings(samples=2),
        Settings(samples=4, size="entropy", colour=True),
        Settings(compositions=("displayed", "mean", "blur"), size="coefficients"),
        Settings(form="weighted", compositions=("noise",), samples=2, spatial_weight=3, size="entries"),
        Settings(transform="wavelet", samples=2),
        Settings(compositions=("displayed", "moved", "noise"), samples=2, size="conciseness", jitter=2, zoom=0.2),
    ],
)
def test_gradient_with_shared_syntheses_equals_plain_autograd(settings, channels):
    classifier = precise(channels)
    image = random_images(1, channels)[0].double()
    make = wavelet_system if settings.transform == "wavelet" else shearlet_system
    optimiser = MaskOptimiser(classifier, make(32, 32, dtype=torch.float64), settings, batch_size=2)
    search = optimiser.begin(instance(classifier, image))
    search.parameter.uniform_(0.1, 1, generator=torch.Generator().manual_seed(3))
    state = search.noise.get_state()
    gradient, report, _ = optimiser.gradients([search], 0)
    search.noise.set_state(state)
    parameter = search.parameter.clone().requires_grad_()
    noise = optimiser.pictures.draw(search.fill, search.noise) if "noise" in settings.compositions else []
    objective = naive_objective(optimiser, search, parameter, noise)
    (expected,) = torch.autograd.grad(objective.sum(), parameter)
    assert float(report[0, 0]) == pytest.approx(float(objective.detach()), rel=1e-10)
    assert (gradient[0] - expected).abs().max() <= 1e-10 * max(1, float(expected.abs().max()))


def test_all_but_the_displayed_picture_move_by_whole_pixels_and_one_is_enlarged():
    pictures = random_images(3).double()
    still, view, noisy = moved(pictures, ("displayed", "moved", "noise"), (2, -3), 1.25)
    assert torch.equal(still, pictures[0])
    assert torch.equal(noisy, pictures[2].roll((2, -3), (-2, -1)))
    assert torch.equal(view, enlarged(pictures[1].roll((2, -3), (-2, -1)), 1.25))


def test_enlarged_picture_stretches_about_its_centre_with_black_around_smaller_ones():
    ramp = torch.linspace(-1, 1, 33, dtype=torch.float64).expand(1, 33, 33)
    larger, smaller = enlarged(ramp, 2.0), enlarged(ramp, 0.5)
    assert torch.allclose(larger[0, 16], torch.linspace(-0.5, 0.5, 33, dtype=torch.float64), atol=1e-12)
    assert smaller[0, :7].abs().max() == 0
    assert torch.allclose(smaller[0, 16, 9:24], 2 * ramp[0, 16, 9:24], atol=1e-12)


def test_conciseness_charges_both_scores_and_is_one_for_everything():
    image = random_images(1)[0].double()
    settings = Settings(size="conciseness")
    optimiser = MaskOptimiser(precise(), shearlet_system(32, 32, dtype=torch.float64), settings, batch_size=2)
    search = optimiser.begin(instance(precise(), image))
    ones = torch.ones_like(search.parameter)[None]
    assert float(optimiser.objective.size([search], ones)) == pytest.approx(1, abs=1e-12)
    # half of every coefficient: half the magnitude, the same entropy
    expected = (1 - ENTROPY_SHARE) / 2 + ENTROPY_SHARE
    assert float(optimiser.objective.size([search], ones / 2)) == pytest.approx(expected, abs=1e-12)


def texture_on_sky():
    """An image ``(1, 128, 128)``, bright and flat but for a textured square, and the square."""
    image = torch.full((1, 128, 128), 0.8)
    square = torch.rand(24, 24, generator=torch.Generator().manual_seed(0))
    image[:, 84:108, 84:108] = square
    return image, square


def test_low_pass_has_credit_where_detail_is_kept_and_nowhere_else():
    system = shearlet_system(128, 128)
    kept, low = system.analyse(texture_on_sky()[0]), system.bands[0]
    credit = low_pass_credit(kept, system.bands, (128, 128))
    grid = credit[low.place].view(low.height, low.width)
    row, column = divmod(int(grid.argmax()), low.width)
    assert (row * 128 / low.height, column * 128 / low.width) == pytest.approx((96, 96), abs=8)
    assert grid.max() == 1
    assert grid[: low.height // 2, : low.width // 2].max() < 1e-2
    assert (credit[low.place.stop :] == 1).all()
    assert torch.allclose(credit, low_pass_credit(0.1 * kept, system.bands, (128, 128)), atol=1e-5)


@pytest.mark.parametrize("credited", [True, False])
def test_light_on_an_empty_sky_is_a_gain_only_without_credit(credited):
    image, _ = texture_on_sky()
    image += 0.1 * (torch.arange(128) < 24) * (torch.arange(128) < 24)[:, None]  # a bright corner of the sky
    system, classifier = shearlet_system(128, 128), linear_classifier(torch.zeros(2, 1, 128, 128))
    optimiser = MaskOptimiser(classifier, system, ShearletX(classifier).settings, batch_size=2)
    search, low = optimiser.begin(instance(classifier, image)), system.bands[0]
    mask = torch.ones_like(search.parameter)
    mask[:, low.place] = 0.2
    corner, on_square = low.width + 1, 6 * low.width + 6
    mask[:, [corner, on_square]] = 0.8
    search.credit = optimiser.objective.credit(mask, search.coefficients) if credited else None
    mask.requires_grad_()
    (slope,) = torch.autograd.grad(optimiser.objective.size([search], mask[None]).sum(), mask)
    assert slope[0, on_square] < 0
    assert (slope[0, corner] > 0) == credited


def test_published_pictures_clamp_coefficients_and_leave_pixels():
    system = shearlet_system(32, 32, decimate=False)
    image = torch.rand(3, 32, 32, generator=torch.Generator().manual_seed(2))
    coefficients = 10 * system.analyse(image)[None]
    mask = torch.full_like(coefficients[:, :1], 0.7)
    fill = published_fill(system, coefficients[0])
    assert not fill.colour
    noise = draw_noise(system, fill, (1, 2, 1), torch.Generator().manual_seed(0))
    pictures, _ = compose_published(system, mask, coefficients, noise, clamp_coefficients=True)
    by_hand = system.synthesise((0.7 * coefficients[0] + 0.3 * noise[0, 1]).clamp(0, 1))
    assert torch.allclose(pictures[0, 1], by_hand, atol=1e-5)
    assert pictures.max() > 1  # nothing holds the pixels


def test_published_noise_of_wavelets_has_colour_and_one_spread_per_scale():
    system = wavelet_system(32, 32, extension="zero")
    coefficients = system.analyse(random_images(1, 3)[0])
    fill = published_fill(system, coefficients)
    assert fill.colour
    finest = [k for k, band in enumerate(system.bands) if band.scale == 2]
    assert fill.half_widths[finest].unique().numel() == 1
    values = torch.cat([coefficients[:, system.bands[k].place].flatten() for k in finest])
    assert float(fill.half_widths[finest[0]]) == pytest.approx(float(values.std()), rel=1e-5)


def test_ranks_are_uniform_keep_the_order_and_share_ties():
    values = torch.tensor([[3.0, -1.0, 7.0], [0.5, 2.0, 5.0]])
    assert unit_ranks(values).flatten().tolist() == pytest.approx([0.6, 0.0, 1.0, 0.2, 0.4, 0.8])
    assert unit_ranks(torch.ones(4)).tolist() == [0.5] * 4
    assert unit_ranks(torch.tensor([0.0, 0.0, 1.0])).tolist() == [0.25, 0.25, 1.0]


def test_entropy_counts_equal_coefficients_and_area_counts_ones():
    assert float(energy_entropy(torch.tensor([[2.0, -2.0, 0.0, 2.0]]))) == pytest.approx(math.log(3), rel=1e-6)
    kept = torch.tensor([[1.0, 0.0, 0.5]], requires_grad=True)
    energy_entropy(kept).backward()
    assert kept.grad.isfinite().all()
    mask = torch.tensor([[1.0, 0.0, 0.0, 0.0]])
    assert float(area_penalty(mask, 0.25)) == 0
    assert float(area_penalty(mask, 0.5)) == pytest.approx(0.25)


def test_smooth_mask_keeps_ones_and_spreads_a_bump():
    rows, columns = grid_shape(40, 52)
    assert torch.allclose(smooth_mask(torch.ones(1, rows, columns), 40, 52), torch.ones(1, 40, 52))
    grid = torch.zeros(1, rows, columns)
    grid[0, 3, 7] = 1
    mask = smooth_mask(grid, 40, 52)[0]
    assert float(mask[24, 51]) == pytest.approx(1, abs=1e-3)
    assert float(mask[:, :21].max()) <= 1e-6
