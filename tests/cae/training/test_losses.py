"""Each loss term against values computed by hand."""

from __future__ import annotations

import math

import pytest
import torch

from cae.training import losses
from cae.training.code_statistics import RunningScale


@pytest.fixture
def generator():
    return torch.Generator().manual_seed(0)


# --- images


def test_reconstruction_is_the_mean_absolute_difference_of_each_image():
    images = torch.zeros(2, 1, 2, 2)
    originals = torch.tensor([[[[1.0, 0.0], [0.0, 0.0]]], [[[1.0, -1.0], [1.0, 1.0]]]])
    assert losses.reconstruction(images, originals).tolist() == [0.25, 1.0]


def test_minimal_edit_moves_the_swap_and_never_the_reconstruction():
    swaps, reconstructions = torch.ones(1, 1, 2, 2, requires_grad=True), torch.zeros(1, 1, 2, 2, requires_grad=True)
    term = losses.minimal_edit(swaps, reconstructions)
    term.sum().backward()
    assert term.tolist() == [1.0]
    assert swaps.grad is not None
    assert reconstructions.grad is None


def test_mask_area_is_the_share_of_the_image_that_may_change():
    mask = torch.tensor([[0.0, 1.0], [0.0, 1.0]]).view(1, 1, 2, 2)
    assert losses.mask_area(mask).tolist() == [0.5]


def test_known_edit_asks_for_the_wanted_image_where_it_differs_and_for_its_mask():
    mask = torch.zeros(1, 1, 4, 4)
    mask[..., 0, :] = 1.0  # four pixels
    images, wanted = torch.zeros(1, 1, 4, 4), 0.5 * mask
    paint = wanted + 0.25
    paint[..., 1:, :] = 7.0  # where nothing is to change, any paint will do
    unsure, logits = torch.full_like(mask, 0.5), torch.zeros_like(mask)
    # four pixels, each to change by 0.5, are off by 0.25; and ln 2 for each pixel of a mask that does not know
    expected = 4 * (4 * 0.5 * 0.25) / (4 * 0.5 + 1) + 5 * math.log(2)
    assert losses.known_edit(paint, unsure, logits, images, wanted, mask).item() == pytest.approx(expected, rel=1e-6)
    found = (2 * mask - 1) * 40
    exact = losses.known_edit(wanted, found.sigmoid(), found, images, wanted, mask)
    assert exact.item() == pytest.approx(0, abs=1e-6)
    # an edit of nothing asks for no paint
    nothing = losses.known_edit(paint, 0 * mask, -found.abs(), images, images, 0 * mask)
    assert nothing.item() == pytest.approx(0, abs=1e-6)


def test_known_edit_moves_a_mask_that_has_shut_itself():
    logits = torch.full((1, 1, 2, 2), -30.0, requires_grad=True)
    ones, zeros = torch.ones(1, 1, 2, 2), torch.zeros(1, 1, 2, 2)
    losses.known_edit(ones, logits.sigmoid(), logits, zeros, ones, ones).sum().backward()
    # of -5 mean log sigmoid(z), four pixels
    torch.testing.assert_close(logits.grad, torch.full_like(logits, -5 / 4))


def test_known_edit_moves_the_edit_and_nothing_else():
    inputs = [torch.full((2, 1, 3, 3), 0.5, requires_grad=True) for _ in range(6)]
    losses.known_edit(*inputs).sum().backward()
    assert [one.grad is not None for one in inputs] == [True, True, True, False, False, False]


# --- probabilities of the classifier


def test_kl_equals_its_definition_and_survives_zeros():
    q, p = torch.tensor([0.25, 0.75]), torch.tensor([0.5, 0.5])
    expected = 0.25 * math.log(0.5) + 0.75 * math.log(1.5)
    assert losses.kl_divergence(q, p.log()).item() == pytest.approx(expected, rel=1e-6)
    assert losses.kl_divergence(torch.tensor([0.0, 1.0]), torch.tensor([0.0, 1.0]).log()).item() == 0


