"""Depths of the networks that follow from the size of the images, where no option sets them."""

from __future__ import annotations

import math
from dataclasses import replace

from cae.config import ModelConfig

CODE_SIDE = 16  # of the individual code; from 64 pixels on it has this many places a side
LAST_SIDE = 4  # of the last map of class encoder and discriminator


def with_depths(model: ModelConfig, sides: tuple[int, int]) -> ModelConfig:
    """The sizes with every depth set, for images of ``sides`` H x W pixels.

    >>> [with_depths(ModelConfig(), (side, side)).individual_downsampling for side in (28, 64, 128, 256)]
    [2, 2, 3, 4]
    >>> [with_depths(ModelConfig(), (side, side)).class_downsampling for side in (28, 64, 128, 256)]
    [3, 4, 5, 6]
    """
    side = math.sqrt(sides[0] * sides[1])
    individual = min(max(round(math.log2(side / CODE_SIDE)), 2), 6)
    halvings = min(max(round(math.log2(side / LAST_SIDE)), 3), 7)
    return replace(
        model,
        individual_downsampling=model.individual_downsampling or individual,
        class_downsampling=model.class_downsampling or halvings,
    )
