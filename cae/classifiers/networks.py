"""Two small classifiers of different architecture: one to be explained, one to check edits as an oracle."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

STAGES_SEE = 64  # side in pixels for which the stages are made; larger images are halved before them


def reductions_for(size: Sequence[int]) -> int:
    """Halvings before the stages for images of ``(height, width)``: 0 up to 90 pixels, 1 around 128, 2 around 256.

    With them, the last feature map of any image has about 8 x 8 places, each of which sees most of the image.

    >>> [reductions_for((side, side)) for side in (28, 64, 96, 128, 256, 512)]
    [0, 0, 1, 1, 2, 3]
    """
    return max(0, round(math.log2(math.sqrt(math.prod(size)) / STAGES_SEE)))


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions with batch norm and a shortcut; ``stride`` halves the size."""

    def __init__(self, inputs: int, outputs: int, stride: int):
        super().__init__()
        self.first = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.first_norm = nn.BatchNorm2d(outputs)
        self.second = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.second_norm = nn.BatchNorm2d(outputs)
        self.stride = stride
        same = stride == 1 and inputs == outputs
        self.shortcut = nn.Identity() if same else nn.Conv2d(inputs, outputs, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """``(B, inputs, H, W)`` to ``(B, outputs, H / stride, W / stride)``."""
        h = F.relu(self.first_norm(self.first(x)))
        # a strided 1x1 convolution of few channels, channels last, writes outside its memory (oneDNN 3.13, CPU)
        kept = x[..., :: self.stride, :: self.stride]
        return F.relu(self.second_norm(self.second(h)) + self.shortcut(kept))


class SmallResNet(nn.Module):
    """Residual network of four stages for images from 28 pixels on; average pooling at the end.

    Args:
        classes: number of logits.
        channels: of the images.
        width: channels of the first stage.
        reductions: further halvings between stem and stages, thin and cheap; see ``reductions_for``.
    """

    def __init__(self, classes: int, channels: int = 1, width: int = 16, reductions: int = 0):
        super().__init__()
        self.reductions = reductions
        thin = width // 2 if reductions else width
        self.stem = nn.Conv2d(channels, thin, 5, 2, 2, bias=False)
        self.stem_norm = nn.BatchNorm2d(thin)
        layers: list[nn.Module] = []
        for outputs in [thin] * (reductions - 1) + [width] * min(reductions, 1):
            layers += [nn.Conv2d(thin, outputs, 3, 2, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()]
        self.reduce = nn.Sequential(*layers)
        self.stages = nn.Sequential(
            ResidualBlock(width, width, 1),
            ResidualBlock(width, 2 * width, 2),
            ResidualBlock(2 * width, 4 * width, 2),
            ResidualBlock(4 * width, 4 * width, 1),
        )
        self.head = nn.Linear(4 * width, classes)

    def features(self, images: Tensor) -> Tensor:
        """Penultimate features ``(B, 4 width)`` of images ``(B, C, H, W)``."""
        return self.stages(self.reduce(F.relu(self.stem_norm(self.stem(images))))).mean((2, 3))

    def forward(self, images: Tensor) -> Tensor:
        """Logits ``(B, K)``."""
        return self.head(self.features(images))


class PlainConvNet(nn.Module):
    """No residuals, no strides, max pooling at every stage and at the end: as unlike ``SmallResNet`` as it gets.

    Args:
        classes: number of logits.
        channels: of the images.
        width: twice the channels of the first stage.
        reductions: further stages before the others, each of which halves the size; see ``reductions_for``.
    """

    def __init__(self, classes: int, channels: int = 1, width: int = 16, reductions: int = 0):
        super().__init__()
        self.reductions = reductions
        layers: list[nn.Module] = []
        widths = [channels, *[width // 2] * (reductions + 1), width, 2 * width]
        for inputs, outputs in itertools.pairwise(widths):
            layers += [nn.Conv2d(inputs, outputs, 3, 1, 1), nn.BatchNorm2d(outputs), nn.ReLU(), nn.MaxPool2d(2)]
        for inputs in (2 * width, 4 * width):
            layers += [nn.Conv2d(inputs, 4 * width, 3, 1, 1), nn.BatchNorm2d(4 * width), nn.ReLU()]
        self.body = nn.Sequential(*layers)
        self.hidden = nn.Sequential(nn.Linear(8 * width, 4 * width), nn.ReLU(), nn.Dropout(0.2))
        self.head = nn.Linear(4 * width, classes)

    def features(self, images: Tensor) -> Tensor:
        """Penultimate features ``(B, 4 width)``, from mean and maximum of the last feature map."""
        h = self.body(images)
        return self.hidden(torch.cat([h.mean((2, 3)), h.amax((2, 3))], dim=1))

    def forward(self, images: Tensor) -> Tensor:
        """Logits ``(B, K)``."""
        return self.head(self.features(images))


OWN_NETWORKS: dict[str, type[nn.Module]] = {"resnet": SmallResNet, "plain": PlainConvNet}
