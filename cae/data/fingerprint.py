"""What tells data sets apart: names and labels of all images, grey values of some."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from cae.data.selection import evenly_spread
from cae.data.splits import SPLITS
from cae.data.types import ImageSet, Splits

LOOKED_AT = 16  # images of each split
ALIKE = 0.01  # on [0, 1]: by less, decoders of image files differ between versions


def data_fingerprint(splits: Splits) -> dict[str, Any]:
    """Plain values that change with classes, ids, labels or images of a data set, wherever its files lie.

    Returns:
        ``names``: a digest of classes, ids and labels; ``levels``: for each split the mean levels, in [0, 1], of images
        spread over it.
    """
    sets: dict[str, ImageSet] = {name: getattr(splits, name) for name in SPLITS}
    names = [list(splits.classes), *([getattr(part, "ids", len(part)), part.labels.tolist()] for part in sets.values())]
    digest = hashlib.sha256(json.dumps(names, default=list).encode()).hexdigest()[:16]
    return {"names": digest, "levels": {name: _levels(part) for name, part in sets.items()}}


def same_data(before: Any, now: Any) -> bool:
    """Whether two fingerprints are of the same data.

    >>> same_data({"names": "a", "levels": {"train": [0.5]}}, {"names": "a", "levels": {"train": [0.504]}})
    True
    """
    if before["names"] != now["names"] or before["levels"].keys() != now["levels"].keys():
        return False
    pairs = [(before["levels"][name], now["levels"][name]) for name in now["levels"]]
    return all(
        len(old) == len(new) and all(abs(a - b) <= ALIKE for a, b in zip(old, new, strict=True)) for old, new in pairs
    )


def _levels(images: ImageSet) -> list[float]:
    if not len(images):
        return []
    return [round(level, 4) for level in evenly_spread(images, LOOKED_AT).double().mean((1, 2, 3)).tolist()]
