"""A data source in one file, as a contributor would write it: plain images of two shades."""

from __future__ import annotations

import numpy as np

from cae.config import DataConfig
from cae.data.arrays import ArraySet
from cae.data.types import Splits


def open_shades(config: DataConfig) -> Splits:
    """Six images for each split, dark and bright in turn."""
    labels = np.arange(6) % 2
    pixels = np.full((6, 8, 8), 40, dtype=np.uint8) + (labels * 160).astype(np.uint8)[:, None, None]
    parts = [
        ArraySet.from_numpy(pixels, labels, [f"{split}/{n}" for n in range(6)], config.image_size, config.channels)
        for split in ("train", "val", "test")
    ]
    return Splits(parts[0], parts[1], parts[2], ("dark", "bright"))
