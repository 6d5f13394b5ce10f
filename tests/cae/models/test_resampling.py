"""Resampling as products and small convolutions: the same as its definition."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from cae.models import resampling
from cae.models.resampling import bilinear, doubled_convolution, surroundings


def pooled_and_spread(images, mask):
    """The definition: every square averaged apart, and spread out again by PyTorch."""
    kept = 1 - mask
    total, weight = torch.zeros_like(images), torch.full_like(mask, 1e-4)
    side, share = 4, 1.0
    while side <= min(images.shape[-2:]):
        for of, into in ((images * kept, total), (kept, weight)):
            small = F.avg_pool2d(of, side, ceil_mode=True, count_include_pad=False)
            into += share * F.interpolate(small, size=images.shape[-2:], mode="bilinear", align_corners=False)
        side, share = 2 * side, share / 10
    return total / weight


@pytest.mark.parametrize("size", [(64, 64), (28, 28), (36, 52), (5, 9)])
def test_surroundings_in_four_products_are_means_of_squares_spread_out(size):
    images, mask = torch.rand(2, 3, *size), torch.rand(2, 1, *size)
    torch.testing.assert_close(surroundings(images, mask), pooled_and_spread(images, mask), atol=2e-6, rtol=1e-5)


def test_surroundings_keep_full_precision_where_the_rest_is_in_half():
    images, mask = torch.rand(1, 1, 16, 16), torch.rand(1, 1, 16, 16)
    exact = surroundings(images, mask)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(surroundings(images, mask), exact)


@pytest.mark.parametrize("shape", [(16, 16), (45, 61), (17, 8)])
def test_a_hole_is_filled_from_its_surroundings_and_from_nothing_inside_it(shape):
    images, mask = torch.full((1, 1, *shape), 0.7), torch.zeros(1, 1, *shape)
    mask[..., 4:9, 2:7] = 1
    assert torch.allclose(surroundings(images, mask), images, atol=1e-3)
    other = torch.where(mask > 0, torch.rand(images.shape, generator=torch.Generator().manual_seed(0)), images)
    assert torch.equal(surroundings(other, mask), surroundings(images, mask))


def test_a_hole_takes_the_value_of_the_nearer_side():
    images, mask = torch.zeros(1, 1, 32, 32), torch.zeros(1, 1, 32, 32)
    images[..., 16:] = 1
    mask[..., 12:20, 12:20] = 1
    filled = surroundings(images, mask)[0, 0]
    assert filled[16, 12] < 0.4 < 0.6 < filled[16, 19]


def test_where_everything_is_masked_nothing_is_suggested():
    assert torch.equal(surroundings(torch.ones(1, 1, 16, 16), torch.ones(1, 1, 16, 16)), torch.zeros(1, 1, 16, 16))


def test_doubled_convolution_is_nearest_doubling_and_a_convolution():
    x, weight, bias = (
        torch.randn(2, 5, 7, 9, dtype=torch.double),
        torch.randn(4, 5, 3, 3).double(),
        torch.randn(4).double(),
    )
    plain = F.conv2d(F.interpolate(x, scale_factor=2.0, mode="nearest"), weight, bias, padding=1)
    torch.testing.assert_close(doubled_convolution(x, weight, bias), plain)
    torch.testing.assert_close(doubled_convolution(x, weight, None), plain - bias[:, None, None])


def test_bilinear_products_are_those_of_pytorch():
    x = torch.randn(2, 3, 5, 8)
    rows, columns = (torch.from_numpy(resampling._interpolation(a, b)) for a, b in ((5, 10), (8, 11)))
    torch.testing.assert_close(rows @ x @ columns.T, F.interpolate(x, size=(10, 11), mode="bilinear"))
    assert bilinear(x, (5, 8)) is x
