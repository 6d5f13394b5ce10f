"""What can be read from class probabilities with a patch there and with it marginalised: pure functions.

Throughout, ``log_p (K,)`` are log-probabilities of the whole image, ``log_q (M, K)`` those with each of M patches
marginalised, ``log q = log mean_n p_n`` over N in-fills. Logarithms are natural; ``y`` is a class.

References: Yi et al. 2020, arXiv:2009.11150 (PMI and information gain); Zintgraf et al. 2017, ICLR, eq. 5 (weight of
evidence). Standard errors by the delta method; bias of the logarithm of a mean to the order 1/N.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from cae.metrics.log_odds import log_complement, log_odds

PUBLISHED_EPSILON = 1e-13  # of the authors' program


def pmi(log_p: Tensor, log_q: Tensor) -> Tensor:
    """Point-wise mutual information of every class and patch, ``(M, K)`` nats: ``log p(y) - log q(y)``.

    Positive where the patch speaks for the class, negative where it speaks against it.
    """
    return log_p - log_q


def published_pmi(log_p: Tensor, log_q: Tensor) -> Tensor:
    """The same with the epsilons of the authors' program, ``(M, K)`` nats."""
    return (log_p.exp() / (log_q.exp() + PUBLISHED_EPSILON) + PUBLISHED_EPSILON).log()


def information_gain(log_p: Tensor, pmi: Tensor) -> Tensor:
    """``KL(p || q)`` of every patch, ``(M,)`` nats, at least 0: the mean of ``pmi (M, K)`` over the classes, by p."""
    return information_gain_terms(log_p, pmi).sum(1)


def information_gain_terms(log_p: Tensor, pmi: Tensor) -> Tensor:
    """Each class's share in the information gain, ``(M, K)`` nats, signed: ``p(y) pmi(y)``."""
    return log_p.exp() * pmi


def binary_information_gain(log_p: Tensor, log_q: Tensor, y: int) -> Tensor:
    """KL divergence of the two-class prediction "y or not", ``(M,)`` nats, in [0, information gain]."""
    log_not_p, log_not_q = log_complement(log_p, y), log_complement(log_q, y)
    return log_p[y].exp() * (log_p[y] - log_q[:, y]) + log_not_p.exp() * (log_not_p - log_not_q)


def weight_of_evidence(log_p: Tensor, log_q: Tensor, y: int, examples: float = math.inf) -> Tensor:
    """Change of the log-odds of class y, ``(M,)`` bits: ``log2 odds(p) - log2 odds(q)``.

    Args:
        log_p: see above.
        log_q: see above.
        y: the class.
        examples: Laplace smoothing ``(p N + 1) / (N + K)`` for a training set of so many images; infinite for none.
    """
    return (_smoothed_log_odds(log_p[None], y, examples) - _smoothed_log_odds(log_q, y, examples)) / math.log(2)


def difference(log_p: Tensor, log_q: Tensor) -> Tensor:
    """``p(y) - q(y)``, ``(M, K)``, in [-1, 1]; with a constant in-fill this is occlusion."""
    return log_p.exp() - log_q.exp()


def contrast(pmi: Tensor, y: int, rival: int) -> Tensor:
    """``pmi(y) - pmi(rival)``, ``(M,)`` nats: the change of the log-odds of y against its rival; does not saturate."""
    return pmi[:, y] - pmi[:, rival]


def group_pmi(log_p: Tensor, log_q: Tensor, classes: Sequence[int]) -> Tensor:
    """PMI of a union of classes, such as synonyms, ``(M,)`` nats."""
    chosen = list(classes)
    return log_p[chosen].logsumexp(0) - log_q[:, chosen].logsumexp(1)


def entropy(log_p: Tensor) -> Tensor:
    """Entropy over the last axis, in nats; ``0 log 0 = 0``."""
    return -(log_p.exp() * log_p.clamp_min(torch.finfo(log_p.dtype).min)).sum(-1)


def entropy_change(log_p: Tensor, log_q: Tensor) -> Tensor:
    """``H(q) - H(p)``, ``(M,)`` nats: positive where the patch makes the classifier surer."""
    return entropy(log_q) - entropy(log_p)


def patch_information(log_q: Tensor, mean_entropy: Tensor) -> Tensor:
    """Mutual information of in-fill and prediction, ``(M,)`` nats, in [0, log N]: how much this place can matter.

    Args:
        log_q: see above.
        mean_entropy: ``(M,)``, the mean over in-fills of the entropy of the class probabilities.
    """
    return entropy(log_q) - mean_entropy


def _smoothed_log_odds(log_p: Tensor, y: int, examples: float) -> Tensor:
    if math.isinf(examples):
        return log_odds(log_p, y)
    yes, no = log_p[:, y].exp(), log_complement(log_p, y).exp()
    return (yes * examples + 1).log() - (no * examples + log_p.shape[1] - 1).log()


def log_mean_error(relative_variance: Tensor, n: Tensor) -> Tensor:
    """Standard error of ``log q``, and so of PMI: ``s / (sqrt(N) q)``.

    Args:
        relative_variance: ``(M, ...)`` unbiased variance of ``p_n / q`` over the in-fills.
        n: ``(M,)`` number of in-fills.
    """
    return (relative_variance / _beside(n, relative_variance)).sqrt()


def log_mean_bias(relative_variance: Tensor, n: Tensor) -> Tensor:
    """By how much PMI comes out too large, to the order 1/N: ``s^2 / (2 N q^2)``; arguments as above."""
    return relative_variance / (2 * _beside(n, relative_variance))


def jackknife_log_mean(log_q: Tensor, ratios: Tensor) -> Tensor:
    """Jackknife estimate of ``log E[p_n]``: ``N log q - (N-1) mean_n log q_(-n)`` (Quenouille 1956).

    Args:
        log_q: ``(M, K)`` logarithm of the mean over the in-fills.
        ratios: ``(M, N, K)`` of each in-fill's probability to that mean, N at least 2.
    """
    n = ratios.shape[1]
    left_out = ((n - ratios).clamp_min(torch.finfo(ratios.dtype).eps) / (n - 1)).log()
    return log_q - (n - 1) * left_out.mean(1)


def contrast_error(own: Tensor, other: Tensor, covariance: Tensor, n: Tensor) -> Tensor:
    """Standard error of the contrast, ``(M,)``, from relative variances and covariance of the two classes ``(M,)``."""
    return ((own + other - 2 * covariance).clamp_min(0) / n).sqrt()


def _beside(n: Tensor, values: Tensor) -> Tensor:
    return n.reshape(-1, *[1] * (values.ndim - 1))