def test_bkl_is_one_minus_exp_of_minus_kl_of_the_target():
    divergence = losses.kl_divergence(torch.tensor([0.0, 1.0]), torch.tensor([0.75, 0.25]).log())
    assert 1 - math.exp(-divergence.item()) == pytest.approx(0.75, abs=1e-6)


def test_kl_gradients_are_finite_and_stay_out_of_the_target():
    q = torch.tensor([[0.0, 1.0], [0.5, 0.5]], requires_grad=True)
    logits = torch.tensor([[80.0, -80.0], [0.0, 1.0]], requires_grad=True)
    losses.kl_divergence(q, losses.log_probabilities(logits)).sum().backward()
    assert q.grad is None
    assert torch.isfinite(logits.grad).all()


def test_kl_of_half_precision_logits_is_computed_in_float32():
    logits = torch.tensor([[1.0, 2.0]], dtype=torch.bfloat16)
    assert losses.log_probabilities(logits).dtype == torch.float32
    assert losses.coherency(logits, logits).item() == pytest.approx(0, abs=1e-7)


def test_temperature_softens_donor_and_swap():
    donor, swap = torch.tensor([[2.0, 0.0]]), torch.tensor([[0.0, 0.0]])
    q = torch.softmax(donor / 2, -1)
    expected = (q * (q.log() - math.log(0.5))).sum()
    assert losses.coherency(donor, swap, temperature=2).item() == pytest.approx(expected.item(), rel=1e-6)


# --- realism


def test_losses_of_a_discriminator_that_knows_nothing_are_the_log_of_its_classes():
    logits, wanted = torch.zeros(2, 4), torch.tensor([[1.0, 0.0, 0.0], [0.2, 0.3, 0.5]])
    torch.testing.assert_close(losses.wanted_class(wanted, logits), torch.full((2,), math.log(4)))
    torch.testing.assert_close(losses.generated_class(logits), torch.full((2,), math.log(4)))


def test_generated_class_is_the_last_and_never_wanted():
    logits = torch.log(torch.tensor([[0.25, 0.25, 0.5]]))
    assert losses.generated_class(logits).item() == pytest.approx(math.log(2))
    assert losses.wanted_class(torch.tensor([[1.0, 0.0]]), logits).item() == pytest.approx(math.log(4))


def test_wanted_class_weighs_the_logarithm_of_each_class_by_what_is_wanted():
    logits = torch.log(torch.tensor([[0.1, 0.2, 0.3, 0.4]])) + 2.0
    expected = -(0.5 * math.log(0.1) + 0.2 * math.log(0.2) + 0.3 * math.log(0.3))
    assert losses.wanted_class(torch.tensor([[0.5, 0.2, 0.3]]), logits).tolist() == pytest.approx([expected])


def test_r1_of_a_linear_score_is_its_squared_weight_and_trains_the_discriminator():
    weight = torch.tensor([3.0, 4.0], requires_grad=True)
    images = torch.rand(5, 2, 1, 1).requires_grad_()
    scores = (images.flatten(1) * weight).sum(1).view(5, 1, 1, 1).expand(5, 1, 2, 2)  # a constant patch map
    penalty = losses.r1_penalty(images, scores)
    penalty.backward()
    assert penalty.item() == pytest.approx(25)
    torch.testing.assert_close(weight.grad, torch.tensor([6.0, 8.0]))


def test_r1_says_when_images_carry_no_gradient():
    with pytest.raises(ValueError, match="require gradients"):
        losses.r1_penalty(torch.rand(1, 1, 2, 2), torch.rand(1))


# --- codes


def test_code_distance_reaches_neither_target_nor_scale():
    code, target, sigma = (torch.ones(2, 3, requires_grad=True) for _ in range(3))
    losses.normalised_code_distance(code, 2 * target, 2 * sigma.mean()).sum().backward()
    assert code.grad is not None
    assert target.grad is None
    assert sigma.grad is None


