"""The distribution of a patch given the image around it, as a network."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cae.errors import UserError
from explainers.infills import likelihood
from explainers.infills.base import place_crops
from explainers.infills.networks import PUBLISHED_WINDOWS, PatchUNet, PublishedNetwork


class PatchDistribution(nn.Module):
    """The distribution of a window of K pixels given the image around it.

    Args:
        channels: C of the images.
        window: K.
        architecture: ``unet``, or ``published`` for windows of 4 or 8.
        head: ``categorical`` for independent pixels of 256 levels, ``lowrank`` for one Gaussian over the patch.
        width: channels of the U-Net's finest level.
        factors: of the Gaussian's covariance.

    Raises:
        UserError: for a window that the published network cannot take.
    """

    def __init__(
        self,
        channels: int,
        window: int,
        architecture: str = "unet",
        head: str = "categorical",
        width: int = 32,
        factors: int = 16,
    ):
        super().__init__()
        self.sizes = {
            "channels": channels, "window": window, "architecture": architecture, "head": head, "width": width,
            "factors": factors,
        }  # fmt: skip
        self.channels, self.window, self.head, self.factors = channels, window, head, factors
        outputs = channels * (likelihood.LEVELS if head == "categorical" else 2 + factors)
        if architecture == "published" and window not in PUBLISHED_WINDOWS:
            raise UserError(f"`sampler.architecture=published` is for windows of 4 or 8 pixels, but got {window}.")
        self.network: nn.Module = (
            PublishedNetwork(channels, window, outputs)
            if architecture == "published"
            else PatchUNet(channels, window, outputs, width)
        )

    @torch.no_grad()
    def begin_at(self, counts: Tensor) -> None:
        """Let the untrained categorical head give each channel's histogram, ``counts (C, 256)``."""
        if self.head != "categorical":
            return
        last = [layer for layer in self.network.modules() if isinstance(layer, nn.Conv2d)][-1]
        last.weight.mul_(0.1)
        if last.bias is not None:
            last.bias.copy_((counts.double() + 1).log().sub((counts.double() + 1).sum(1, keepdim=True).log()).flatten())

    def forward(self, images: Tensor, rows: Tensor, tops: Tensor) -> Tensor:
        """What the network says of windows.

        Args:
            images: ``(B, C, H, W)`` in [0, 1].
            rows: ``(M,)`` image of each window.
            tops: ``(M, 2)`` upper left pixels of the windows.

        Returns:
            ``(M, outputs, K, K)``.
        """
        k = self.window
        inside = torch.ones_like(images[:, :1])
        padded = F.pad(torch.cat([images, inside], 1), [k] * 4)
        around = place_crops(padded, rows, tops, 3 * k)
        return self.network(around[:, :-1], around[:, -1:])

    def bits(self, images: Tensor, rows: Tensor, tops: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Bits per dimension ``(M,)`` of windows; the ``lowrank`` head draws its noise from the generator."""
        outputs = self(images, rows, tops)
        patches = place_crops(images, rows, tops, self.window)
        if self.head == "categorical":
            return likelihood.categorical_bits(outputs, patches)
        uniform = torch.rand(patches.shape, generator=generator, device=generator.device if generator else None)
        return likelihood.lowrank_bits(outputs, patches, uniform.to(patches.device))

    def draws(self, outputs: Tensor, n: int, generators: Sequence[torch.Generator]) -> Tensor:
        """Draws ``(M, n, C, K, K)`` in [0, 1], each window's from its own generator."""
        k, size = self.window, self.channels * self.window**2
        if self.head == "categorical":
            uniform = torch.stack([torch.rand(n, size, generator=generator) for generator in generators])
            shape = (self.channels, k, k)
            return likelihood.categorical_draws(outputs, uniform.to(outputs.device).unflatten(2, shape))
        normal = torch.stack([torch.randn(n, size + self.factors, generator=generator) for generator in generators])
        return likelihood.lowrank_draws(outputs, self.channels, normal.to(outputs.device))
