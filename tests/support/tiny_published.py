"""The published network in a size that trains in a second, and images for it."""

from __future__ import annotations

import torch
from torch import Tensor

from cae.models.published import PublishedCAE
from cae.models.published_networks import PublishedDiscriminator


def tiny_published() -> tuple[PublishedCAE, PublishedDiscriminator]:
    """Encoders and decoder for grey images of 32 x 32 pixels, and a discriminator of three classes."""
    torch.manual_seed(0)
    cae = PublishedCAE((1, 32, 32), class_dim=3, width=4, blocks=1)
    return cae, PublishedDiscriminator(classes=3, channels=1, width=4)


def pair_of_images() -> tuple[Tensor, Tensor]:
    """Two batches of two images each."""
    generator = torch.Generator().manual_seed(1)
    return torch.rand(2, 1, 32, 32, generator=generator), torch.rand(2, 1, 32, 32, generator=generator)
