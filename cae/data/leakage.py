"""What stands in more than one split: the same file, its copies, images of one patient."""

from __future__ import annotations

import hashlib
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath

from cae.data import medical, pictures
from cae.data.records import Headers, Record
from cae.data.splits import ALIASES, SPLITS, few
from cae.errors import UserError


def same_file_problems(records: Iterable[Record], headers: Headers) -> list[str]:
    """Records of one file under several names: ``./x``, absolute, or through a link."""
    by_file: dict[tuple[object, ...], list[str]] = defaultdict(list)
    for record in records:
        if record.id in headers:  # else it could not be read, which is told elsewhere
            by_file[(*headers[record.id].place, record.image.slice)].append(record.id)
    # one and the same id twice is told elsewhere
    return [
        f"{' and '.join(repr(name) for name in names[:3])} are the same file: keep one of them."
        for names in map(list, map(dict.fromkeys, by_file.values()))
        if len(names) > 1
    ]


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


def copy_notes(parts: Mapping[str, Sequence[Record]], headers: Headers) -> list[str]:
    """How many images of each split have the very content of others in another split, or of another class."""
    owners = [(split, record) for split, records in parts.items() for record in records]
    copies = _equal_content([record for _, record in owners], headers)
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


def _equal_content(records: Sequence[Record], headers: Headers) -> list[list[int]]:
    """Places of images of equal content: by size and first bytes of their files, then by all bytes."""
    known = [headers[record.id] for record in records]
    alike = _divided(range(len(records)), lambda place: (known[place].size, known[place].head))
    found = list[list[int]]()
    for places in alike:
        try:
            found += _divided(places, lambda place: (_digest(records[place].image.path), records[place].image.slice))
        except OSError:
            continue  # told where the file is read
    return found


def _divided(places: Iterable[int], key: Callable[[int], object]) -> list[list[int]]:
    """The places of equal keys together, where there are several of a key."""
    parts: dict[object, list[int]] = defaultdict(list)
    for place in places:
        parts[key(place)].append(place)
    return [part for part in parts.values() if len(part) > 1]


def _digest(path: Path) -> bytes:
    with path.open("rb") as file:
        digest = hashlib.blake2b()  # `hashlib.file_digest` is Python 3.11's
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.digest()


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
            if str(record.image.path).lower().endswith(pictures.SUFFIXES) or not medical.is_dicom(record.image.path):
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
