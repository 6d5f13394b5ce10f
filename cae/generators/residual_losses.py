"""Losses of the residual generator: convince the classifier and the discriminator, and change little."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

ADVERSARIAL, CLASSIFIER, CYCLE, VARIATION = 1.0, 1.0, 1.0, 5e-5  # weights
LEVELS = 127.5  # grey levels of 255 in a unit of [-1, 1]


def real_loss(scores: Tensor) -> Tensor:
    """``mean (D - 1)²``: least squares, for what is to count as real.

    Reference: Mao et al. 2017, arXiv:1611.04076, eq. 9.
    """
    return (scores - 1).square().mean()


def discriminator_loss(real: Tensor, made: Tensor) -> Tensor:
    """``mean (D(x, y) - 1)² / 2 + mean D(x', t)² / 2`` of scores ``(B,)`` of real images and of generated ones."""
    return (real_loss(real) + made.square().mean()) / 2


def variation_in_levels(changes: Tensor) -> Tensor:
    """Sum over the image of the absolute differences of neighbouring pixels, in grey levels; mean over images.

    Args:
        changes: ``(B, C, H, W)`` in [-2, 2], differences of images in [-1, 1].
    """
    down = (changes[..., 1:, :] - changes[..., :-1, :]).abs().flatten(1).sum(1)
    right = (changes[..., 1:] - changes[..., :-1]).abs().flatten(1).sum(1)
    return LEVELS * (down + right).mean()


def generator_terms(
    images: Tensor, made: Tensor, back: Tensor, scores: Tensor, logits: Tensor, wanted: Tensor
) -> dict[str, Tensor]:
    """Weighted terms of the generator's loss; their sum is the loss.

    ``(D(x', t) - 1)² + KL(e_t || f(x')) + |x' - x| + |x'' - x| + 5e-5 TV(x' - x)``.

    Args:
        images: x, ``(B, C, H, W)`` in [-1, 1].
        made: x', the edits towards the classes wanted.
        back: x'', the edits of the edits, back towards the images' own classes.
        scores: ``(B,)`` of the discriminator for x'.
        logits: ``(B, K)`` of the classifier for x'.
        wanted: ``(B,)`` classes t.

    Reference: after COIN, arXiv:2404.12832, as its public code weighs the terms.
    """
    return {
        "adversarial": ADVERSARIAL * real_loss(scores),
        "classifier": CLASSIFIER * F.cross_entropy(logits, wanted),
        "change": CYCLE * (made - images).abs().mean(),
        "cycle": CYCLE * (back - images).abs().mean(),
        "variation": VARIATION * variation_in_levels(made - images),
    }


def drawn_classes(count: int, classes: int, device: torch.device | str = "cpu") -> Tensor:
    """A class wanted for each of ``count`` images, all equally likely, their own among them."""
    return torch.randint(classes, (count,), device=device)
