"""ROAD: what is left of the prediction when the most, or the least, relevant pixels are imputed from their neighbours.

Reference: Rong et al. 2022, A Consistent and Efficient Evaluation Strategy for Attribution Methods, arXiv:2202.00449.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from explainers.infills.imputation import NOISE, linear_imputation

SHARES = tuple(step / 10 for step in range(1, 10))


def road_noise(image: Tensor, noise: torch.Generator) -> Tensor:
    """The noise ``(9, C, H, W)`` of one image's levels, to be shared by all methods."""
    return (NOISE * torch.randn(len(SHARES), *image.shape, generator=noise)).to(image.device)


def road_images(image: Tensor, rank: Tensor, noise: Tensor) -> Iterator[Tensor]:
    """The image with 10, 20, .., 90 % of its pixels imputed, the first in rank first.

    Args:
        image: ``(C, H, W)`` in [0, 1].
        rank: ``(H W,)`` of the pixels, 0 for the first to go.
        noise: ``(9, C, H, W)``.
    """
    place = rank.view(1, 1, *image.shape[1:])
    for share, draw in zip(SHARES, noise, strict=True):
        yield linear_imputation(image, place < round(share * rank.numel()), draw[None])[0]


def road(most_first: Tensor, least_first: Tensor) -> float:
    """Mean over the levels of half the difference, in [-0.5, 0.5]; high is good.

    Args:
        most_first: ``(9,)`` probabilities (or hits) with the most relevant pixels imputed.
        least_first: ``(9,)`` likewise with the least relevant ones.
    """
    return float((least_first.double() - most_first.double()).mean() / 2)
