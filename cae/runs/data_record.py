"""Which images a stage was trained on, kept with the run, so that data that has changed since is noticed."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

from cae.data.records import FileSet
from cae.data.splits import SPLITS
from cae.data.types import Splits
from cae.files import read_json, update_json

FILE = "data.json"
NAME, STATE = 8, 4  # hexadecimal digits of an image's id, and of its class and the size of its file
Record = dict[str, dict[str, str]]  # split -> digest of the id -> digest of the state


def data_record(splits: Splits) -> Record:
    """Digests of every image file of every split; images that the program draws do not change by chance."""
    sets = {name: getattr(splits, name) for name in SPLITS}
    return {name: _digests(images, splits.classes) for name, images in sets.items() if isinstance(images, FileSet)}


def _digests(images: FileSet, classes: Sequence[str]) -> dict[str, str]:
    return {
        _digest(record.id, NAME): _digest(f"{classes[record.label]} {_size(record.image.path)}", STATE)
        for record in images.records
    }


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return -1  # told where the file is read


def _digest(text: str, digits: int) -> str:
    return hashlib.blake2b(text.encode("utf-8", "surrogateescape"), digest_size=8).hexdigest()[:digits]


def changes(before: Record, now: Record) -> str:
    """How the data differs, in words: images that came, left, moved between splits or changed; empty where nothing did.

    >>> changes({"train": {"a": "1"}, "test": {"b": "1"}}, {"train": {"a": "1", "b": "1"}, "test": {}})
    'train 1 -> 2, test 1 -> 0 images; 1 of train were in test'
    """
    counts = [
        f"{name} {len(before[name])} -> {len(now[name])}" for name in now if before[name].keys() != now[name].keys()
    ]
    moved = [
        f"{count} of {name} were in {other}"
        for name in now
        for other in before
        if other != name and (count := len(now[name].keys() & before[other].keys()))
    ]
    altered = sum(before[name][id] != state for name in now for id, state in now[name].items() if id in before[name])
    words = [", ".join(counts) + " images"] * bool(counts) + moved
    return "; ".join(words + [f"{altered} images have another class or another file"] * bool(altered))


def keep_record(folder: Path, stage: str, splits: Splits) -> None:
    """Write which files a stage is trained on into ``data.json`` of the run."""
    packed = {
        name: {"ids": "".join(images), "states": "".join(images.values())}
        for name, images in data_record(splits).items()
    }
    if packed:
        update_json(folder / FILE, {stage: packed})


def data_warnings(folder: Path, splits: Splits, stages: Sequence[str]) -> list[str]:
    """Sentences on the stages of a run that were trained on other data than is open now."""
    kept = read_json(folder / FILE)
    known = {stage: _unpacked(kept[stage]) for stage in stages if stage in kept}
    now = data_record(splits) if known else {}
    found = {stage: changes(before, now) for stage, before in known.items() if before.keys() == now.keys()}
    return [
        f"the data has changed since the {stage} of this run was trained ({words}): what was learned from is no test. "
        "Bring the former data back, or train anew under another name= or with overwrite=true"
        for stage, words in found.items()
        if words
    ]


def _unpacked(packed: Mapping[str, Mapping[str, str]]) -> Record:
    return {
        name: dict(zip(_cut(part["ids"], NAME), _cut(part["states"], STATE), strict=True))
        for name, part in packed.items()
    }


def _cut(text: str, length: int) -> list[str]:
    return [text[start : start + length] for start in range(0, len(text), length)]
