"""The image files below a folder, and what lies there that is not read."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Container, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from cae.data import medical, pictures

IMAGE_SUFFIXES = (*pictures.SUFFIXES, *medical.DICOM_SUFFIXES, *medical.NIFTI_SUFFIXES)
SIDE_FOLDERS = {"__macosx", "@eadir", "thumbs", "_thumbs", "thumbnails", "$recycle.bin", "lost+found"}
SIDE_FILES = {"thumbs.db", "desktop.ini", "dicomdir"}


@dataclass
class FileListing:
    """Image files below a folder, sorted by their relative path, and how much was left out, by kind.

    Attributes:
        images: the files that the program reads.
        unread: number of other files by suffix (in small letters; ``no suffix`` for those without).
        skipped: number of folders left out by name: hidden ones, and those in which other programs keep thumbnails.
    """

    images: list[Path]
    unread: Counter[str] = field(default_factory=Counter)
    skipped: Counter[str] = field(default_factory=Counter)


def list_files(folder: Path, but: Container[str] = ()) -> FileListing:
    """What lies below a folder, links followed, each place once; ``but`` for what lies below other folders."""
    listing, visited = FileListing([]), set()
    keyed: list[tuple[str, Path]] = []
    for root, folders, files in os.walk(folder, followlinks=True):
        real = os.path.realpath(root)
        if real in visited:  # a link that leads back up would be walked for ever
            folders[:] = []
            continue
        visited.add(real)
        listing.skipped.update(name for name in folders if is_side_folder(name))
        folders[:] = [name for name in folders if not is_side_folder(name) and os.path.join(root, name) not in but]
        below = Path(root).relative_to(folder).as_posix()
        prefix = "" if below == "." else f"{below}/"
        for name in files:
            if name.startswith(".") or name.lower() in SIDE_FILES:
                continue
            path = Path(root, name)
            if is_image(path):
                keyed.append((prefix + name, path))
            else:
                listing.unread[path.suffix.lower() or "no suffix"] += 1
    listing.images = [path for _, path in sorted(keyed)]
    return listing


def list_images(folder: Path) -> list[Path]:
    """The image files below a folder, sorted by their relative path."""
    return list_files(folder).images


def is_side_folder(name: str) -> bool:
    """Whether a folder is left out by its name: a hidden one, or one where another program keeps its thumbnails."""
    return name.startswith(".") or name.lower() in SIDE_FOLDERS


def is_image(path: Path) -> bool:
    """Whether the program reads this file: by its suffix, or, for DICOM files without one, by their first bytes."""
    return path.name.lower().endswith(IMAGE_SUFFIXES) or medical.is_dicom(path)


def path_id(path: Path, root: Path) -> str:
    """The id of an image file: its path below a folder, with bytes that are no UTF-8 as ``\\xff``, fit for tables."""
    # several times as fast as Path.relative_to, which is felt where there are many files
    relative = str(path).removeprefix(os.path.join(root, "")).replace(os.sep, "/")
    return relative.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def without_suffix(path: str) -> str:
    """The path without its image suffix (``.nii.gz`` counts as one; other dots are part of the name)."""
    suffixes = [suffix for suffix in IMAGE_SUFFIXES if path.lower().endswith(suffix)]
    return path[: -max(map(len, suffixes))] if suffixes else path


def natural_order(name: str) -> list[tuple[bool, int, str]]:
    """Sort key under which numbers inside names count as numbers.

    >>> sorted(["10", "2", "b", "a12", "a9"], key=natural_order)
    ['2', '10', 'a9', 'a12', 'b']
    """
    parts = [part for part in re.split(r"(\d+)", name) if part]
    return [(False, int(part), part) if part.isdecimal() else (True, 0, part) for part in parts]


def left_out_words(folder: Path, unread: Mapping[str, int], skipped: Mapping[str, int]) -> list[str]:
    """What of a folder was not read, as at most two sentences."""
    sentences = []
    if unread:
        kinds = ", ".join(f"{count} {suffix}" for suffix, count in sorted(unread.items(), key=lambda pair: -pair[1]))
        sentences.append(
            f"{sum(unread.values())} file(s) below '{folder}' were not read, as their suffix is none of the program's: "
            f"{kinds}."
        )
    if skipped:
        names = ", ".join(f"'{name}'" for name in sorted(skipped)[:5])
        sentences.append(f"{sum(skipped.values())} folder(s) below '{folder}' were skipped: {names}.")
    return sentences
