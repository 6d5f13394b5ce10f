"""The networks of preset `published`: the published class association embedding, as released.

Images are in [-1, 1] in this file. Differences from the released code only are such as do not change what it computes:
sizes are arguments, and AdaIN parameters are passed instead of written into modules, which is unsafe in parallel.

Reference: Xie et al. 2024, arXiv:2406.07961, with the authors' code; the network is that of Huang et al. 2018 (MUNIT),
arXiv:1804.04732, with one encoder and decoder for all classes.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def convolution(inputs: int, outputs: int, kernel: int, stride: int = 1) -> nn.Conv2d:
    """Convolution with bias and reflection padding: 3 for kernel 7, 2 for 5, 1 for 4 and 3, none for 1."""
    padding = (kernel - 1) // 2
    return nn.Conv2d(inputs, outputs, kernel, stride, padding, padding_mode="reflect" if padding else "zeros")


def adaptive_instance_norm(features: Tensor, gain: Tensor, bias: Tensor, epsilon: float = 1e-5) -> Tensor:
    """AdaIN ``(h - mean) / sqrt(biased variance + epsilon) * gain + bias`` per image and channel.

    Args:
        features: ``(B, C, H, W)``.
        gain: ``(B, C)``, used as it is (not 1 + gain).
        bias: ``(B, C)``.
        epsilon: guard of a constant channel.

    Reference: Huang and Belongie 2017, arXiv:1703.06868, eq. 8.
    """
    return F.instance_norm(features, eps=epsilon) * gain[..., None, None] + bias[..., None, None]


class LayerNorm(nn.Module):
    """Per image over C, H, W: ``(h - mean) / (unbiased std + 1e-5)``, then per-channel gain (from U(0, 1)) and bias."""

    def __init__(self, channels: int):
        super().__init__()
        self.gain = nn.Parameter(torch.rand(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, features: Tensor) -> Tensor:
        """``(B, C, H, W)`` to the same shape."""
        mean = features.mean((1, 2, 3), keepdim=True)
        std = features.std((1, 2, 3), keepdim=True)  # unbiased, and the guard added outside the root: as released
        return (features - mean) / (std + 1e-5) * self.gain.view(-1, 1, 1) + self.bias.view(-1, 1, 1)


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions added to the input; what stands after each is the caller's: IN, AdaIN or nothing."""

    def __init__(self, channels: int):
        super().__init__()
        self.first, self.second = convolution(channels, channels, 3), convolution(channels, channels, 3)

    def forward(self, x: Tensor, modulation: tuple[Tensor, Tensor] | None = None) -> Tensor:
        """Norm after both convolutions, ReLU between, no activation after the sum.

        Args:
            x: ``(B, C, H, W)``.
            modulation: gains and biases, each ``(B, 2, C)``, of AdaIN; plain instance norm without.
        """
        if modulation is None:
            return x + F.instance_norm(self.second(F.relu(F.instance_norm(self.first(x)))))
        gain, bias = modulation
        h = F.relu(adaptive_instance_norm(self.first(x), gain[:, 0], bias[:, 0]))
        return x + adaptive_instance_norm(self.second(h), gain[:, 1], bias[:, 1])


class PublishedClassEncoder(nn.Module):
    """E_c: five convolutions without norm, 1x1 to the code, global average; nothing bounds the code."""

    def __init__(self, channels: int = 3, class_dim: int = 8, width: int = 64):
        super().__init__()
        widths = [width, 2 * width, 4 * width, 4 * width, 4 * width]
        blocks: list[nn.Module] = [convolution(channels, width, 7), nn.ReLU()]
        for inputs, outputs in pairwise(widths):
            blocks += [convolution(inputs, outputs, 4, 2), nn.ReLU()]
        self.body = nn.Sequential(*blocks, convolution(4 * width, class_dim, 1))
        initialise_kaiming(self)

    def forward(self, x: Tensor) -> Tensor:
        """``(B, C, H, W)`` in [-1, 1] to the class code ``(B, D)``."""
        return self.body(x).mean((2, 3))


class PublishedIndividualEncoder(nn.Module):
    """E_s: three convolutions with instance norm, two of them halving, then residual blocks."""

    def __init__(self, channels: int = 3, width: int = 64, blocks: int = 6):
        super().__init__()
        self.stem = nn.Sequential(
            *(convolution(channels, width, 7), nn.InstanceNorm2d(width), nn.ReLU()),
            *(convolution(width, 2 * width, 4, 2), nn.InstanceNorm2d(2 * width), nn.ReLU()),
            *(convolution(2 * width, 4 * width, 4, 2), nn.InstanceNorm2d(4 * width), nn.ReLU()),
        )
        self.blocks = nn.Sequential(*(ResidualBlock(4 * width) for _ in range(blocks)))
        initialise_kaiming(self)

    def forward(self, x: Tensor) -> Tensor:
        """``(B, C, H, W)`` in [-1, 1] to the individual code ``(B, 4 width, H / 4, W / 4)``."""
        return self.blocks(self.stem(x))


