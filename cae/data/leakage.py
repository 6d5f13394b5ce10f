"""What stands in more than one split: the same file, its copies, images of one patient."""

from __future__ import annotations

import hashlib
import os
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath

from cae.data import medical
from cae.data.records import Record
from cae.data.splits import ALIASES, SPLITS, few
from cae.errors import UserError

HEAD = 4096  # bytes that are compared before the whole of a file is


def same_file_problems(records: Iterable[Record]) -> list[str]:
    """Records of one file under several names: ``./x``, absolute, or through a link."""
    by_file: dict[tuple[object, ...], list[str]] = defaultdict(list)
    for record in records:
        identity = _identity(record.image.path)
        if identity is not None:
            by_file[(*identity, record.image.slice)].append(record.id)
    # one and the same id twice is told elsewhere
    return [
        f"{' and '.join(repr(name) for name in names[:3])} are the same file: keep one of them."
        for names in map(list, map(dict.fromkeys, by_file.values()))
        if len(names) > 1
    ]


def _identity(path: Path) -> tuple[object, ...] | None:
    try:
        state = path.stat()
    except OSError:
        return None  # told where the file is read
    return (state.st_dev, state.st_ino) if state.st_ino else (os.path.realpath(path),)


def group_problems(parts: Mapping[str, Sequence[Record]]) -> list[str]:
    """Groups (patients, volumes) whose images are in more than one split."""
    homes: dict[str, dict[str, int]] = defaultdict(dict)
    for split, records in parts.items():
        for record in records:
            if record.group is not None:
                homes[record.group][split] = homes[record.group].get(split, 0) + 1
    return [
        f"{group!r} is in more than one split ({', '.join(f'{count} in {split}' for split, count in found.items())}): "
        "all images of a patient, a volume or another group must be in one, else the test is no test."
        for group, found in homes.items()
        if len(found) > 1
    ]


def copy_notes(parts: Mapping[str, Sequence[Record]]) -> list[str]:
    """How many images of each split have the very content of others in another split, or of another class."""
    owners = [(split, record) for split, records in parts.items() for record in records]
    copies = _equal_content([record for _, record in owners])
    notes = []
    for split in parts:
        others = [name for name in parts if name != split]
        doubled = [
            owners[place][1].id
            for places in copies
            for place in places
            if owners[place][0] == split and any(owners[other][0] != split for other in places)
        ]
        if doubled:
            notes.append(
                f"{len(doubled)} of the {len(parts[split])} images of the {split} split have the same content as "
                f"images of {' or '.join(others)}: {few(doubled)}."
            )
    mislabelled = [
        owners[place][1].id for places in copies if len({owners[place][1].label for place in places}) > 1
        for place in places
    ]  # fmt: skip
    if mislabelled:
        notes.append(f"{len(mislabelled)} images have the same content under different labels: {few(mislabelled)}.")
    return notes


def _equal_content(records: Sequence[Record]) -> list[list[int]]:
    """Places of records of equal content, by size, then by the first bytes, then by all bytes of their files."""
    together = [list(range(len(records)))]
    for key in (_size, _head_digest, _digest):
        together = [part for places in together for part in _divided(records, places, key) if len(part) > 1]
    return together


def _divided(records: Sequence[Record], places: list[int], key: Callable[[Path], object]) -> list[list[int]]:
    """The places by a key of their files, those of equal keys together."""
    parts: dict[object, list[int]] = defaultdict(list)
    for place in places:
        try:
            parts[key(records[place].image.path), records[place].image.slice].append(place)
        except OSError:
            continue  # told where the file is read
    return list(parts.values())


def _size(path: Path) -> int:
    return path.stat().st_size


def _head_digest(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(HEAD)


def _digest(path: Path) -> bytes:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "blake2b").digest()


def group_of(record: Record, rule: str, classes: Sequence[str]) -> str:
    """The group of a record by ``data.group``: ``folder``, ``patient`` or a regular expression on the id.

    Where the rule finds nothing, the image is its own group.
    """
    if rule == "patient":
        return (medical.patient(record.image.path) if medical.is_dicom(record.image.path) else "") or record.id
    if rule == "folder":
        folders = list(PurePosixPath(record.id).parts[:-1])
        own = folders and ALIASES.get(folders[0].lower(), folders[0].lower()) in SPLITS
        folders = folders[1:] if own else folders
        folders = folders[1:] if folders and folders[0] in classes else folders
        return folders[0] if folders else record.id
    found = re.search(rule, record.id)
    if found is None:
        return record.id
    return found[1] if found.re.groups and found[1] is not None else found[0]


def patient_notes(parts: Mapping[str, Sequence[Record]]) -> list[str]:
    """How many patients of DICOM files, which nothing groups, are in more than one split."""
    homes: dict[str, set[str]] = defaultdict(set)
    for split, records in parts.items():
        for record in records:
            if not medical.is_dicom(record.image.path):
                continue
            try:
                name = medical.patient(record.image.path)
            except UserError:
                return []  # without pydicom the files are refused with a sentence of their own
            homes[name].add(split)
    homes.pop("", None)
    shared = [name for name, splits in homes.items() if len(splits) > 1]
    if not shared:
        return []
    return [
        f"{len(shared)} of {len(homes)} patients (by PatientID) are in more than one split: set `data.group=patient` "
        "to keep the images of a patient together."
    ]
