"""Identities and closed-form answers of the quantities, and of their errors and corrections."""

import itertools
import math

import pytest
import torch

from explainers.infills.windows import grid
from explainers.information import quantities
from explainers.information.estimates import QUANTITIES, Quantity, estimate
from explainers.information.marginalisation import InformationTable, summarise


def table_of(rows, log_p, target=0):
    """A table of M windows from ``(M, N, K)`` log-probabilities."""
    windows = grid((4, len(rows) * 4), 4, 4)
    columns = summarise(rows, log_p, target)
    return InformationTable(windows, target, log_p, **columns, forwards=rows.shape[0] * rows.shape[1])


def random_logits(*shape, seed=0, scale=2.0):
    generator = torch.Generator().manual_seed(seed)
    return (scale * torch.randn(*shape, generator=generator, dtype=torch.float64)).log_softmax(-1)


LOG_P, ROWS = random_logits(6, seed=1), random_logits(5, 8, 6, seed=2)
TABLE = table_of(ROWS, LOG_P, target=2)
P, Q = LOG_P.exp(), ROWS.exp().mean(1)


def value(name, table=TABLE, **settings):
    return estimate(table, Quantity(name, **settings)).value


def test_ig_is_the_expectation_of_pmi_and_never_negative():
    pmi = quantities.pmi(LOG_P, TABLE.log_q)
    assert torch.allclose(value("ig"), (P * pmi).sum(1), atol=1e-10)
    assert (value("ig") >= 0).all()
    assert torch.allclose(quantities.information_gain_terms(LOG_P, pmi).sum(1), value("ig"), atol=1e-10)


def test_q_is_the_mean_of_the_probabilities_not_of_their_logarithms():
    assert torch.allclose(TABLE.log_q.exp(), Q, atol=1e-12)
    assert torch.allclose((Q * quantities.pmi(LOG_P, TABLE.log_q).exp()).sum(1), torch.ones(5).double(), atol=1e-10)


def test_two_class_information_gain_is_at_most_the_whole():
    binary = value("ig_binary")
    assert (binary >= 0).all()
    assert (binary <= value("ig") + 1e-12).all()
    y = TABLE.target
    wanted = P[y] * (P[y] / Q[:, y]).log() + (1 - P[y]) * ((1 - P[y]) / (1 - Q[:, y])).log()
    assert torch.allclose(binary, wanted, atol=1e-10)


def test_contrast_changes_sign_with_the_two_classes():
    pmi = quantities.pmi(LOG_P, TABLE.log_q)
    one, other = (quantities.contrast(pmi, *pair) for pair in ((1, 4), (4, 1)))
    assert torch.allclose(one, -other, atol=1e-12)
    assert torch.allclose(value("contrast", rival=4), quantities.contrast(pmi, TABLE.target, 4), atol=1e-12)


def test_weight_of_evidence_without_smoothing_is_pmi_minus_that_of_the_complement():
    y = TABLE.target
    wanted = value("pmi") - ((1 - P[y]) / (1 - Q[:, y])).log()
    assert torch.allclose(value("woe") * math.log(2), wanted, atol=1e-10)
    # the smoothing of Zintgraf et al.: (p N + 1) / (N + K)
    p, q = ((x * 1000 + 1) / 1006 for x in (P[y], Q[:, y]))
    wanted = (p / (1 - p)).log2() - (q / (1 - q)).log2()
    assert torch.allclose(value("woe", examples=1000), wanted, atol=1e-10)


def test_entropy_change_is_ig_plus_the_cross_term():
    wanted = value("ig") + ((P - Q) * Q.log()).sum(1)
    assert torch.allclose(value("entropy_change"), wanted, atol=1e-10)


def test_patch_information_is_between_zero_and_log_n():
    found = value("patch_mi")
    assert (found >= 0).all()
    assert (found <= math.log(8)).all()
    sure = torch.eye(4, dtype=torch.float64).clamp_min(1e-300).log()[None]  # each in-fill another class, for sure
    assert value("patch_mi", table_of(sure, random_logits(4)))[0] == pytest.approx(math.log(4))


def test_group_pmi_sums_probabilities_before_the_logarithm():
    wanted = (P[1] + P[3]).log() - (Q[:, 1] + Q[:, 3]).log()
    assert torch.allclose(value("group_pmi", group=[1, 3]), wanted, atol=1e-10)
    assert torch.allclose(value("group_pmi", group=range(6)), torch.zeros(5).double(), atol=1e-10)


@pytest.mark.parametrize("name", QUANTITIES)
def test_fills_equal_to_the_image_leave_every_quantity_at_zero(name):
    rows = LOG_P.expand(3, 4, 6)
    assert value(name, table_of(rows, LOG_P, 1), rival=2, group=[1, 2]).abs().max() < 1e-12


@pytest.mark.parametrize("name", QUANTITIES)
def test_certain_and_impossible_classes_give_finite_quantities(name):
    log_p = torch.tensor([800.0, 0, 0], dtype=torch.float64).log_softmax(0)
    rows = torch.tensor([[800.0, 0, 0], [0, 800, 0]], dtype=torch.float64).log_softmax(1)[None]
    found = estimate(table_of(rows, log_p), Quantity(name, rival=1, group=[0]))
    assert found.value.isfinite().all()
    assert found.se is None or found.se.isfinite().all()


