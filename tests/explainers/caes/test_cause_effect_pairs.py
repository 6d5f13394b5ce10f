from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.interpolate import PchipInterpolator

from explainers.caes.cause_effect_pairs import (
    PairRecipe,
    draw_pairs,
    labelled_clouds,
    monotone_spline,
    permuted,
    standardised,
)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("knots", [4, 5])
def test_the_spline_is_monotone_interpolation_as_scipy_has_it(knots):
    values = torch.randn(50, knots, generator=seeded(), dtype=torch.float64)
    place = torch.rand(50, 40, generator=seeded(1), dtype=torch.float64)
    found = monotone_spline(values, place)
    for row in range(50):
        expected = PchipInterpolator(np.linspace(0, 1, knots), values[row].numpy())(place[row].numpy())
        assert found[row].numpy() == pytest.approx(expected, abs=1e-12)


def test_both_variables_have_mean_zero_and_deviation_one():
    pairs = draw_pairs(300, seeded())
    for values in (pairs.cause, pairs.effect, pairs.signal):
        assert values.isfinite().all()
        assert values.mean(1).abs().max() < 1e-5
        assert (values.square().mean(1) - 1).abs().max() < 1e-4


def test_the_effect_is_the_mechanism_plus_noise_scaled_by_the_amplitude_at_the_cause():
    pairs = draw_pairs(100, seeded())
    assert torch.allclose(pairs.effect, standardised(pairs.signal + pairs.amplitude * pairs.noise))
    # both are functions of the cause: neighbouring causes, neighbouring amplitudes
    order = pairs.cause.argsort(1)
    steps = pairs.cause.gather(1, order).diff(dim=1)
    jumps = pairs.amplitude.gather(1, order).diff(dim=1).abs()
    assert (jumps <= 60 * steps + 1e-4).all()


def test_without_amplitude_the_effect_is_the_mechanism_exactly():
    pairs = draw_pairs(50, seeded(), PairRecipe(amplitude=0.0))
    assert (pairs.amplitude == 0).all()
    assert torch.allclose(pairs.effect, pairs.signal, atol=1e-6)


def test_amplitudes_stay_positive_and_below_their_largest_knot():
    pairs = draw_pairs(200, seeded())
    assert pairs.amplitude.min() >= 0
    assert pairs.amplitude.max() <= 5


def test_same_seed_same_pairs():
    one, two, three = draw_pairs(5, seeded(1)), draw_pairs(5, seeded(1)), draw_pairs(5, seeded(2))
    assert torch.equal(one.effect, two.effect)
    assert not torch.equal(one.effect, three.effect)


def test_labels_zero_one_and_one_half_survive_as_floats():
    cause, effect = torch.randn(4, 10, generator=seeded()), torch.randn(4, 10, generator=seeded(1))
    clouds, labels = labelled_clouds(cause, effect, seeded())
    assert labels.dtype == torch.float32
    assert labels.tolist() == [0.0] * 4 + [1.0] * 4 + [0.5] * 4
    assert torch.equal(clouds[:4], torch.stack([cause, effect], 2))
    assert torch.equal(clouds[4:8], clouds[:4].flip(2))


def test_permuted_copies_keep_the_values_and_lose_the_correlation():
    values = torch.randn(400, 100, generator=seeded())
    shuffled = permuted(values, seeded(1))
    assert torch.equal(shuffled.sort(1).values, values.sort(1).values)
    correlation = (standardised(values) * standardised(shuffled)).mean(1)
    assert abs(float(correlation.mean())) < 3 / (400 * 100) ** 0.5  # standard error of a mean of 400
