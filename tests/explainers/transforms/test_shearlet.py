"""Exact answers of the shearlet transform."""

import math

import pytest
import torch

from cae.errors import UserError
from explainers.transforms.representation import LOW_PASS, planes, spread
from explainers.transforms.shearlet import (
    ShearletSystem,
    default_levels,
    default_scales,
    frame_filters,
    full_spectrum_sum,
    inverse_shearlet_transform,
    shearlet_system,
    shearlet_transform,
    smooth_step,
)

SIZES = [(256, 256), (224, 224), (225, 301), (224, 320), (97, 64), (64, 97), (32, 24), (28, 28), (17, 23)]
SMALL = SIZES[4:]


def system(height, width, decimate=True, dtype=torch.float64):
    return shearlet_system(height, width, None, decimate, dtype)


def noise(*shape, seed=0, dtype=torch.float64):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


@pytest.mark.parametrize("decimate", [True, False])
@pytest.mark.parametrize(("height", "width"), SIZES)
def test_synthesis_gives_the_image_back_and_energy_is_kept(height, width, decimate):
    frame, images = system(height, width, decimate), noise(1, height, width)
    coefficients = frame.analyse(images)
    assert (frame.synthesise(coefficients) - images).abs().max() <= 1e-12
    assert float(coefficients.square().sum() / images.square().sum()) == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("decimate", [True, False])
def test_single_precision_gives_the_image_back(decimate, channels):
    for height, width in [(64, 97), (224, 224)]:
        frame = ShearletSystem(height, width, default_levels(default_scales(height, width)), decimate)
        images = noise(channels, height, width, dtype=torch.float32).sigmoid()
        assert (frame.synthesise(frame.analyse(images)) - images).abs().max() <= 5e-6


@pytest.mark.parametrize("decimate", [True, False])
@pytest.mark.parametrize(("height", "width"), SMALL)
def test_synthesis_is_the_adjoint_of_analysis(height, width, decimate):
    frame = system(height, width, decimate)
    images, duals = noise(3, height, width), noise(3, frame.count, seed=1)
    left, right = (frame.analyse(images) * duals).sum(), (images * frame.synthesise(duals)).sum()
    assert float(left - right) == pytest.approx(0, abs=1e-12 * float(images.norm() * duals.norm()))