def test_saturated_probability_still_shows_in_the_log_odds():
    log_p = torch.tensor([0.9999, 0.0001], dtype=torch.float64).log()
    rows = torch.tensor([[[0.99, 0.01]]], dtype=torch.float64).log()
    assert value("pmi", table_of(rows, log_p))[0] == pytest.approx(0.00995, abs=1e-4)
    assert value("woe", table_of(rows, log_p))[0] * math.log(2) == pytest.approx(4.615, abs=1e-3)


def test_published_epsilons_reproduce_the_authors_formula():
    wanted = (P[2] / (Q[:, 2] + 1e-13) + 1e-13).log()
    assert torch.allclose(value("pmi", published=True), wanted, atol=1e-14)
    ig = (P * (P / (Q + 1e-13) + 1e-13).log()).sum(1)
    assert torch.allclose(value("ig", published=True), ig, atol=1e-14)
    # a class that vanishes is what the epsilons are for
    log_p = torch.tensor([0.5, 0.5], dtype=torch.float64).log()
    gone = torch.tensor([[[0.0, -2000.0]]], dtype=torch.float64).log_softmax(2)
    assert value("pmi", table_of(gone, log_p, 1), published=True)[0] == pytest.approx(math.log(0.5 / 1e-13))


def test_standard_errors_are_those_of_the_delta_method():
    p_n = ROWS.exp()
    y, n = TABLE.target, ROWS.shape[1]
    spread = p_n.std(1)[:, y] / math.sqrt(n)
    assert torch.allclose(estimate(TABLE, Quantity("pmi")).se, spread / Q[:, y], atol=1e-12)
    assert torch.allclose(estimate(TABLE, Quantity("delta_p")).se, spread, atol=1e-12)
    ratios = (P * p_n / Q[:, None]).sum(2)
    assert torch.allclose(ratios.mean(1), torch.ones(5).double(), atol=1e-12)
    assert torch.allclose(estimate(TABLE, Quantity("ig")).se, ratios.std(1) / math.sqrt(n), atol=1e-12)
    pairs = p_n[..., y] / Q[:, None, y] - p_n[..., 4] / Q[:, None, 4]
    assert torch.allclose(estimate(TABLE, Quantity("contrast", rival=4)).se, pairs.std(1) / math.sqrt(n), atol=1e-12)
    odds = spread / (Q[:, y] * (1 - Q[:, y])) / math.log(2)
    assert torch.allclose(estimate(TABLE, Quantity("woe")).se, odds, atol=1e-12)


@pytest.mark.parametrize("name", QUANTITIES)
def test_a_single_fill_has_no_standard_error_and_no_correction(name):
    found = estimate(table_of(ROWS[:, :1], LOG_P), Quantity(name, rival=1, group=[1]))
    assert found.se is None
    assert found.corrected is None
    assert not found.unreliable.any()


def two_point(q, d, n):
    """Rows of every possible draw of n values q - d or q + d (two classes), all equally likely: ``(2^n, n, 2)``."""
    draws = torch.tensor(list(itertools.product((q - d, q + d), repeat=n)), dtype=torch.float64)
    return torch.stack([draws, 1 - draws], 2).log()


def test_bias_of_a_single_draw_is_known_exactly():
    log_p, q, d = torch.tensor([0.6, 0.4], dtype=torch.float64).log(), 0.5, 0.2
    found = value("pmi", table_of(two_point(q, d, 1), log_p)).mean() - (log_p[0] - math.log(q))
    assert found == pytest.approx(-0.5 * math.log(1 - d**2 / q**2), abs=1e-12)
    assert -0.5 * math.log(1 - 0.01**2 / q**2) == pytest.approx(0.01**2 / (2 * q**2), rel=1e-3)


@pytest.mark.parametrize("bias", ["delta", "jackknife"])
@pytest.mark.parametrize("name", ["pmi", "ig"])
def test_corrections_remove_most_of_the_bias(name, bias):
    log_p, q = torch.tensor([0.6, 0.4], dtype=torch.float64).log(), 0.5
    truth = float(value(name, table_of(torch.tensor([[[q, 1 - q]]], dtype=torch.float64).log(), log_p))[0])
    found = estimate(table_of(two_point(q, 0.15, 4), log_p), Quantity(name, bias=bias))
    before, after = found.value.mean() - truth, found.corrected.mean() - truth
    assert before > 0
    assert abs(after) < before / 5


def test_jackknife_equals_leaving_out_one_draw_at_a_time():
    n = ROWS.shape[1]
    left_out = torch.stack([ROWS.exp()[:, [k for k in range(n) if k != j]].mean(1).log() for j in range(n)])
    wanted = n * TABLE.log_q - (n - 1) * left_out.mean(0)
    assert torch.allclose(TABLE.jackknife, wanted, atol=1e-10)


def test_windows_of_large_error_are_flagged_and_left_uncorrected():
    rows = torch.tensor([[[1e-6, 1 - 1e-6], [0.9, 0.1]]], dtype=torch.float64).log()
    found = estimate(table_of(rows, LOG_P[:2].log_softmax(0)), Quantity("pmi"))
    assert found.unreliable.tolist() == [True]
    assert torch.equal(found.corrected, found.value)
