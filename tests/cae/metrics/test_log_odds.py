import pytest
import torch

from cae.metrics.log_odds import log_complement, log_odds

LOGITS = torch.randn(4, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def test_log_odds_are_those_of_the_probability():
    p = LOGITS.softmax(1)[:, 2]
    assert torch.allclose(log_odds(LOGITS, 2), torch.log(p / (1 - p)))
    assert torch.allclose(log_odds(LOGITS + 7, 2), log_odds(LOGITS, 2))
    assert torch.equal(log_odds(LOGITS[None], 2)[0], log_odds(LOGITS, 2))


def test_nothing_cancels_where_the_class_is_sure():
    log_p = torch.tensor([40.0, 0.0], dtype=torch.float64).log_softmax(0)
    assert float(log_complement(log_p, 0)) == pytest.approx(-40, abs=1e-12)
    assert float(log_odds(log_p, 0)) == pytest.approx(40, abs=1e-12)


def test_the_gradient_of_log_odds_is_that_of_logit_minus_the_softmax_of_the_others():
    logits = LOGITS.clone().requires_grad_()
    log_odds(logits, 2).sum().backward()
    wanted = -LOGITS.clone().index_fill_(1, torch.tensor([2]), -torch.inf).softmax(1)
    wanted[:, 2] = 1
    assert torch.allclose(logits.grad, wanted)
    assert torch.equal(logits, LOGITS)  # not written to
