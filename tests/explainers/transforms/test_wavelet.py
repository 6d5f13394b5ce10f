"""Wavelets behind the same face as shearlets."""

import pytest
import torch

from cae.errors import UserError
from explainers.transforms.wavelet import DualTreeSystem, WaveletSystem, most_levels, wavelet_system


def noise(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def build(kind, height, width):
    if kind == "dual tree":
        return DualTreeSystem(height, width, dtype=torch.float64)
    return WaveletSystem(height, width, extension=kind, dtype=torch.float64)


@pytest.mark.parametrize("kind", ["automatic", "zero", "dual tree"])
@pytest.mark.parametrize(("height", "width"), [(64, 96), (33, 50), (28, 28)])
def test_image_comes_back(kind, height, width):
    system, images = build(kind, height, width), noise(2, 3, height, width)
    # the library rounds its filters to single precision
    assert (system.synthesise(system.analyse(images)) - images).abs().max() <= 3e-6
    assert system.analyse(images).shape[:2] == (2, 3)
    assert torch.allclose(system.analyse(images[0, 0]), system.analyse(images)[0, 0])


def test_periodised_wavelets_are_orthonormal_where_the_size_allows():
    system, image = build("automatic", 64, 96), noise(64, 96)
    coefficients = system.analyse(image)
    assert coefficients.numel() == image.numel()
    assert float(coefficients.square().sum()) == pytest.approx(float(image.square().sum()), rel=1e-6)
    assert all(band.energy == pytest.approx(band.count / image.numel(), rel=1e-5) for band in system.bands)
    assert build("automatic", 33, 50).mode == "symmetric"


@pytest.mark.parametrize("kind", ["automatic", "zero", "dual tree"])
@pytest.mark.parametrize(("height", "width"), [(32, 32), (33, 50)])
def test_gradient_of_the_synthesis_is_exact(kind, height, width):
    system = build(kind, height, width)
    count = system.bands[-1].place.stop
    coefficients, other = noise(count).requires_grad_(), noise(count, seed=1)
    image = system.synthesise(coefficients)
    weight = noise(height, width, seed=2)
    (gradient,) = torch.autograd.grad((image * weight).sum(), coefficients)
    # the map is linear: its gradient is exact if it is so along any direction
    assert float((gradient * other).sum()) == pytest.approx(float((system.synthesise(other) * weight).sum()), rel=1e-9)


def test_low_pass_alone_is_the_synthesis_of_the_rest_at_zero():
    system = build("automatic", 32, 32)
    low = noise(system.bands[0].count)
    full = torch.zeros(system.bands[-1].place.stop, dtype=torch.float64)
    full[system.bands[0].place] = low
    assert torch.equal(system.synthesise_low(low), system.synthesise(full))


def test_atoms_lie_where_the_bands_say():
    system = build("automatic", 64, 64)
    band = system.bands[-1]
    coefficients = torch.zeros(system.bands[-1].place.stop, dtype=torch.float64)
    coefficients[band.place.start + 7 * band.width + 12] = 1
    energy = system.synthesise(coefficients).square()
    row = float(energy.sum(1) @ torch.arange(64, dtype=torch.float64))
    column = float(energy.sum(0) @ torch.arange(64, dtype=torch.float64))
    assert row == pytest.approx(band.origin[0] + 7 * 2, abs=1e-4)
    assert column == pytest.approx(band.origin[1] + 12 * 2, abs=1e-4)


def test_system_is_built_once_and_levels_stop_at_the_filter():
    assert wavelet_system(32, 32) is wavelet_system(32, 32)
    assert [most_levels(side, side, 6) for side in (8, 12, 32, 256)] == [1, 2, 3, 6]


def test_wrong_options_are_refused_in_words():
    with pytest.raises(UserError, match="PyWavelets knows"):
        WaveletSystem(32, 32, "db3000")
    with pytest.raises(UserError, match="must be orthogonal"):
        WaveletSystem(32, 32, "bior2.2")
    with pytest.raises(UserError, match=r"`levels` must be in \[1, 3\]"):
        WaveletSystem(32, 32, levels=4)
    with pytest.raises(UserError, match=r"`levels` must be in \[1, 3\]"):
        DualTreeSystem(32, 32, levels=9)
