"""A folder per class, with or without folders for the splits."""

from __future__ import annotations

import os
import unicodedata
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from cae.config import DataConfig
from cae.data.file_listing import FileListing, is_side_folder, left_out_words, list_files, natural_order, path_id
from cae.data.listing import Listing
from cae.data.records import LOOKED_FOR, find_masks, is_masks_folder, make_records, root_folder
from cae.data.splits import ALIASES, SPLITS, few
from cae.data.types import Splits
from cae.errors import did_you_mean


def open_folder(config: DataConfig) -> Splits:
    """Images in one folder per class: ``root/<class>/*`` or ``root/{train,val,test}/<class>/*``.

    Without split folders the images are split by ``data.val_share`` and ``data.test_share``; with ``train`` and
    ``test`` alone, val is split off train. Masks may lie in a parallel tree ``root/masks`` under the same relative
    path, with any image suffix. Classes are the folder names, sorted with numbers as numbers (2 before 10); ids are
    paths relative to the root.

    Raises:
        UserError: one that lists every missing, empty, damaged or unfit folder and file.
    """
    root = root_folder(config)
    split_folders, problems, notes = _split_folders(root)
    if split_folders:
        problems += [
            f"no folder '{root / name}': a folder source with split folders needs train and test (val may be missing)."
            for name in ("train", "test")
            if name not in split_folders
        ]
    folders = split_folders or {"all": root}
    classes = sorted({_class_of(one) for part in folders.values() for one in _subfolders(part)}, key=natural_order)
    if not classes:
        example = root / "cat" / "001.png"
        problems.append(f"no class folder in '{root}': images must lie in one folder per class, as '{example}'.")
    listed = {one: list_files(one) for folder in folders.values() for one in _subfolders(folder)}
    files = {part: _class_files(folder, classes, listed, problems) for part, folder in folders.items()}
    elsewhere = list_files(root, but={str(one) for one in listed})
    found = [elsewhere, *listed.values()]
    unread, skipped = (sum((getattr(one, what) for one in found), Counter[str]()) for what in ("unread", "skipped"))
    notes += [*left_out_words(root, unread, skipped), *_stray_notes(root, elsewhere.images), *_nested_notes(listed)]
    masks, mask_problems = find_masks(root, [path for found in files.values() for path, _ in found])
    parts = {part: make_records(root, found, masks) for part, found in files.items()}
    return Listing(parts, tuple(classes), problems + mask_problems, notes).open(config)


def _stray_notes(root: Path, images: list[Path]) -> list[str]:
    """Images of no class, which masks are not."""
    stray = [path_id(path, root) for path in images]
    stray = [one for one in stray if not is_masks_folder(one.partition("/")[0])]
    return [f"{len(stray)} image(s) are in no folder of a class, and not read: {few(stray)}."] if stray else []


def _nested_notes(listed: Iterable[Path]) -> list[str]:
    """Class folders that hold folders called as other classes do: masks or splits under another name, most likely."""
    names = {_class_of(one) for one in listed}
    nested = [one.name for one in listed if len(names & {_class_of(inner) for inner in _subfolders(one)}) > 1]
    if not nested:
        return []
    return [
        f"{few(nested)} are read as classes, though they hold folders called as other classes: masks are looked for in "
        "'masks' alone, and splits in 'train', 'val' and 'test'."
    ]


def _subfolders(folder: Path) -> list[Path]:
    """Class folders: no hidden ones, nor the tree of masks."""
    with os.scandir(folder) as entries:  # which knows what is a folder without asking for the state of every file
        names = sorted(entry.name for entry in entries if entry.is_dir())
    return [
        folder / name
        for name in names
        if not is_side_folder(name) and not name.startswith("__") and not is_masks_folder(name)
    ]


def _class_of(folder: Path) -> str:
    """The class that a folder is named after, in one form of Unicode."""
    return unicodedata.normalize("NFC", folder.name)


def _split_folders(root: Path) -> tuple[dict[str, Path], list[str], list[str]]:
    """Split folders under the root, problems and notes; none where the root holds the classes themselves."""
    folders: dict[str, Path] = {}
    problems, others, notes = [], [], []
    for folder in _subfolders(root):
        split = ALIASES.get(folder.name.lower(), folder.name.lower())
        # a class may be called "train"; a split folder is one that holds folders
        if split not in SPLITS or not _subfolders(folder):
            others.append(folder.name)
        elif split in folders:
            problems.append(f"'{folders[split]}' and '{folder}' both name the {split} split: keep one of them.")
        else:
            folders[split] = folder
    if folders:
        problems += [
            f"'{root / name}' is no split folder{hint}." for name in others if (hint := did_you_mean(name, SPLITS))
        ]
        unknown = [name for name in others if not did_you_mean(name, SPLITS)]
        if unknown:
            notes.append(
                f"{len(unknown)} folder(s) of '{root}' are none of train, val and test, and not read: {few(unknown)}."
            )
    return folders, problems, notes


def _class_files(
    folder: Path, classes: list[str], listed: dict[Path, FileListing], problems: list[str]
) -> list[tuple[Path, int]]:
    """Images with their labels; empty class folders are added to the problems."""
    found = []
    for subfolder in _subfolders(folder):
        images = listed[subfolder].images
        if not images:
            problems.append(f"no image in '{subfolder}' (looked for {LOOKED_FOR}).")
        label = classes.index(_class_of(subfolder))
        found += [(path, label) for path in images]
    return found
