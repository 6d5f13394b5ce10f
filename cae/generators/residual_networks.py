"""Networks of the residual generator: what is added to an image, given the class wanted, and who judges the result."""

from __future__ import annotations

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

MOST_HALVINGS = 5
SKIPS = 4  # scales at which the generator sees the encoder's maps


def halvings_for(side: int) -> int:
    """Halvings of an image of this shorter side: five, or as many as leave two pixels.

    >>> halvings_for(256), halvings_for(64), halvings_for(16)
    (5, 5, 3)
    """
    return max(1, min(MOST_HALVINGS, side.bit_length() - 2))


class ConditionalNorm(nn.Module):
    """Batch norm whose scale and shift depend on a class.

    Reference: de Vries et al. 2017, arXiv:1707.00683.
    """

    def __init__(self, channels: int, classes: int):
        super().__init__()
        self.norm = nn.BatchNorm2d(channels, affine=False)
        self.scale, self.shift = nn.Embedding(classes, channels), nn.Embedding(classes, channels)
        nn.init.ones_(self.scale.weight)
        nn.init.zeros_(self.shift.weight)

    def forward(self, x: Tensor, classes: Tensor) -> Tensor:
        """``(B, C, H, W)`` for the classes ``(B,)``."""
        return self.norm(x) * self.scale(classes)[..., None, None] + self.shift(classes)[..., None, None]


class Stage(nn.Module):
    """Convolution, conditional norm, ReLU; after a halving, or after a doubling and beside maps of the encoder."""

    def __init__(self, inputs: int, outputs: int, classes: int, stride: int = 1):
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.norm = ConditionalNorm(outputs, classes)

    def forward(self, x: Tensor, classes: Tensor) -> Tensor:
        """``(B, inputs, H, W)`` to ``(B, outputs, H / stride, W / stride)``."""
        return F.relu(self.norm(self.conv(x), classes))


class ResidualGenerator(nn.Module):
    """What to do to an image for the class wanted: ``(B, C, H, W)`` in [-1, 1], 0 at first.

    An encoder of halvings with ``width`` channels, doubled at each; a mirrored generator with bilinear doublings and
    skip connections at four scales; conditional norms in both.

    Args:
        channels: of the images.
        classes: K.
        width: channels after the first halving.
        halvings: of the image.

    Reference: after COIN, arXiv:2404.12832; its sizes are width 64 and five halvings.
    """

    def __init__(self, channels: int, classes: int, width: int, halvings: int):
        super().__init__()
        widths = [width * 2**level for level in range(halvings)]
        self.downs = nn.ModuleList(
            Stage(inputs, outputs, classes, 2) for inputs, outputs in pairwise([channels, *widths])
        )
        ups, inputs = [], widths[-1]
        for level in range(halvings - 1, 0, -1):
            kept = widths[level - 1] if halvings - level <= SKIPS else 0
            ups.append(Stage(inputs + kept, widths[level - 1], classes))
            inputs = widths[level - 1]
        self.ups = nn.ModuleList(ups)
        self.last = Stage(inputs, width, classes)
        self.exit = nn.Conv2d(width, channels, 3, 1, 1, bias=False)
        nn.init.zeros_(self.exit.weight)

    def forward(self, images: Tensor, classes: Tensor) -> Tensor:
        """Residuals for images ``(B, C, H, W)`` in [-1, 1] and classes ``(B,)``."""
        maps, x = [], images
        for down in self.downs:
            x = down(x, classes)
            maps.append(x)
        for number, up in enumerate(self.ups):
            skip = maps[-2 - number]
            x = _resized(x, skip)
            x = up(torch.cat([x, skip], 1) if number < SKIPS else x, classes)
        return self.exit(self.last(_resized(x, images), classes)).tanh()


class ProjectionDiscriminator(nn.Module):
    """How real images look as the class that they are to be: ``(B,)``, 1 for real in least squares.

    Reference: Miyato and Koyama 2018, arXiv:1802.05637, figure 1d.
    """

    def __init__(self, channels: int, classes: int, width: int, halvings: int):
        super().__init__()
        widths = [channels, *(width * 2 ** min(level, 3) for level in range(halvings))]
        self.layers = nn.ModuleList(nn.Conv2d(inputs, outputs, 4, 2, 1) for inputs, outputs in pairwise(widths))
        self.score, self.classes = nn.Linear(widths[-1], 1), nn.Embedding(classes, widths[-1])

    def forward(self, images: Tensor, classes: Tensor) -> Tensor:
        """Scores of images ``(B, C, H, W)`` in [-1, 1] under the classes ``(B,)``."""
        x = images
        for layer in self.layers:
            x = F.leaky_relu(layer(x), 0.2)
        pooled = x.mean((2, 3))
        return self.score(pooled)[:, 0] + (self.classes(classes) * pooled).sum(1) / pooled.shape[1] ** 0.5


def blended(images: Tensor, residuals: Tensor) -> Tensor:
    """Images ``(B, C, H, W)`` in [-1, 1] moved by a share of the room that they have: upwards, or downwards below 0.

    A residual of 0 leaves the image as it is, 1 makes it white and -1 black, and black pixels can still be changed. The
    published code squashes the sum, which moves every image even where the residual is 0.

    >>> blended(torch.tensor([0.0, 0.0, -1.0]), torch.tensor([0.0, -0.5, 0.5])).tolist()
    [0.0, -0.5, 0.0]
    """
    # not by two clamps, whose gradient at 0, where the network starts, is 0 (PyTorch 2)
    return images + residuals * torch.where(residuals >= 0, 1 - images, 1 + images)


def _resized(x: Tensor, like: Tensor) -> Tensor:
    return F.interpolate(x, size=like.shape[-2:], mode="bilinear", align_corners=False)