@pytest.mark.parametrize(("height", "width"), SIZES[2:])
def test_filters_are_even_and_their_squares_sum_to_one(height, width):
    filters = frame_filters(height, width, default_levels(default_scales(height, width)))
    assert (filters.square().sum(0) - 1).abs().max() <= 1e-14
    # bins of the half spectrum whose negative lies in it too: the first column, and the last of an even width
    for column in [0] + ([width // 2] if width % 2 == 0 else []):
        rows = (-torch.arange(height)) % height
        assert (filters[:, rows, column] - filters[:, :, column]).abs().max() == 0
    assert full_spectrum_sum(filters.square(), width).sum() == pytest.approx(height * width)


def test_window_is_a_partition():
    t = torch.linspace(-1, 2, 301, dtype=torch.float64)
    assert (smooth_step(t) + smooth_step(1 - t) - 1).abs().max() <= 1e-14
    assert smooth_step(torch.tensor([0.0, 0.5, 1.0])).tolist() == pytest.approx([0, 0.5, 1])


@pytest.mark.parametrize("decimate", [True, False])
def test_gradients_of_both_directions_are_exact(decimate):
    frame = system(32, 24, decimate)
    images = noise(32, 24).requires_grad_()
    coefficients = (0.1 * noise(frame.count)).requires_grad_()
    # along random directions: the full Jacobian has millions of entries
    assert torch.autograd.gradcheck(lambda x: frame.analyse(x.tanh()), images, fast_mode=True)
    assert torch.autograd.gradcheck(lambda c: frame.synthesise(c.tanh()), coefficients, fast_mode=True)
    low = coefficients.detach()[: frame.bands[0].count].clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda c: frame.synthesise_low(c.tanh()), low)


def test_low_pass_alone_is_the_synthesis_of_the_rest_at_zero():
    frame = system(32, 24)
    coefficients = torch.zeros(frame.count, dtype=torch.float64)
    coefficients[frame.bands[0].place] = noise(frame.bands[0].count)
    alone = frame.synthesise_low(coefficients[frame.bands[0].place])
    assert torch.allclose(alone, frame.synthesise(coefficients), atol=1e-14)


def test_shift_of_the_image_shifts_the_coefficients():
    image = noise(64, 96)
    frame = system(64, 96, decimate=False)
    one, other = frame.analyse(image), frame.analyse(image.roll((5, -7), (0, 1)))
    for mine, moved in zip(planes(frame.bands, one), planes(frame.bands, other), strict=True):
        assert (mine.roll((5, -7), (0, 1)) - moved).abs().max() <= 1e-12
    frame = system(64, 96)
    other = frame.analyse(image.roll((32, 48), (0, 1)))
    for band, mine, moved in zip(
        frame.bands, planes(frame.bands, frame.analyse(image)), planes(frame.bands, other), strict=True
    ):
        assert (mine.roll((band.height // 2, band.width // 2), (0, 1)) - moved).abs().max() <= 1e-12


@pytest.mark.parametrize(("a", "b"), [(3, 20), (-17, 4), (0, 25), (24, 24), (-20, 20)])
def test_wave_has_exactly_the_share_of_each_filter(a, b):
    height, width = 64, 97
    y, x = torch.meshgrid(torch.arange(height).double(), torch.arange(width).double(), indexing="ij")
    wave = (2 * math.pi * (a * y / height + b * x / width)).cos()
    frame = system(height, width)
    shares = frame_filters(height, width, frame.levels)[:, a % height, b].square()
    coefficients = frame.analyse(wave)
    energy = torch.stack([coefficients[band.place].square().sum() for band in frame.bands]) / wave.square().sum()
    assert (energy - shares).abs().max() <= 1e-12


def test_line_speaks_in_the_band_across_it_and_its_neighbours():
    image = torch.zeros(128, 128, dtype=torch.float64)
    image[:, 60] = 1  # a vertical line has horizontal frequencies: slope 0, direction 0
    frame = system(128, 128)
    finest = [band for band in frame.bands if band.scale == len(frame.levels) - 1]
    coefficients = frame.analyse(image)
    energy = torch.stack([coefficients[band.place].square().sum() for band in finest])
    assert energy[[0, 1, -1]].sum() > 0.5 * energy.sum()
    turned = frame.analyse(image.T.contiguous())
    energy = torch.stack([turned[band.place].square().sum() for band in finest])
    middle = len(finest) // 2
    assert energy[middle - 1 : middle + 2].sum() > 0.5 * energy.sum()


def test_constant_image_lives_in_the_low_pass():
    frame = system(97, 64)
    coefficients = frame.analyse(torch.full((97, 64), 0.7, dtype=torch.float64))
    assert coefficients[frame.bands[1].place.start :].abs().max() <= 1e-12
    assert coefficients[frame.bands[0].place].std() <= 1e-12


def test_transposed_and_mirrored_images_exchange_directions():
    image = noise(64, 64)
    frame = system(64, 64)
    straight = frame.analyse(image)
    turned, mirrored = frame.analyse(image.T.contiguous()), frame.analyse(image.flip(1))
    for scale, level in enumerate(frame.levels):
        count = 4 * 2**level
        bands = [band for band in frame.bands if band.scale == scale]
        for k, band in enumerate(bands):
            plane = straight[band.place].view(band.height, band.width)
            other = turned[bands[(count // 2 - k) % count].place].view(band.width, band.height)
            assert (plane.T - other).abs().max() <= 1e-12
            mine, theirs = straight[band.place], mirrored[bands[-k % count].place]
            assert float(mine.square().sum() - theirs.square().sum()) == pytest.approx(0, abs=1e-9)


def test_noise_in_a_band_has_the_pixel_variance_that_is_predicted():
    frame = system(32, 24)
    for band in frame.bands[::5]:
        # the trace of S S^T over the band, by its definition
        basis = torch.zeros(band.count, frame.count, dtype=torch.float64)
        basis[:, band.place] = torch.eye(band.count, dtype=torch.float64)
        variance = frame.synthesise(basis).square().sum(0).mean()
        assert float(variance) == pytest.approx(band.energy, rel=1e-10)


def test_published_number_of_bands_at_a_fraction_of_the_redundancy():
    frame = system(256, 256)
    assert len(frame.bands) == 49
    assert frame.count / 256**2 == pytest.approx(20.63, abs=0.005)
    assert system(256, 256, decimate=False).count == 49 * 256**2
    assert frame.bands[0].scale == LOW_PASS


def test_system_is_built_once_per_size():
    assert shearlet_system(32, 24) is shearlet_system(32, 24)
    assert shearlet_system(32, 24) is not shearlet_system(32, 24, decimate=False)


def test_zero_image_has_zero_coefficients():
    assert system(17, 23).analyse(torch.zeros(17, 23, dtype=torch.float64)).abs().max() == 0


def test_functions_are_inverses_scale_by_scale():
    images = noise(2, 3, 28, 28)
    coefficients = shearlet_transform(images, levels=(1, 1))
    assert [tuple(scale.shape[2:]) for scale in coefficients] == [(1, 8, 8), (8, 14, 14), (8, 28, 28)]
    assert torch.allclose(inverse_shearlet_transform(coefficients, (28, 28), levels=(1, 1)), images, atol=1e-12)


def test_wrong_sizes_are_refused_in_words():
    with pytest.raises(UserError, match="at least 8 x 8 pixels, but got 7 x 30"):
        shearlet_system(7, 30)
    with pytest.raises(UserError, match=r"must be \(\.\.\., H, W\)"):
        shearlet_transform(torch.zeros(8))
    with pytest.raises(UserError, match="is for images"):
        system(32, 24).analyse(torch.zeros(24, 32, dtype=torch.float64))
    with pytest.raises(UserError, match="without any frequency"):
        shearlet_system(8, 8, levels=(3, 4, 4, 4))


def test_coefficients_are_shown_where_they_lie():
    frame = system(64, 64)
    band = frame.bands[3]
    plane = torch.zeros(band.height, band.width, dtype=torch.float64)
    plane[2, 1] = 1
    shown = spread(band, plane, (64, 64))
    step = 64 // band.height
    assert divmod(int(shown.argmax()), 64) == (2 * step, step)
    assert shown[2 * step, step] == 1
    assert float(shown.sum()) == pytest.approx(step**2)
