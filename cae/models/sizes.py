"""Sizes of the networks that follow from the images, where no option sets them."""

from __future__ import annotations

import math
from typing import NamedTuple

from cae.config import ModelConfig

CODE_SIDE = 16  # places a side of the individual code, for images of 64 to 256 pixels
LARGEST_PATCH = 4  # halvings down to a place of it at most: larger images have more places
LAST_SIDE = 4  # of the last map of class encoder and discriminator
MOST_CHANNELS = 768  # of the individual code: colour patches of 16 pixels a side


class Sizes(NamedTuple):
    """Sizes of a CAE, under the names of their options."""

    individual_downsampling: int
    class_downsampling: int
    individual_channels: int


def network_sizes(model: ModelConfig, image_shape: tuple[int, int, int]) -> Sizes:
    """The sizes for images ``(C, H, W)``.

    A place of the individual code has as many channels as its patch of the image has values, so that the linear maps
    of patches, with which encoder and decoder begin, lose nothing.

    >>> [tuple(network_sizes(ModelConfig(), (1, side, side))) for side in (28, 64, 128, 256, 512)]
    [(2, 3, 16), (2, 4, 16), (3, 5, 64), (4, 6, 256), (4, 7, 256)]
    """
    side = math.sqrt(image_shape[1] * image_shape[2])
    individual = model.individual_downsampling or min(max(round(math.log2(side / CODE_SIDE)), 2), LARGEST_PATCH)
    classes = model.class_downsampling or min(max(round(math.log2(side / LAST_SIDE)), 3), 7)
    channels = model.individual_channels or min(image_shape[0] * 4**individual, MOST_CHANNELS)
    return Sizes(individual, classes, channels)
