"""Measures of codes and edits, against values that are known exactly."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from cae.diagnostics.embedding import (
    baseline_codes,
    coherency,
    coverage,
    edit_coherency,
    participation_ratio,
    peak_signal_to_noise,
)


def cloud_with(eigenvalues: list[float]) -> Tensor:
    """Points whose covariance has exactly these eigenvalues (up to a common factor)."""
    basis = torch.linalg.qr(torch.randn(64, len(eigenvalues) + 1, generator=torch.Generator().manual_seed(0)).double())[
        0
    ]
    centred = torch.linalg.qr(basis - basis.mean(0))[0][:, : len(eigenvalues)]
    return centred * torch.tensor(eigenvalues, dtype=torch.float64).sqrt()


@pytest.mark.parametrize(
    ("eigenvalues", "ratio"),
    [([1.0] * 5, 5.0), ([1.0, 0, 0, 0], 1.0), ([84.8, 14.5, 0.4, 0.1], 99.8**2 / (84.8**2 + 14.5**2 + 0.16 + 0.01))],
)
def test_participation_ratio_is_exact_for_known_eigenvalues(eigenvalues: list[float], ratio: float):
    assert participation_ratio(cloud_with(eigenvalues)) == pytest.approx(ratio, rel=1e-9)


def test_participation_ratio_of_the_published_codes():
    assert participation_ratio(cloud_with([84.8, 14.5, 0.4, 0.1])) == pytest.approx(1.3457, abs=5e-5)


def test_participation_ratio_ignores_rotation_scale_and_shift():
    cloud = cloud_with([5.0, 3.0, 1.0, 0.5])
    rotation = torch.linalg.qr(torch.randn(4, 4, generator=torch.Generator().manual_seed(1)).double())[0]
    assert participation_ratio(7 * cloud @ rotation + 3) == pytest.approx(participation_ratio(cloud), rel=1e-9)


def test_participation_ratio_of_wide_features_equals_that_of_tall_ones():
    wide = torch.randn(6, 40, generator=torch.Generator().manual_seed(2)).double()
    eigenvalues = torch.linalg.eigvalsh(torch.cov(wide.T))
    expected = float(eigenvalues.sum() ** 2 / eigenvalues.square().sum())
    assert participation_ratio(wide) == pytest.approx(expected, rel=1e-9)


def test_edits_reveal_that_a_decoder_uses_two_of_four_whitened_dimensions():
    codes = cloud_with([1.0] * 4)
    images = codes[:, :2]  # all that the decoder shows of a code; features are the identity
    edits = images[:, None] - images[None]
    assert participation_ratio(codes) == pytest.approx(4, rel=1e-9)
    assert participation_ratio(edits.flatten(0, 1)) == pytest.approx(2, rel=1e-9)


def test_participation_ratio_of_constant_codes_is_zero():
    assert participation_ratio(torch.ones(10, 3)) == 0


def test_coherency_of_two_opposite_classes_is_all_incoherency():
    split = coherency(torch.tensor([[0.5, 0.5]]), torch.tensor([[[0.8, 0.2], [0.2, 0.8]]]))
    assert -math.log(float(split.agreement)) == pytest.approx(0.223144, abs=1e-6)
    assert float(split.bias) == pytest.approx(0, abs=1e-9)
    assert float(split.modal_agreement) == 0.5


def test_coherency_splits_the_mean_divergence():
    generator = torch.Generator().manual_seed(0)
    q = torch.randn(7, 4, generator=generator).double().softmax(1)
    p = torch.randn(7, 9, 4, generator=generator).double().softmax(2)
    divergence = (q[:, None] * (q[:, None].log() - p.log())).sum(2).mean(1)
    split = coherency(q, p)
    assert torch.allclose(split.bias - split.agreement.log(), divergence, atol=1e-9)


def test_equal_probabilities_are_fully_coherent():
    p = torch.tensor([0.7, 0.2, 0.1]).expand(2, 5, 3)
    split = coherency(torch.tensor([[0.7, 0.2, 0.1], [0.1, 0.2, 0.7]]), p)
    assert torch.allclose(split.agreement, torch.ones(2).double(), atol=1e-6)
    assert split.bias[0] == pytest.approx(0, abs=1e-6)
    assert split.bias[1] > 0.5


def test_edit_coherency_is_one_for_one_direction_and_below_zero_for_opposite_ones():
    edit = torch.tensor([1.0, 2.0, 0.0])
    assert edit_coherency(torch.stack([edit, 3 * edit, 0.1 * edit])[None]) == pytest.approx(1, abs=1e-6)
    assert edit_coherency(torch.stack([edit, -edit])[None]) == pytest.approx(-1, abs=1e-6)


def test_baseline_codes_keep_moments_or_marginals_but_carry_no_class():
    codes = torch.randn(400, 3, generator=torch.Generator().manual_seed(0)) * torch.tensor([1.0, 2.0, 0.5]) + 4
    made = baseline_codes(codes, 4000, seed=0)
    assert (made["zero_code"] == 0).all()
    assert torch.allclose(made["gaussian_codes"].mean(0), codes.mean(0), atol=0.15)
    assert torch.allclose(made["gaussian_codes"].std(0), codes.std(0), rtol=0.1)
    for dimension in range(3):
        assert torch.isin(made["permuted_codes"][:, dimension], codes[:, dimension]).all()


def test_coverage_is_near_the_quantile_for_one_distribution_and_zero_far_away():
    generator = torch.Generator().manual_seed(0)
    train, test = torch.randn(500, 2, generator=generator), torch.randn(500, 2, generator=generator)
    assert coverage(train, test) == pytest.approx(0.95, abs=0.03)
    assert coverage(train, test + 50) == 0


def test_peak_signal_to_noise_of_a_tenth_is_twenty_decibels():
    assert peak_signal_to_noise(torch.tensor([0.01, 0.0])).tolist() == pytest.approx([20, 100])