class PublishedEncoders(nn.Module):
    """Both encoders: ``(B, C, H, W)`` in [-1, 1] to ``(class_code, individual_code)``."""

    def __init__(self, channels: int = 3, class_dim: int = 8, width: int = 64, blocks: int = 6):
        super().__init__()
        self.class_encoder = PublishedClassEncoder(channels, class_dim, width)
        self.individual_encoder = PublishedIndividualEncoder(channels, width, blocks)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Class code ``(B, D)`` and individual code ``(B, 4 width, H / 4, W / 4)``."""
        return self.class_encoder(x), self.individual_encoder(x)


class PublishedDecoder(nn.Module):
    """G: residual blocks modulated by the class code (AdaIN), two doublings with layer norm, tanh."""

    def __init__(self, channels: int = 3, class_dim: int = 8, width: int = 64, blocks: int = 6):
        super().__init__()
        inner = 4 * width
        self.blocks = nn.ModuleList(ResidualBlock(inner) for _ in range(blocks))
        self.upsampling = nn.Sequential(
            *(nn.Upsample(scale_factor=2), convolution(inner, 2 * width, 5), LayerNorm(2 * width), nn.ReLU()),
            *(nn.Upsample(scale_factor=2), convolution(2 * width, width, 5), LayerNorm(width), nn.ReLU()),
            *(convolution(width, channels, 7), nn.Tanh()),
        )
        self.mlp = nn.Sequential(
            *(nn.Linear(class_dim, inner), nn.ReLU(), nn.Linear(inner, inner), nn.ReLU()),
            nn.Linear(inner, 2 * 2 * blocks * inner),
        )
        initialise_kaiming(self)

    def modulation(self, class_code: Tensor) -> tuple[Tensor, Tensor]:
        """Gains and biases of the AdaIN layers in network order, each ``(B, blocks, 2, 4 width)``."""
        # per norm, the biases come before the gains
        values = self.mlp(class_code).view(len(class_code), len(self.blocks), 2, 2, -1)
        return values[:, :, :, 1], values[:, :, :, 0]

    def forward(self, class_code: Tensor, individual_code: Tensor) -> Tensor:
        """``(B, D)`` and ``(B, 4 width, h, w)`` to images ``(B, C, 4h, 4w)`` in [-1, 1]."""
        gain, bias = self.modulation(class_code)
        h = individual_code
        for index, block in enumerate(self.blocks):
            h = block(h, (gain[:, index], bias[:, index]))
        return self.upsampling(h)


class DiscriminatorBlock(nn.Module):
    """3x3 convolution, LeakyReLU, 3x3 convolution, added to the input."""

    def __init__(self, channels: int):
        super().__init__()
        self.first, self.second = convolution(channels, channels, 3), convolution(channels, channels, 3)

    def forward(self, x: Tensor) -> Tensor:
        """``(B, C, H, W)`` to the same shape."""
        return x + self.second(F.leaky_relu(self.first(x), 0.2))


class PublishedDiscriminator(nn.Module):
    """D: one global score; logits 0 and 1 are fake and real, those from 2 on the classes."""

    def __init__(self, classes: int, channels: int = 3, width: int = 64):
        super().__init__()
        widths = [channels, width, 2 * width, 4 * width, 8 * width]
        blocks: list[nn.Module] = []
        for inputs, outputs in pairwise(widths):
            blocks += [convolution(inputs, outputs, 4, 2), nn.LeakyReLU(0.2)]
        self.body = nn.Sequential(*blocks, DiscriminatorBlock(8 * width), DiscriminatorBlock(8 * width))
        self.head = nn.Sequential(
            *(nn.Linear(8 * width, 4 * width), nn.ReLU(), nn.Dropout(0.4), nn.Linear(4 * width, 2 + classes))
        )
        initialise_normal(self)

    def forward(self, x: Tensor) -> Tensor:
        """``(B, C, H, W)`` in [-1, 1] to logits ``(B, 2 + K)``."""
        return self.head(self.body(x).mean((2, 3)))


def initialise_kaiming(module: nn.Module) -> None:
    """Kaiming-normal weights (fan in, a = 0) and zero biases of all convolutions and linear maps."""
    for weight, bias in _weights_and_biases(module):
        nn.init.kaiming_normal_(weight, a=0, mode="fan_in")
        nn.init.zeros_(bias)


def initialise_normal(module: nn.Module, std: float = 0.02) -> None:
    """Normal weights of mean 0 and zero biases of all convolutions and linear maps."""
    for weight, bias in _weights_and_biases(module):
        nn.init.normal_(weight, 0.0, std)
        nn.init.zeros_(bias)


def _weights_and_biases(module: nn.Module) -> Iterator[tuple[Tensor, Tensor]]:
    for part in module.modules():
        # meta tensors hold no numbers, and drawing normal ones there makes PyTorch import its compiler for seconds
        if isinstance(part, (nn.Conv2d, nn.Linear)) and part.bias is not None and not part.weight.is_meta:
            yield part.weight, part.bias
