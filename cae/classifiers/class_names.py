"""Names of a classifier's classes from a list or a file, and the order of its outputs against that of the data."""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cae.errors import UserError, did_you_mean

IMAGENET = "imagenet"
FORMS = "a name a line, or JSON: a list of names, a mapping from numbers to names, or from names to numbers"


def class_names(given: Sequence[str]) -> tuple[str, ...]:
    """The names that ``classifier.classes`` gives: themselves, those in the one file, or ImageNet's.

    A name that comes again, as two of ImageNet's do in many files, is numbered from its second place on, and told.

    Raises:
        UserError: if there is no such file, or it holds no names.

    >>> class_names(["cat", "dog"])
    ('cat', 'dog')
    """
    names = [str(name) for name in given]
    if names == [IMAGENET]:
        from cae.classifiers.imagenet import imagenet_classes

        return imagenet_classes()
    if len(names) == 1:
        names = read_class_names(Path(names[0]).expanduser())
    return _all_different(names)


def read_class_names(path: Path) -> list[str]:
    """The names in a file, in the order of the outputs.

    Raises:
        UserError: if there is no such file, or it holds no names.
    """
    if not path.is_file():
        beside = [entry.name for entry in path.parent.iterdir()] if path.parent.is_dir() else []
        raise UserError(
            f"`classifier.classes`: no file '{path}'{did_you_mean(path.name, beside)}; give a file ({FORMS}), a list "
            f"[a,b] of two names or more, or `{IMAGENET}`."
        )
    try:
        text = path.read_text(encoding="utf-8-sig")
        names = _of_json(json.loads(text)) if path.suffix.lower() == ".json" else text.strip("\n").splitlines()
    except (OSError, ValueError) as error:  # what json and the decoder raise are ValueErrors
        raise UserError(f"`classifier.classes`: '{path}' holds no class names ({error}): write {FORMS}.") from error
    names = [name.strip() for name in names]
    if len(names) < 2 or "" in names:
        empty = f"line {names.index('') + 1} is empty" if "" in names else f"it holds only {len(names)}"
        raise UserError(f"`classifier.classes`: '{path}' must hold two names or more, but {empty}: write {FORMS}.")
    return names


def _of_json(content: Any) -> list[str]:
    """Names from a list, ``{"0": "cat"}``, ``{"0": ["n02123045", "cat"]}`` or ``{"cat": 0}``."""
    if isinstance(content, list) and all(isinstance(item, (str, int)) for item in content):
        return [str(item) for item in content]
    if not isinstance(content, dict):
        raise ValueError("neither a list nor a mapping")
    if all(isinstance(value, int) for value in content.values()):
        content = {number: name for name, number in content.items()}
    numbered = {int(number): value for number, value in content.items()}
    if sorted(numbered) != list(range(len(content))):
        raise ValueError(f"the numbers must be 0 to {len(content) - 1}, each once")
    ordered = [numbered[number] for number in range(len(numbered))]
    return [str(value[-1] if isinstance(value, list) and value else value) for value in ordered]


def names_of(given: Sequence[Any] | Mapping[int, str] | str | Path) -> tuple[str, ...]:
    """Names of classes from what people have: a list or array, a mapping from numbers, or a file.

    Raises:
        UserError: if there is no such file, or the numbers of the mapping are not 0 to K - 1.

    >>> names_of({1: "dog", 0: "cat"})
    ('cat', 'dog')
    """
    if isinstance(given, (str, Path)):
        return class_names([str(given)])
    if not isinstance(given, Mapping):
        return _all_different([str(name) for name in given])
    try:
        return _all_different(_of_json(dict(given)))
    except ValueError as error:
        raise UserError(f"`classes` by number: {error}.") from error


def _all_different(names: Sequence[str]) -> tuple[str, ...]:
    found: list[str] = []
    for name in names:
        count, unlike = 1, name
        while unlike in found:
            count += 1
            unlike = f"{name} ({count})"
        found.append(unlike)
    again = [name for name, before in zip(found, names, strict=True) if name != before]
    if again:
        warnings.warn(f"Names of classes that come again are numbered: {', '.join(again[:5])}.", stacklevel=3)
    return tuple(found)


def output_order(own: Sequence[str], wanted: Sequence[str]) -> tuple[int, ...]:
    """The output that stands for each of the wanted classes; empty where that is their own order.

    Args:
        own: the classifier's classes, in the order of its outputs.
        wanted: those of the data, in label order.

    Raises:
        UserError: if they are not the same classes.

    >>> output_order(["dark", "bright"], ["bright", "dark"])
    (1, 0)
    """
    missing = [name for name in wanted if name not in own]
    surplus = [name for name in own if name not in wanted]
    problems = []
    if missing:
        hints = ", ".join(f"{name!r}{did_you_mean(name, surplus)}" for name in missing[:3])
        problems.append(f"{len(missing)} of the data's {len(wanted)} are none of the classifier's: {hints}")
    if surplus:
        problems.append(
            f"{len(surplus)} of the classifier's {len(own)} are none of the data's: {', '.join(map(repr, surplus[:3]))}"
        )
    if problems:
        raise UserError(
            "`classifier.classes` must name the classes of the data, in the order of the outputs, but "
            f"{'; '.join(problems)}. To explain files without labels, name them by `explain.images`: no data is opened."
        )
    order = tuple(own.index(name) for name in wanted)
    return () if order == tuple(range(len(own))) else order
