"""Neural causation coefficients of a class's features against its evidence, and how far they can be trusted."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from cae.metrics.statistics import spearman
from explainers.caes.ncc import NeuralCausation

LEAST_IMAGES = 50  # fewer points say nothing about a direction
POINTS = 100  # as many as in training
SUBSETS = 20
LEAST_AGREEMENT = 0.5  # rank correlation between networks, below which their terms are flagged


@dataclass(frozen=True, eq=False)
class Causation:
    """Coefficients of F features.

    Attributes:
        anticausal: ``(F,)`` mean over the networks, 1 = "the evidence causes the feature"; NaN for a feature that never
            varies.
        spread: ``(F,)`` standard deviation over the networks; NaN for a single one.
        agreement: mean rank correlation over the features between two networks; NaN for a single one.
        link_observed: ``(F,)`` on the one subset of points on which the link test is made.
        link_null: ``(permutations, F)`` there with the evidence permuted over the images.
    """

    anticausal: Tensor
    spread: Tensor
    agreement: float
    link_observed: Tensor
    link_null: Tensor

    @property
    def unstable(self) -> bool:
        """Whether networks that differ by their seed alone disagree on the order of the features."""
        return self.agreement < LEAST_AGREEMENT


def causation_of(
    features: Tensor, evidence: Tensor, ncc: NeuralCausation, permutations: int, seed: int, all_points: bool = False
) -> Causation:
    """Score every feature ``(N, F)`` against the evidence ``(N,)``.

    More than 100 images are scored in 20 random subsets of 100, the number that the networks were trained with, unless
    ``all_points``. The link test permutes the evidence ``permutations`` times.
    """
    generator = torch.Generator().manual_seed(seed)
    subsets = list(_subsets(len(features), generator, all_points))
    by_network = torch.stack([coefficients(features[rows], evidence[rows], ncc) for rows in subsets]).nanmean(0)
    rows = subsets[0]
    return Causation(
        anticausal=by_network.mean(0),
        spread=by_network.std(0) if len(by_network) > 1 else torch.full_like(by_network[0], torch.nan),
        agreement=agreement(by_network),
        link_observed=coefficients(features[rows], evidence[rows], ncc).mean(0).nan_to_num(0.5),
        link_null=torch.stack([
            coefficients(features[rows], evidence[rows][torch.randperm(len(rows), generator=generator)], ncc).mean(0)
            for _ in range(permutations)
        ]).nan_to_num(0.5) if permutations else torch.empty(0, features.shape[1]),
    )  # fmt: skip


def coefficients(features: Tensor, evidence: Tensor, ncc: NeuralCausation) -> Tensor:
    """Anticausal scores ``(M, F)`` by each network, of features ``(N, F)`` against the evidence ``(N,)``."""
    return ncc.scores(features.T.contiguous(), evidence.expand(features.shape[1], -1))


def agreement(by_network: Tensor) -> float:
    """Mean Spearman correlation of scores ``(M, F)`` between two networks, over the features that all of them score."""
    scored = by_network[:, by_network.isfinite().all(0)]
    count = len(scored)
    pairs = [spearman(scored[i], scored[j]) for i in range(count) for j in range(i)]
    return float(torch.stack(pairs).nanmean()) if pairs else float("nan")


def _subsets(count: int, generator: torch.Generator, all_points: bool) -> Iterator[Tensor]:
    if all_points or count <= POINTS:
        yield torch.arange(count)
        return
    for _ in range(SUBSETS):
        yield torch.randperm(count, generator=generator)[:POINTS]
