"""The layout of the published CAE code: folders A (normal) and B (all other classes), and label files."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

from cae.config import DataConfig
from cae.data.file_listing import left_out_words, list_files, list_images, without_suffix
from cae.data.listing import Listing
from cae.data.records import LOOKED_FOR, find_masks, make_records, root_folder
from cae.data.types import Splits
from cae.errors import did_you_mean

DEFAULT_LABELS = {"A": 0, "B": 1}


def open_paired(config: DataConfig) -> Splits:
    """Folders ``trainA_img``, ``trainB_img``, ``testA_img`` and ``testB_img`` under the root; val is split off train.

    Labels are read from text files beside the folders: ``trainA_label.txt`` for one folder, or
    ``trainAB_img-name_label.txt`` (the published name) for both. Every line is ``name label``, separated by a space, a
    tab or a comma; the name is that of the file, with or without its suffix, and the label a whole number from 0. A
    first line that ends in ``label`` is a heading. Without a file, images in A have label 0 and those in B label 1.
    There may be any number of classes, called ``class 0``, ``class 1``, …. Masks may lie in a parallel tree
    ``root/masks`` (``root/masks/trainB_img/001.png``).

    Reference: Xie et al. 2024, arXiv:2406.07961; layout of the published code.

    Raises:
        UserError: one that lists every missing or empty folder, unfit label line and unreadable file.
    """
    root = root_folder(config)
    problems: list[str] = []
    labelled = {part: _part(root, part, problems) for part in ("train", "test")}
    everything = [pair for pairs in labelled.values() for pair in pairs]
    masks, mask_problems = find_masks(root, [path for path, _ in everything])
    count = max((label for _, label in everything), default=-1) + 1
    parts = {part: make_records(root, pairs, masks) for part, pairs in labelled.items()}
    classes = tuple(f"class {index}" for index in range(count))
    left_out = [list_files(root / f"{part}{side}_img") for part in labelled for side in DEFAULT_LABELS]
    unread = sum((found.unread for found in left_out), Counter[str]())
    skipped = sum((found.skipped for found in left_out), Counter[str]())
    notes = left_out_words(root, unread, skipped)
    return Listing(parts, classes, problems + mask_problems, notes).open(config)


def _part(root: Path, part: str, problems: list[str]) -> list[tuple[Path, int]]:
    """Images of ``train`` or ``test`` with their labels."""
    images = {side: _images(root / f"{part}{side}_img", problems) for side in DEFAULT_LABELS}
    both = root / f"{part}AB_img-name_label.txt"
    shared = _read_labels(both, [path for found in images.values() for path in found], problems)
    pairs = []
    for side, found in images.items():
        own_file = root / f"{part}{side}_label.txt"
        own = _read_labels(own_file, found, problems)
        labels, source = (shared, both) if own is None else (own, own_file)
        for path in found:
            if labels is None:
                pairs.append((path, DEFAULT_LABELS[side]))
            elif path in labels:
                pairs.append((path, labels[path]))
            else:
                problems.append(f"'{source}' gives no label for '{path}'.")
    return pairs


def _images(folder: Path, problems: list[str]) -> list[Path]:
    if not folder.is_dir():
        beside = [entry.name for entry in folder.parent.iterdir()]
        problems.append(f"no folder '{folder}'{did_you_mean(folder.name, beside)}.")
        return []
    found = list_images(folder)
    if not found:
        problems.append(f"no image in '{folder}' (looked for {LOOKED_FOR}).")
    return found


def _read_labels(file: Path, images: list[Path], problems: list[str]) -> dict[Path, int] | None:
    """The label of every image that a label file names; None where there is no such file."""
    if not file.is_file():
        return None
    by_name: dict[str, list[Path]] = {}
    for path in images:
        for name in {path.name, without_suffix(path.name)}:
            by_name.setdefault(name, []).append(path)
    labels: dict[Path, int] = {}
    for number, line in enumerate(file.read_text(encoding="utf-8-sig").splitlines(), start=1):
        name, label = _line(line)
        if not line.strip() or (number == 1 and label.lower() == "label"):
            continue
        if not label.isdecimal():
            problems.append(f"'{file}', line {number}: the label must be a whole number from 0, but it is {line!r}.")
            continue
        named = by_name.get(name)
        if named is None:
            problems.append(f"'{file}', line {number}: no image {name!r} in its folder{did_you_mean(name, by_name)}.")
        labels.update(dict.fromkeys(named or [], int(label)))
    return labels


def _line(line: str) -> tuple[str, str]:
    """Name and label of a line; names may hold spaces, so the label is what follows the last separator."""
    match = re.fullmatch(r"(.*?)(?:\s*,\s*|\s+)([^\s,]*)", line.strip())
    return (match[1].strip(), match[2]) if match else (line.strip(), "")
