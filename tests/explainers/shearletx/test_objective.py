"""What a mask costs and must keep, and how far its coefficients count: values computed by hand."""

from __future__ import annotations

import math

import pytest
import torch

from explainers.shearletx.objective import (
    ENTROPY_SHARE,
    area_penalty,
    credited,
    lagrangian,
    pooled_log_probability,
    quadratic_shortfall,
    size_weights,
    weighted_magnitude,
)
from explainers.shearletx.smooth_masks import STEP, WIDTH, bump, grid_shape
from explainers.transforms.representation import Band, energy_entropy, pixel_weights, planes, spread

SHAPE = (4, 4)
# a low-pass of one coefficient, which stands for 16 pixels, and a band of four, which stand for 4 each
BANDS = (Band(slice(0, 1), -1, 0, 1, 1, 1.0), Band(slice(1, 5), 0, 0, 2, 2, 1.0))
COEFFICIENTS = torch.tensor([[1.0, -2.0, 0.0, 1.0, 0.0], [0.5, 0.0, 3.0, 0.0, -1.0]])


def test_a_coefficient_weighs_as_the_root_of_the_pixels_it_stands_for():
    assert pixel_weights(BANDS, SHAPE).tolist() == [16, 4]
    assert weighted_magnitude(COEFFICIENTS, BANDS, SHAPE).tolist() == [[4, 4, 0, 2, 0], [2, 0, 6, 0, 2]]


def test_sizes_weigh_bands_entries_or_coefficients_and_a_mask_of_ones_has_size_one():
    of = {kind: size_weights(kind, COEFFICIENTS, BANDS, SHAPE, 1) for kind in ("bands", "entries", "coefficients")}
    assert of["bands"].tolist() == [[0.5, 0.125, 0.125, 0.125, 0.125]]
    assert of["entries"][0].tolist() == pytest.approx([0.2] * 5)
    assert of["coefficients"][0].tolist() == pytest.approx([0.3, 0.2, 0.3, 0.1, 0.1])
    for kind in (*of, "conciseness"):
        for rows in (1, 2):
            weights = size_weights(kind, COEFFICIENTS, BANDS, SHAPE, rows).expand(rows, -1)
            assert weights.sum().item() == pytest.approx(1), (kind, rows)
    own = size_weights("coefficients", COEFFICIENTS, BANDS, SHAPE, 2)
    assert own[1].tolist() == pytest.approx([0.1, 0.0, 0.3, 0.0, 0.1])
    assert 0 < ENTROPY_SHARE < 1


def test_the_low_pass_counts_by_its_credit_of_energy():
    found = credited(COEFFICIENTS, torch.tensor([0.25]))
    assert found.tolist() == [[0.5, -2.0, 0.0, 1.0, 0.0], [0.25, 0.0, 3.0, 0.0, -1.0]]
    assert found[:, :1].square().sum() == 0.25 * COEFFICIENTS[:, :1].square().sum()


def test_compositions_pool_probabilities_not_their_logarithms():
    log_p = torch.tensor([[0.2, 0.4, 0.5, 0.1, 0.3]]).log()
    found = pooled_log_probability(log_p, [2, 3])
    assert found.exp()[0].tolist() == pytest.approx([0.3, 0.3])


def test_lagrangian_is_that_of_the_book():
    # c = 2: (max(0, l + 2 g)^2 - l^2) / 4; a kept constraint gives back what its multiplier asks for
    gaps, multipliers = torch.tensor([[0.5, -3.0, 0.25]]), torch.tensor([[1.0, 2.0, 0.0]])
    assert lagrangian(gaps, multipliers, torch.tensor([[2.0]])).item() == pytest.approx((3 + -4 + 0.25) / 4)
    assert lagrangian(0 * gaps, multipliers, torch.tensor([[2.0]])).item() == 0


def test_shortfall_is_the_mean_square_of_what_lacks():
    found = quadratic_shortfall(torch.tensor([[0.5, 1.0], [0.25, 0.25]]).log(), torch.tensor([[1.0], [0.75]]))
    assert found.tolist() == pytest.approx([(0.25 + 0.0) / 2, 0.25])


def test_area_penalty_sorts_the_mask_first_and_rounds_the_step():
    mask = torch.tensor([[[1.0, 0.0, 0.5, 1.0]]])
    assert area_penalty(mask, 0.5).tolist() == pytest.approx([0.25 / 4])  # 0, 0.5, 1, 1 against 0, 0, 1, 1
    assert area_penalty(mask, 0.75).tolist() == pytest.approx([0.25 / 4])


def test_a_bump_is_flat_to_half_its_radius_and_falls_as_a_gaussian():
    distances = torch.tensor([0.0, WIDTH / 2, WIDTH, 1.5 * WIDTH])
    assert bump(distances).tolist() == pytest.approx([1.0, 1.0, math.exp(-0.5), math.exp(-2.0)])
    assert grid_shape(STEP, STEP + 1) == (1, 2)


def test_entropy_is_of_the_shares_of_energy():
    assert energy_entropy(torch.tensor([[1.0, -1.0], [1.0, 1.0]])).item() == pytest.approx(math.log(4))
    shares = (0.1, 0.9)
    expected = -sum(share * math.log(share) for share in shares)
    assert energy_entropy(torch.tensor([[1.0, 3.0]])).item() == pytest.approx(expected)
    assert energy_entropy(torch.zeros(1, 3)).item() == 0


def test_a_band_lies_at_its_origin_and_between_its_atoms_in_proportion():
    band = Band(slice(0, 2), 0, 0, 1, 2, 1.0, origin=(0.0, 1.0))
    plane = torch.tensor([[1.0, 3.0]])
    # atoms at the columns 1 and 3 of four, circularly: 0 and 2 lie halfway
    assert spread(band, plane, (1, 4)).tolist() == [[2.0, 1.0, 2.0, 3.0]]
    low, detail = planes(BANDS, COEFFICIENTS[0])
    assert (low.tolist(), detail.tolist()) == ([[1.0]], [[-2.0, 0.0], [1.0, 0.0]])
