"""Depths of the networks that follow from the size of the images, where no option sets them."""

from __future__ import annotations

import math
from typing import NamedTuple

from cae.config import ModelConfig

CODE_SIDE = 16  # of the individual code; from 64 pixels on it has this many places a side
LAST_SIDE = 4  # of the last map of class encoder and discriminator


class Depths(NamedTuple):
    """Halvings of the image side: down to the individual code, and in class encoder and discriminator."""

    individual: int
    classes: int


def depths(model: ModelConfig, image_shape: tuple[int, int, int]) -> Depths:
    """The depths for images ``(C, H, W)``.

    >>> [tuple(depths(ModelConfig(), (1, side, side))) for side in (28, 64, 128, 256)]
    [(2, 3), (2, 4), (3, 5), (4, 6)]
    """
    side = math.sqrt(image_shape[1] * image_shape[2])
    individual = min(max(round(math.log2(side / CODE_SIDE)), 2), 6)
    classes = min(max(round(math.log2(side / LAST_SIDE)), 3), 7)
    return Depths(model.individual_downsampling or individual, model.class_downsampling or classes)
