"""Networks that predict the distribution of a patch from what surrounds it."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

# of ImageNet, which the published network normalises by
PUBLISHED_MEAN, PUBLISHED_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
PUBLISHED_WINDOWS = (4, 8)
FINE_REACH = 4  # pixels that two residual blocks look beyond the window


class ResidualBlock(nn.Module):
    """Two 3 x 3 convolutions with group norms, added to their input; channels ``width``."""

    def __init__(self, width: int):
        super().__init__()
        groups = math.gcd(width, 8)
        self.layers = nn.Sequential(
            nn.GroupNorm(groups, width),
            nn.SiLU(),
            nn.Conv2d(width, width, 3, padding=1),
            nn.GroupNorm(groups, width),
            nn.SiLU(),
            nn.Conv2d(width, width, 3, padding=1),
        )

    def forward(self, x: Tensor) -> Tensor:
        """The same shape."""
        return x + self.layers(x)


class SelfAttention(nn.Module):
    """Attention between all positions of a small map, added to its input; ``(B, width, h, w)``."""

    def __init__(self, width: int):
        super().__init__()
        self.norm = nn.GroupNorm(math.gcd(width, 8), width)
        self.queries_keys_values = nn.Conv2d(width, 3 * width, 1)
        self.out = nn.Conv2d(width, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        """The same shape."""
        q, k, v = self.queries_keys_values(self.norm(x)).flatten(2).transpose(1, 2).chunk(3, dim=2)
        found = F.scaled_dot_product_attention(q, k, v)
        return x + self.out(found.transpose(1, 2).unflatten(2, x.shape[2:]))


class PatchUNet(nn.Module):
    """A U-Net over the window and one window of context around it.

    Args:
        channels: C of the images.
        window: side K of the window.
        outputs: channels of the output.
        width: channels of the finest level; the next ones have two and four times as many.
    """

    def __init__(self, channels: int, window: int, outputs: int, width: int = 32):
        super().__init__()
        self.window = window
        widths = (width, 2 * width, 4 * width)
        self.stem = nn.Conv2d(channels + 2, width, 3, padding=1)
        self.down = nn.ModuleList(nn.Sequential(ResidualBlock(w), ResidualBlock(w)) for w in widths)
        self.shrink = nn.ModuleList(nn.Conv2d(w, 2 * w, 3, stride=2, padding=1) for w in widths[:-1])
        self.attention = SelfAttention(widths[-1])
        self.grow = nn.ModuleList(nn.Conv2d(2 * w, w, 1) for w in widths[:-1])
        self.up = nn.ModuleList(nn.Sequential(ResidualBlock(w), ResidualBlock(w)) for w in widths[:-1])
        self.head = nn.Sequential(nn.GroupNorm(math.gcd(width, 8), width), nn.SiLU(), nn.Conv2d(width, outputs, 1))

    def forward(self, images: Tensor, inside: Tensor) -> Tensor:
        """Predict the window.

        Args:
            images: ``(B, C, 3K, 3K)`` in [0, 1]; the window in the middle and what is outside the image are ignored.
            inside: ``(B, 1, 3K, 3K)``, 1 where there is an image.

        Returns:
            ``(B, outputs, K, K)``.
        """
        k = self.window
        hole = torch.zeros_like(inside)
        hole[..., k : 2 * k, k : 2 * k] = 1
        x = self.stem(torch.cat([(2 * images - 1) * inside * (1 - hole), hole, inside], 1))
        skips = []
        for level, blocks in enumerate(self.down):
            x = blocks(x)
            if level < len(self.shrink):
                skips.append(x)
                x = self.shrink[level](x)
        x = self.attention(x)
        for level in reversed(range(len(skips))):
            skip = skips[level]
            x = F.interpolate(self.grow[level](x), size=skip.shape[2:], mode="nearest") + skip
            if level == 0:  # of the finest level, only the window is wanted
                reach = min(FINE_REACH, k)
                x = x[..., k - reach : 2 * k + reach, k - reach : 2 * k + reach]
            x = self.up[level](x)
        x = x[..., reach : reach + k, reach : reach + k]
        return self.head(x)


class PublishedNetwork(nn.Module):
    """The authors' network, for windows of 4 or 8 pixels: its size grows with the fourth power of the window.

    The same arguments as ``PatchUNet``, whose width it does not take. ``outputs`` was 256 for each channel.

    Reference: Yi et al. 2020, arXiv:2009.11150, the public program.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, channels: int, window: int, outputs: int):
        super().__init__()
        self.window = window
        mean, std = torch.tensor([PUBLISHED_MEAN, PUBLISHED_STD])
        if channels == 1:
            mean, std = mean.mean(0, keepdim=True), std.mean(0, keepdim=True)
        self.register_buffer("mean", mean.view(-1, 1, 1), persistent=False)
        self.register_buffer("std", std.view(-1, 1, 1), persistent=False)
        features, first = min(16 * window * channels, 256), min(window + 1, 9)
        self.context = nn.Sequential(
            SameConv(channels, features, first),
            nn.LeakyReLU(0.2),
            SameConv(features, features, first),
            nn.LeakyReLU(0.2),
        )
        inner: list[nn.Module] = []
        for _ in range(2 + int(math.log2(window))):
            inner += [SameConv(features, features, window), nn.LeakyReLU(0.2)]
        self.inner = nn.Sequential(*inner, SameConv(features, outputs, window))

    def forward(self, images: Tensor, inside: Tensor) -> Tensor:
        """The same as ``PatchUNet``."""
        k = self.window
        x = (images * inside - self.mean) / self.std  # black where there is no image
        x = x.clone()
        x[..., k : 2 * k, k : 2 * k] = 0  # after the normalisation: the mean colour
        x = F.avg_pool2d(self.context(x), 2)
        return self.inner(x[..., k // 4 : k // 4 + k, k // 4 : k // 4 + k])


class SameConv(nn.Sequential):
    """A convolution whose output has the size of its input, also for even kernels."""

    def __init__(self, inputs: int, outputs: int, kernel: int):
        before, after = (kernel - 1) // 2, kernel // 2
        super().__init__(nn.ZeroPad2d((before, after, before, after)), nn.Conv2d(inputs, outputs, kernel))
