"""What data is known by: by it a result is told from one of other data, wherever the files lie."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from cae.data.records import FileSet, Record
from cae.data.splits import SPLITS
from cae.data.types import ImageSet, Splits, even_places
from cae.errors import UserError

LOOKED_AT = 16  # images of each split
ALIKE = 0.01  # on [0, 1]: by less, decoders of image files differ between versions


def data_fingerprint(splits: Splits) -> dict[str, Any]:
    """Plain values that change with classes, ids, labels, files or images of a data set, wherever its files lie.

    Returns:
        ``names``: a digest of classes, ids and labels; ``files``: one of the sizes of image and mask files, where there
        are any; ``levels``: for each split the mean levels, in [0, 1], of images spread over it.
    """
    sets: dict[str, ImageSet] = {name: getattr(splits, name) for name in SPLITS}
    names = [list(splits.classes), *([getattr(part, "ids", len(part)), part.labels.tolist()] for part in sets.values())]
    sizes = [[file_sizes(record) for record in part.records] for part in sets.values() if isinstance(part, FileSet)]
    levels = {name: list(_levels(part)) for name, part in sets.items()}
    return {"names": _digest(names), "files": _digest(sizes), "levels": levels}


def same_data(before: Any, now: Any) -> bool:
    """Whether two fingerprints are of the same data; what one of them does not tell is not compared.

    >>> same_data({"names": "a", "levels": {"train": [0.5]}}, {"names": "a", "levels": {"train": [0.504]}})
    True
    >>> same_data(None, {"names": "a", "levels": {}})
    True
    """
    if before is None or now is None:
        return True
    if not isinstance(before, dict) or before.get("names") != now["names"]:
        return False
    if {"files"} <= before.keys() & now.keys() and before["files"] != now["files"]:
        return False
    old = before.get("levels", {})
    return old.keys() == now["levels"].keys() and all(_alike(old[name], now["levels"][name]) for name in old)


def files_fingerprint(images: FileSet) -> dict[str, list[int]]:
    """What the files of a folder are known by, which may hold more the next time: sizes, by a digest of the id."""
    return {_digest(record.id): file_sizes(record) for record in images.records}


def same_files(before: Mapping[str, Any] | None, now: Mapping[str, Any] | None) -> bool:
    """Whether every file that two fingerprints know is the same in both.

    >>> same_files({"a": [1], "b": [2]}, {"a": [1], "c": [3]}), same_files({"a": [1]}, {"a": [2]})
    (True, False)
    """
    return all(sizes == (now or {}).get(id, sizes) for id, sizes in (before or {}).items())


def _alike(before: Sequence[float], now: Sequence[float]) -> bool:
    return len(before) == len(now) and all(abs(a - b) <= ALIKE for a, b in zip(before, now, strict=True))


def file_sizes(record: Record) -> list[int]:
    """Bytes of the files of an image and of its mask; -1 where one is missing, which is told where it is read."""
    paths = [ref.path for ref in (record.image, record.mask) if ref is not None]
    return [_size(path) for path in paths]


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return -1


def _digest(content: Any) -> str:
    return hashlib.sha256(json.dumps(content, default=list).encode()).hexdigest()[:16]


def _levels(images: ImageSet) -> Iterator[float]:
    """Of the images that can be read: what is wrong with the others is told where they are used."""
    for row in even_places(len(images), LOOKED_AT).tolist():
        try:
            yield round(float(images[row].image.double().mean()), 4)
        except UserError:
            continue
