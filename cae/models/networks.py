"""Encoders, decoder and discriminator of the class association embedding: plain modules, shapes in the docstrings.

Sizes follow one rule: at ``1 / 2^k`` of the image side a feature map has ``widths(width)[k]`` channels. The first
halving folds 2 x 2 pixels into channels, because convolutions at full resolution cost most and see least.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cae.models.resampling import bilinear, doubled_convolution

STRENGTH = 4.0  # per squared standard deviation of a code; see Editor


def channels_at(width: int, level: int) -> int:
    """Channels at ``1 / 2^level`` of the image side: w, 2w, 3w, then constant."""
    return width * min(max(level, 1), 3)


def normalisation(channels: int) -> nn.GroupNorm:
    """Group norm with as many groups of at least 8 channels as divide them."""
    groups = next(g for g in range(max(channels // 8, 1), 0, -1) if channels % g == 0)
    return nn.GroupNorm(groups, channels)


class Fold(nn.Module):
    """Halve the side by folding 2 x 2 pixels into channels, then a 3 x 3 convolution; odd sides are padded."""

    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        self.conv = nn.Conv2d(4 * inputs, outputs, 3, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        """``(B, inputs, H, W)`` to ``(B, outputs, ceil(H / 2), ceil(W / 2))``."""
        x = F.pad(x, (0, x.shape[-1] % 2, 0, x.shape[-2] % 2), mode="replicate")
        return self.conv(F.pixel_unshuffle(x, 2))


class ResidualBlock(nn.Module):
    """Norm, SiLU, 3 x 3 convolution, twice, added to the input."""

    def __init__(self, channels: int):
        super().__init__()
        self.first_norm, self.second_norm = normalisation(channels), normalisation(channels)
        self.first, self.second = nn.Conv2d(channels, channels, 3, 1, 1), nn.Conv2d(channels, channels, 3, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        """``(B, channels, H, W)`` to the same shape."""
        h = self.first(F.silu(self.first_norm(x)))
        return x + self.second(F.silu(self.second_norm(h)))


def downsampling(channels: int, width: int, levels: int) -> nn.Sequential:
    """``levels`` halvings: fold, then strided convolutions, each with norm and SiLU between."""
    layers: list[nn.Module] = [Fold(channels, channels_at(width, 1))]
    for level in range(1, levels):
        inputs, outputs = channels_at(width, level), channels_at(width, level + 1)
        layers += [normalisation(inputs), nn.SiLU(), nn.Conv2d(inputs, outputs, 4, 2, 1)]
    return nn.Sequential(*layers)


class ClassEncoder(nn.Module):
    """E_c: image to a class code without any place in it (global average and maximum).

    Batch norm, because norms within an image remove from the average what tells how much evidence the image holds:
    with group norm this encoder needs some ten times the steps to learn the probabilities of a classifier.
    """

    def __init__(self, channels: int, class_dim: int, width: int, levels: int):
        super().__init__()
        layers: list[nn.Module] = [Fold(channels, channels_at(width, 1))]
        for level in range(1, levels):
            inputs, outputs = channels_at(width, level), channels_at(width, level + 1)
            layers += [nn.BatchNorm2d(inputs), nn.ReLU(inplace=True), nn.Conv2d(inputs, outputs, 4, 2, 1)]
        top = channels_at(width, levels)
        self.body = nn.Sequential(*layers, nn.BatchNorm2d(top), nn.ReLU(inplace=True))
        self.head = nn.Linear(2 * top, class_dim)

    def forward(self, x: Tensor) -> Tensor:
        """``(B, C, H, W)`` to ``(B, D)``."""
        return self.read(x)[0]

    def read(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        """``(B, C, H, W)`` to the code ``(B, D)`` and the maps ``(B, ..., h, w)`` it is read from, fine to coarse."""
        evidence, h = [], x
        for module in self.body:
            h = module(h)
            if isinstance(module, nn.ReLU):
                evidence.append(h)
        return self.head(torch.cat([h.mean((2, 3)), h.amax((2, 3))], dim=1)), evidence


class Evidence(nn.Module):
    """Tells the editor where the class encoder sees what: its maps, added to the trunk's features.

    The editor is taught by swaps alone and sees a few of each pair of classes in a step; the class encoder has found
    by then what tells the classes in thousands of images.

    Args:
        inputs: channels of the class encoder's maps, fine to coarse.
        levels: halvings of the image side down to each map.
        outputs: channels of the trunk's features, the coarsest first, down to 1/2 of the image side.
    """

    def __init__(self, inputs: Sequence[int], levels: Sequence[int], outputs: Sequence[int]):
        super().__init__()
        # each feature gets the maps of its own resolution and of all coarser ones; where there are none, the coarsest
        self.first = [
            next((place for place, level in enumerate(levels) if level >= own), len(inputs) - 1)
            for own in range(len(outputs), 0, -1)
        ]
        self.maps = nn.ModuleList(
            nn.Conv2d(sum(inputs[first:]), channels, 1) for first, channels in zip(self.first, outputs, strict=True)
        )

    def forward(self, features: Sequence[Tensor], evidence: Sequence[Tensor]) -> list[Tensor]:
        """Features of ``Trunk`` and maps of ``ClassEncoder.read`` to features of the same shapes."""
        found = []
        convolutions = cast(Iterable[nn.Conv2d], self.maps)
        for feature, first, convolution in zip(features, self.first, convolutions, strict=True):
            maps = evidence[first:]
            # a convolution of single pixels and a resampling commute: the small maps are convolved, few channels grow
            weights = convolution.weight.split([level.shape[1] for level in maps], dim=1)
            for level, weight in zip(maps, weights, strict=True):
                feature = feature + bilinear(F.conv2d(level, weight), feature.shape[-2:])
            found.append(feature if convolution.bias is None else feature + convolution.bias[:, None, None])
        return found


class IndividualEncoder(nn.Module):
    """E_s: image to a narrow feature map that keeps places.

    A linear map of each patch beside the convolutions carries fine detail from the first step on; without it, thin
    structures are lost for a thousand steps, and what the code has lost no edit can remove.
    """

    def __init__(self, channels: int, code_channels: int, width: int, levels: int, blocks: int):
        super().__init__()
        top = channels_at(width, levels)
        self.body = nn.Sequential(
            downsampling(channels, width, levels),
            *(ResidualBlock(top) for _ in range(blocks)),
            normalisation(top),
            nn.SiLU(),
        )
        self.head = nn.Conv2d(top, code_channels, 1)
        self.unit = 2**levels  # side of a patch
        self.patches = nn.Conv2d(channels * self.unit**2, code_channels, 1, bias=False)
        nn.init.orthogonal_(self.patches.weight)

    def forward(self, x: Tensor) -> Tensor:
        """``(B, C, H, W)`` to ``(B, S, H / 2^levels, W / 2^levels)``."""
        return self.head(self.body(x)) + self.patches(F.pixel_unshuffle(x, self.unit))


class Trunk(nn.Module):
    """The part of the decoder that sees the individual code alone: a base image, and features for the edit.

    Everything here is computed once per recipient, however many class codes it is then joined with.
    """

    def __init__(self, channels: int, code_channels: int, width: int, levels: int, blocks: int):
        super().__init__()
        top = channels_at(width, levels)
        self.entry = nn.Sequential(nn.Conv2d(code_channels, top, 3, 1, 1), *(ResidualBlock(top) for _ in range(blocks)))
        self.ups = nn.ModuleList(
            Up(channels_at(width, level + 1), channels_at(width, level)) for level in range(levels - 1, 0, -1)
        )
        self.exit = Up(channels_at(width, 1), channels)
        self.unit = 2**levels
        self.patches = nn.Conv2d(code_channels, channels * self.unit**2, 1, bias=False)

    def start_from(self, encoder: IndividualEncoder) -> None:
        """Let the linear map of patches start as the inverse of the encoder's, as far as the code is wide enough."""
        with torch.no_grad():
            self.patches.weight.copy_(encoder.patches.weight.transpose(0, 1))

    def forward(self, individual_code: Tensor) -> tuple[Tensor, list[Tensor]]:
        """``(B, S, h, w)`` to the base image ``(B, C, H, W)``, unbounded, and one feature map per resolution."""
        h = self.entry(individual_code)
        features = [h]
        for up in self.ups:
            h = up(h)
            features.append(h)
        return self.exit(h) + F.pixel_shuffle(self.patches(individual_code), self.unit), features


