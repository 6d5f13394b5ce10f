"""Losses and training rules of the published class association embedding, as released (arXiv:2406.07961)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cae.models.published import PublishedCAE

GENERATOR_WEIGHTS = {
    "reconstruction": 10.0,
    "cycle": 10.0,
    "individual_code": 1.0,
    "class_code": 1.0,
    "adversarial": 1.0,
    "class_head": 1.0,
}
DISCRIMINATOR_WEIGHTS = {"fake": 1.0, "real": 1.0, "class_head": 2.0}
_FAKE, _REAL = 0, 1  # the first two logits of the discriminator; those of the classes follow


def published_pairs(labels: Tensor, generator: torch.Generator | None = None) -> tuple[Tensor, Tensor]:
    """Pair images of class 0 (normal) with images of any other class, both shuffled; the shorter side ends the pass.

    Args:
        labels: ``(N,)`` labels of a data set or batch, or predictions of the classifier.
        generator: source of randomness, on any device.

    Returns:
        Indices ``(n,)`` of normal images and ``(n,)`` of their partners, each at most once;
        n = min(#class 0, #others), which is 0 where one side is missing.
    """

    def shuffled(indices: Tensor) -> Tensor:
        device = generator.device if generator is not None else indices.device
        return indices[torch.randperm(len(indices), generator=generator, device=device).to(indices.device)]

    known = labels >= 0  # -1 is an image without a label
    normal, abnormal = shuffled(torch.nonzero(labels == 0)[:, 0]), shuffled(torch.nonzero(known & (labels != 0))[:, 0])
    count = min(len(normal), len(abnormal))
    return normal[:count], abnormal[:count]


@dataclass(frozen=True)
class Direction:
    """One recipient-donor direction (i, j) of the generator's step; images in [-1, 1], gradients everywhere."""

    original: Tensor  # x_i (B, C, H, W)
    reconstruction: Tensor  # G(c_i, s_i)
    cycle: Tensor  # G(c_i, E_s(x_ij))
    individual_code: Tensor  # s_i
    individual_read: Tensor  # E_s(x_ij)
    class_code: Tensor  # c_j
    class_read: Tensor  # E_c(x_ij)
    scores: Tensor  # D(x_ij) (B, 2 + K)
    labels: Tensor  # y_j (B,)


@dataclass(frozen=True)
class DiscriminatorScores:
    """One direction of the discriminator's step: logits ``(B, 2 + K)`` of real x_j and of sg(x_ij), labels y_j."""

    real: Tensor
    fake: Tensor
    labels: Tensor


def published_directions(
    cae: PublishedCAE, discriminator: nn.Module, images: tuple[Tensor, Tensor], labels: tuple[Tensor, Tensor]
) -> tuple[Direction, Direction]:
    """What the generator's step needs, for (a, b) and (b, a).

    Args:
        cae: encoders and decoder.
        discriminator: D; the caller keeps this step's gradients out of its parameters.
        images: those of class 0 and their partners (``published_pairs``), each ``(B, C, H, W)`` in [0, 1].
        labels: their labels (published) or the classifier's predictions, each ``(B,)`` int64.
    """
    originals = [2 * image - 1 for image in images]
    codes = [cae.encoders(x) for x in originals]

    def direction(i: int, j: int) -> Direction:
        (own_class, individual), donor_class = codes[i], codes[j][0]
        swap = cae.decoder(donor_class, individual)
        class_read, individual_read = cae.encoders(swap)
        return Direction(
            original=originals[i],
            reconstruction=cae.decoder(own_class, individual),
            cycle=cae.decoder(own_class, individual_read),  # the original class code, not one read again
            individual_code=individual,
            individual_read=individual_read,
            class_code=donor_class,
            class_read=class_read,
            scores=discriminator(swap),
            labels=labels[j],
        )

    return direction(0, 1), direction(1, 0)


def published_scores(
    cae: PublishedCAE, discriminator: nn.Module, images: tuple[Tensor, Tensor], labels: tuple[Tensor, Tensor]
) -> tuple[DiscriminatorScores, DiscriminatorScores]:
    """What the discriminator's step needs, for (a, b) and (b, a); arguments as for ``published_directions``."""
    with torch.no_grad():
        originals = [2 * image - 1 for image in images]
        codes = [cae.encoders(x) for x in originals]
        swaps = [cae.decoder(codes[j][0], codes[i][1]) for i, j in ((0, 1), (1, 0))]
    first, second = (
        DiscriminatorScores(discriminator(originals[j]), discriminator(swap), labels[j])
        for swap, j in zip(swaps, (1, 0), strict=True)
    )
    return first, second


def _fake_or_real(scores: Tensor, is_real: int) -> Tensor:
    """Cross-entropy of the fake/real logits, mean over the batch."""
    target = torch.full((len(scores),), is_real, dtype=torch.int64, device=scores.device)
    return F.cross_entropy(scores[:, :2].float(), target)


def _class_head(scores: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy of the class logits, mean over the batch."""
    return F.cross_entropy(scores[:, 2:].float(), labels)


def _weighted_sums(per_direction: Iterable[Mapping[str, Tensor]], weights: Mapping[str, float]) -> dict[str, Tensor]:
    """Weight times the sum over directions of each term."""
    directions = list(per_direction)
    return {name: weight * torch.stack([d[name] for d in directions]).sum() for name, weight in weights.items()}


def published_generator_loss(
    directions: Sequence[Direction], weights: Mapping[str, float] = GENERATOR_WEIGHTS
) -> dict[str, Tensor]:
    """The published loss of encoders and decoder, summed over directions; the terms' sum is L_G.

    ``L_G = 10 mean|G(c_i,s_i) - x_i| + 10 mean|G(c_i,E_s(x_ij)) - x_i| + mean|E_s(x_ij) - s_i| + mean|E_c(x_ij) - c_j|
    + CE(D_rf(x_ij), real) + CE(D_cls(x_ij), y_j)``, images in [-1, 1], gradients on both sides of each difference.

    Args:
        directions: of ``published_directions``.
        weights: of the terms; all ones give the raw terms.

    Returns:
        Weighted scalars named as in ``GENERATOR_WEIGHTS``.
    """

    def terms(d: Direction) -> dict[str, Tensor]:
        return {
            "reconstruction": (d.reconstruction - d.original).abs().mean(),
            "cycle": (d.cycle - d.original).abs().mean(),
            "individual_code": (d.individual_read - d.individual_code).abs().mean(),
            "class_code": (d.class_read - d.class_code).abs().mean(),
            "adversarial": _fake_or_real(d.scores, _REAL),
            "class_head": _class_head(d.scores, d.labels),
        }

    return _weighted_sums((terms(d) for d in directions), weights)


def published_discriminator_loss(
    scores: Sequence[DiscriminatorScores], weights: Mapping[str, float] = DISCRIMINATOR_WEIGHTS
) -> dict[str, Tensor]:
    """The published loss of the discriminator, summed over directions; the terms' sum is L_D.

    ``L_D = CE(D_rf(sg x_ij), fake) + CE(D_rf(x_j), real) + 2 CE(D_cls(x_j), y_j)``: the class head sees no swap.

    Args:
        scores: of ``published_scores``.
        weights: of the terms; all ones give the raw terms.

    Returns:
        Weighted scalars named as in ``DISCRIMINATOR_WEIGHTS``.
    """

    def terms(s: DiscriminatorScores) -> dict[str, Tensor]:
        return {
            "fake": _fake_or_real(s.fake, _FAKE),
            "real": _fake_or_real(s.real, _REAL),
            "class_head": _class_head(s.real, s.labels),
        }

    return _weighted_sums((terms(s) for s in scores), weights)


def published_learning_rate(iteration: int, max_steps: int, base: float = 1e-4) -> float:
    """Learning rate ``base * 0.5^floor(iteration / (max_steps / 10))``: halved ten times over the training."""
    return base * 0.5 ** (10 * iteration // max_steps)


def published_optimiser(parameters: Iterable[nn.Parameter]) -> torch.optim.Adam:
    """The published optimiser of either side: Adam 1e-4, betas (0.5, 0.999), L2 weight decay 1e-4."""
    return torch.optim.Adam(parameters, lr=1e-4, betas=(0.5, 0.999), weight_decay=1e-4)