def test_code_distance_is_the_mean_absolute_difference_in_units_of_the_scale():
    code, target = torch.tensor([[1.0, -2.0], [0.0, 0.5]]), torch.tensor([[0.0, 2.0], [0.0, 0.0]])
    assert losses.normalised_code_distance(code, target, torch.tensor(2.0)).tolist() == [1.25, 0.125]


@pytest.mark.parametrize("alpha", [0.1, 10.0])
@pytest.mark.parametrize("shape", [(6, 8), (6, 4, 3, 3)])
def test_code_distance_does_not_change_with_the_scale_of_the_codes(alpha, shape, generator):
    target = torch.randn(shape, generator=generator, dtype=torch.float64)
    code = torch.randn(shape, generator=generator, dtype=torch.float64)

    def distance(factor: float) -> torch.Tensor:
        scale = RunningScale().double()
        return losses.normalised_code_distance(factor * code, factor * target, scale(factor * target))

    torch.testing.assert_close(distance(alpha), distance(1.0), rtol=1e-6, atol=0)


def test_variance_term_asks_for_unit_standard_deviation():
    spread = torch.tensor([[1.0, -2.0], [-1.0, 2.0]])
    assert losses.variance_term(spread).item() == 0
    assert losses.variance_term(torch.full((7, 3), 5.0)).item() == pytest.approx(0.99, abs=1e-6)


def test_variance_term_is_what_each_unbiased_deviation_lacks():
    codes = torch.tensor([[0.0, 0.0], [0.5, 3.0], [1.0, 6.0]])  # variances 1/4 and 9
    expected = (1 - math.sqrt(0.25 + 1e-4)) / 2
    assert losses.variance_term(codes).item() == pytest.approx(expected, rel=1e-5)


def test_variance_term_of_collapsed_codes_has_finite_gradients():
    codes = torch.zeros(4, 2, requires_grad=True)
    losses.variance_term(codes).backward()
    assert torch.isfinite(codes.grad).all()
    assert torch.isfinite(losses.variance_term(torch.zeros(1, 2)))


def test_covariance_term_of_twin_columns_is_one_and_of_orthogonal_ones_zero():
    column = torch.tensor([1.0, -1.0, 1.0, -1.0])
    column = column / column.std()
    other = torch.tensor([1.0, 1.0, -1.0, -1.0])
    assert losses.covariance_term(torch.stack([column, column], 1)).item() == pytest.approx(1, abs=1e-6)
    assert losses.covariance_term(torch.stack([column, other], 1)).item() == pytest.approx(0, abs=1e-6)


def test_covariance_stays_in_float32_under_autocast(generator):
    codes = torch.randn(32, 4, generator=generator)
    expected = losses.covariance_term(codes)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert losses.covariance_term(codes).item() == expected.item()


def test_leakage_of_the_adversary_is_what_its_answer_lacks_of_the_classifiers():
    logits = torch.log(torch.tensor([[0.2, 0.3, 0.5], [0.2, 0.3, 0.5]]))
    found = losses.leakage_adversary(torch.tensor([[0.0, 1.0, 0.0], [0.5, 0.0, 0.5]]), logits)
    expected = [-math.log(0.3), 0.5 * math.log(0.5 / 0.2)]
    torch.testing.assert_close(found, torch.tensor(expected))
    torch.testing.assert_close(losses.leakage_encoder(torch.tensor([0.5, 0.0, 0.5]), logits)[0], found[1])


def test_leakage_is_zero_when_the_adversary_gives_the_mean_probabilities():
    mean = torch.tensor([0.7, 0.2, 0.1])
    logits = (mean.log() + 3).expand(4, 3)
    torch.testing.assert_close(losses.leakage_encoder(mean, logits), torch.zeros(4), atol=1e-6, rtol=0)
    assert (losses.leakage_adversary(torch.eye(3)[[0, 1, 2, 0]], logits) > 0.3).all()