class Up(nn.Module):
    """Double the side (nearest), 3 x 3 convolution."""

    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        self.norm = normalisation(inputs)
        self.conv = nn.Conv2d(inputs, outputs, 3, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        """``(B, inputs, H, W)`` to ``(B, outputs, 2H, 2W)``."""
        return doubled_convolution(F.silu(self.norm(x)), self.conv.weight, self.conv.bias)


class Modulated(nn.Module):
    """Adaptive group norm: the class code sets gain and bias of every channel, then SiLU and a 3 x 3 convolution."""

    def __init__(self, inputs: int, outputs: int, style: int):
        super().__init__()
        self.norm = nn.GroupNorm(normalisation(inputs).num_groups, inputs, affine=False)
        self.affine = nn.Linear(style, 2 * inputs)
        self.conv = nn.Conv2d(inputs, outputs, 3, 1, 1)

    def forward(self, x: Tensor, style: Tensor) -> Tensor:
        """``x (B, inputs, H, W)`` and ``style (B, style)`` to ``(B, outputs, H, W)``."""
        gain, bias = self.affine(style)[..., None, None].chunk(2, dim=1)
        return self.conv(F.silu(torch.addcmul(bias, self.norm(x), 1 + gain)))


class Editor(nn.Module):
    """The part of the decoder that sees the class code: what it paints, and a mask of where.

    It is told the difference d from the class code that the image has already, and its effect is multiplied by
    ``1 - exp(-4 mean(d^2))``: exactly nothing for the image's own code, nearly all at a distance of one standard
    deviation in every dimension. Without that, an image of a class is painted what it shows already once more.
    """

    def __init__(self, channels: int, class_dim: int, width: int, levels: int, masked: bool):
        super().__init__()
        self.channels, self.masked = channels, masked
        style = 4 * width
        self.style = nn.Sequential(nn.Linear(2 * class_dim, style), nn.SiLU(), nn.Linear(style, style), nn.SiLU())
        top = channels_at(width, levels)
        self.entry = nn.ModuleList([Modulated(top, top, style), Modulated(top, top, style)])
        self.ups = nn.ModuleList(
            Modulated(channels_at(width, level + 1), channels_at(width, level), style)
            for level in range(levels - 1, 0, -1)
        )
        last = channels_at(width, 1)
        self.exit = Modulated(last, channels + (1 if masked else 0), style)

    def forward(
        self, features: Sequence[Tensor], class_code: Tensor, own_code: Tensor
    ) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """Features of ``Trunk``, codes ``(B, D)`` asked for and of the base, to paint ``(B, C, H, W)`` and mask.

        The paint is relative: to what surrounds the mask, or without a mask to the base image. The mask is
        ``(B, 1, H, W)`` in [0, 1], and with it come its logits, before the factor; both are None where the editor has
        no mask.
        """
        change = class_code - own_code
        style = self.style(torch.cat([class_code, change], dim=1))
        distance = change.square().mean(1)
        if self.training:  # no gradient: class codes that are driven apart to gain strength never stop growing
            distance = distance.detach()
        strength = -torch.expm1(-STRENGTH * distance)[:, None, None, None]
        h = features[0]
        for block in self.entry:
            h = h + block(h, style)
        for up, feature in zip(self.ups, features[1:], strict=True):
            h = up(_doubled(h), style) + feature
        out = self.exit(_doubled(h), style)
        # bounded by black to white: no loss may gain from driving pixels ever further out of range
        paint = 2 * torch.tanh(out[:, : self.channels] / 2)
        if not self.masked:
            return strength * paint, None, None
        logits = out[:, self.channels :]
        return paint, strength * torch.sigmoid(logits), logits


def _doubled(x: Tensor) -> Tensor:
    # bilinear: an edit that flickers from pixel to pixel is what an adversarial pattern looks like
    return bilinear(x, (2 * x.shape[-2], 2 * x.shape[-1]))


class Discriminator(nn.Module):
    """D: which class an image shows, or that it is a generated one: ``K + 1`` logits, the last for generated.

    Batch norm for the reason given at ``ClassEncoder``; a patch discriminator without it was still at chance after a
    thousand steps, when edits have long settled on whatever convinces the classifier.

    Reference: Salimans et al. 2016, arXiv:1606.03498, section 5.
    """

    def __init__(self, channels: int, classes: int, width: int, levels: int):
        super().__init__()
        layers: list[nn.Module] = [Fold(channels, channels_at(width, 1))]
        for level in range(1, levels):
            inputs, outputs = channels_at(width, level), channels_at(width, level + 1)
            layers += [nn.BatchNorm2d(inputs), nn.LeakyReLU(0.2, inplace=True), nn.Conv2d(inputs, outputs, 4, 2, 1)]
        top = channels_at(width, levels)
        layers += [nn.BatchNorm2d(top), nn.LeakyReLU(0.2, inplace=True), nn.Conv2d(top, top, 3, 1, 1)]
        self.body = nn.Sequential(*layers, nn.BatchNorm2d(top), nn.LeakyReLU(0.2, inplace=True))
        self.head = nn.Linear(2 * top, classes + 1)
        self.to(memory_format=torch.channels_last)

    def forward(self, images: Tensor) -> Tensor:
        """Images ``(B, C, H, W)`` in [0, 1] to logits ``(B, K + 1)``."""
        h = self.body(images.contiguous(memory_format=torch.channels_last))
        return self.head(torch.cat([h.mean((2, 3)), h.amax((2, 3))], dim=1))


class LeakageAdversary(nn.Module):
    """A: tries to read the class from the individual code."""

    def __init__(self, code_channels: int, classes: int, width: int):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(code_channels, 2 * width, 3, 1, 1),
            nn.LeakyReLU(0.2, inplace=True),
            nn.Conv2d(2 * width, 2 * width, 3, 2, 1),
            nn.LeakyReLU(0.2, inplace=True),
        )
        self.head = nn.Linear(4 * width, classes)

    def forward(self, individual_code: Tensor) -> Tensor:
        """``(B, S, h, w)`` to logits ``(B, K)``."""
        h = self.body(individual_code)
        return self.head(torch.cat([h.mean((2, 3)), h.amax((2, 3))], dim=1))


@contextmanager
def fixed_statistics(network: nn.Module) -> Iterator[None]:
    """Within the block, batch norm uses its running statistics and leaves them as they are."""
    training = network.training
    network.eval()
    try:
        yield
    finally:
        network.train(training)
