"""What tells the classes of a set apart beside what their images show: the kind of their files, or their sizes."""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any, TypeVar

from cae.data.headers import Header
from cae.data.records import Record

LEAST_FILES = 8  # of a class, below which its files may be alike by chance
MOST_SIZES = 3  # of a class: photographs of any size each have their own
SHOWN = 3  # classes in the sentence
Value = TypeVar("Value", bound=Hashable)
KINDS = dict.fromkeys(("jpg", "jpeg", "jpe", "jfif"), "JPEG") | {"tif": "TIFF", "tiff": "TIFF"}


def shortcut_notes(records: Sequence[Record], headers: Mapping[str, Header], classes: Sequence[str]) -> list[str]:
    """Sentences where every class has files of a kind, or images of a size, that no other class has."""
    # counted before anything is made of them, which is felt where there are many files
    suffixes = Counter((record.label, str(record.image.path).rpartition(".")[2]) for record in records)
    shapes = Counter((record.label, headers[record.id].shape) for record in records)
    by_kind = _by_class(suffixes, _kind)
    by_size = _by_class(shapes, lambda shape: shape[1:])
    notes = []
    if _tell_apart(by_kind):
        notes.append(
            f"the kind of a file tells its class ({_words(by_kind, classes, str)}): a classifier may learn the traces "
            "of compression. Save all images as one kind, from the same originals."
        )
    if _tell_apart(by_size) and all(len(sizes) <= MOST_SIZES for sizes in by_size.values()):
        sizes = _words(by_size, classes, lambda size: f"{size[1]} × {size[0]}")
        notes.append(
            f"the size of an image tells its class ({sizes}): a classifier may learn how much each is made smaller, or "
            "sharper. Take images of all classes from one source."
        )
    return notes


def _kind(end: str) -> str:
    """The kind of file that the end of a path tells."""
    return "no suffix" if os.sep in end else KINDS.get(end.lower(), end.upper())


def _by_class(counts: Mapping[tuple[int, Any], int], what: Callable[[Any], Value]) -> dict[int, Counter[Value]]:
    found: dict[int, Counter[Value]] = defaultdict(Counter)
    for (label, value), count in counts.items():
        if label >= 0:
            found[label][what(value)] += count
    return dict(sorted(found.items()))


def _tell_apart(by_class: Mapping[int, Counter[Value]]) -> bool:
    """Whether no two classes, of enough files each, have anything in common."""
    seen = [one for counts in by_class.values() for one in counts]
    enough = all(counts.total() >= LEAST_FILES for counts in by_class.values())
    return len(by_class) > 1 and enough and len(seen) == len(set(seen))


def _words(by_class: Mapping[int, Counter[Value]], classes: Sequence[str], said: Callable[[Value], str]) -> str:
    shown = [f"{classes[label]}: {', '.join(map(said, counts))}" for label, counts in list(by_class.items())[:SHOWN]]
    return "; ".join(shown) + (", …" if len(by_class) > SHOWN else "")
