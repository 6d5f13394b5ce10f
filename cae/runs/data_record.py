"""What a stage was trained on, kept with the run: whether the data is still the same, and what of it has changed."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cae.data import CAEDataModule
from cae.data.fingerprint import file_sizes, same_data
from cae.data.records import FileSet
from cae.data.splits import SPLITS
from cae.data.types import Splits
from cae.files import read_header, read_json, update_json
from cae.runs.stage_options import noted_identity

FILE = "data.json"
NAME, STATE = 8, 4  # hexadecimal digits of an image's id, and of its class and the size of its file
GENERAL = "other images, labels, or another order"
Record = dict[str, dict[str, str]]  # split -> digest of the id -> digest of the state


def data_record(splits: Splits) -> Record:
    """Digests of every image file of every split; images that the program draws are known by their options."""
    sets = {name: getattr(splits, name) for name in SPLITS}
    return {name: _digests(images, splits.classes) for name, images in sets.items() if isinstance(images, FileSet)}


def _digests(images: FileSet, classes: Sequence[str]) -> dict[str, str]:
    return {
        _digest(record.id, NAME): _digest(f"{classes[record.label]} {file_sizes(record)[0]}", STATE)
        for record in images.records
    }


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


def data_change(folder: Path, stage: str, data: CAEDataModule, before: Any) -> str:
    """How the data differs from that of a stage, in words; empty where it does not, or where that is not known.

    Args:
        folder: of the run, which holds what the stage was given.
        stage: that was begun.
        data: as it is now.
        before: its fingerprint at that time, or None.
    """
    kept = read_json(folder / FILE).get(stage)
    files, now = _unpacked(kept) if kept else {}, data_record(data.splits) if kept else {}
    words = changes(files, now) if files.keys() == now.keys() else ""
    return words or ("" if before is None or same_data(before, data.fingerprint) else GENERAL)


def data_warnings(folder: Path, data: CAEDataModule, stages: Sequence[str]) -> list[str]:
    """Sentences on the stages of a run whose results come from other data than is open now."""
    found = {stage: data_change(folder, stage, data, _known_by(folder, stage)) for stage in stages}
    return [
        f"the data has changed since the {stage} of this run was trained ({words}): what was learned from is no test. "
        "Bring the former data back, or train anew under another name= or with overwrite=true"
        for stage, words in found.items()
        if words
    ]


def _known_by(folder: Path, stage: str) -> Any:
    """The fingerprint of the data of a stage: in its result, which may come from another run, or as it was begun."""
    result = folder / f"{stage}.safetensors"
    header = read_header(result) if result.is_file() else noted_identity(folder, stage)
    return header.get("data")


def _unpacked(packed: Mapping[str, Mapping[str, str]]) -> Record:
    return {
        name: dict(zip(_cut(part["ids"], NAME), _cut(part["states"], STATE), strict=True))
        for name, part in packed.items()
    }


def _cut(text: str, length: int) -> list[str]:
    return [text[start : start + length] for start in range(0, len(text), length)]
