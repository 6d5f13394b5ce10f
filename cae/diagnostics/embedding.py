"""Measures of an embedding: pure functions of codes, images and class probabilities."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from cae.manifold.graph import nearest

SMALLEST = 1e-12  # floor of probabilities inside logarithms


@dataclass(frozen=True)
class Coherency:
    """Do swaps with one donor's class code get the same probabilities, whatever the recipient? One value per donor.

    ``agreement (M,)`` is Z_j in (0, 1], 1 if and only if all recipients get the same probabilities; ``bias (M,)`` is
    the divergence of their common probabilities from the donor's own, in nats; ``modal_agreement (M,)`` is the share of
    recipients with the commonest class. ``bias - log(agreement)`` is the mean KL(q_j || p_ij).
    """

    agreement: Tensor
    bias: Tensor
    modal_agreement: Tensor


def coherency(donors: Tensor, swaps: Tensor) -> Coherency:
    """Split the mean divergence of swaps from their donor into incoherency and bias.

    Args:
        donors: ``(M, K)`` probabilities q_j of the donors' images.
        swaps: ``(M, N, K)`` probabilities p_ij of the swaps of each donor j with N recipients i.
    """
    q, p = donors.double(), swaps.double()
    mean_log = p.clamp_min(SMALLEST).log().mean(1)  # (M, K)
    log_z = mean_log.logsumexp(1)
    log_g = mean_log - log_z[:, None]  # normalised geometric mean
    bias = (q * (q.clamp_min(SMALLEST).log() - log_g)).sum(1)
    votes = F.one_hot(p.argmax(2), p.shape[2]).double().mean(1)
    return Coherency(log_z.exp(), bias, votes.amax(1))


def participation_ratio(codes: Tensor) -> float:
    """How many dimensions a cloud fills: ``trace(M)^2 / trace(M M)`` of its covariance M.

    Args:
        codes: ``(N, D)``, or anything that flattens to it after the first axis.

    Returns:
        from 1 (a line) to D (a ball); 0 where nothing varies. Unchanged by rotation, shift and scale.
    """
    cloud = codes.flatten(1).double()
    cloud = cloud - cloud.mean(0)
    gram = cloud.T @ cloud if cloud.shape[1] <= cloud.shape[0] else cloud @ cloud.T  # same non-zero eigenvalues
    square = float((gram * gram).sum())
    return float(gram.trace()) ** 2 / square if square > 0 else 0.0


def edit_coherency(edits: Tensor) -> float:
    """Mean pairwise cosine, over recipients, of the edits one donor makes; averaged over donors.

    Args:
        edits: ``(M, N, F)`` features of swap minus features of reconstruction, for M donors and N > 1 recipients.
    """
    unit = F.normalize(edits.double(), dim=2)
    number = edits.shape[1]
    pairwise = (unit.sum(1).square().sum(1) - unit.square().sum((1, 2))) / (number * (number - 1))
    return float(pairwise.mean())


def coverage(train: Tensor, test: Tensor, quantile: float = 0.95) -> float:
    """Share of test codes as close to a training code as ``quantile`` of training codes are to one another.

    Args:
        train: ``(N, D)`` codes in units in which distances mean something; at least two.
        test: ``(M, D)`` likewise.

    Returns:
        about ``quantile`` where both come from one distribution, in [0, 1].
    """
    own = nearest(train, train, 1, exclude_self=True)[0]
    limit = own.flatten().sort().values[math.ceil(quantile * len(own)) - 1]
    return float((nearest(test, train, 1)[0] <= limit).double().mean())


def baseline_codes(codes: Tensor, count: int, seed: int) -> dict[str, Tensor]:
    """Class codes that carry no class, ``(count, D)`` each: what reassignment is to be compared with.

    ``zero_code``: all zeros; ``gaussian_codes``: drawn from the normal distribution with the codes' mean and
    covariance; ``permuted_codes``: each dimension drawn from another random code.
    """
    generator = np.random.default_rng(seed)
    cloud = codes.double().numpy()
    spread = np.atleast_2d(np.cov(cloud, rowvar=False, bias=True))
    gaussian = generator.multivariate_normal(cloud.mean(0), spread, size=count, method="eigh")
    picks = generator.integers(len(cloud), size=(count, cloud.shape[1]))
    permuted = np.take_along_axis(cloud, picks, axis=0)
    return {
        "zero_code": torch.zeros(count, cloud.shape[1], dtype=codes.dtype),
        "gaussian_codes": torch.from_numpy(gaussian).to(codes.dtype),
        "permuted_codes": torch.from_numpy(permuted).to(codes.dtype),
    }


def peak_signal_to_noise(mean_squared_error: Tensor) -> Tensor:
    """Peak signal-to-noise ratio in dB of images in [0, 1]; errors below 1e-10 count as that (100 dB)."""
    return -10 * mean_squared_error.clamp_min(1e-10).log10()
