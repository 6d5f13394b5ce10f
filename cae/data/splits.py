"""Seeded, stratified splits that depend on nothing but the ids and the seed."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Sequence

import torch
from torch import Tensor

from cae.config import DataConfig
from cae.data.types import Splits
from cae.errors import UserError

SPLITS = ("train", "val", "test")
ALIASES = {"valid": "val", "validation": "val", "dev": "val", "training": "train", "testing": "test"}
SHOWN_PROBLEMS = 20


def raise_problems(problems: Sequence[str]) -> None:
    """Raise one ``UserError`` that lists the distinct problems, at most twenty; without any, do nothing."""
    distinct = list(dict.fromkeys(problems))
    if len(distinct) > SHOWN_PROBLEMS:
        distinct = [*distinct[:SHOWN_PROBLEMS], f"(+{len(distinct) - SHOWN_PROBLEMS} more)"]
    if distinct:
        raise UserError(distinct)


def few(names: Sequence[str]) -> str:
    """The first three names, quoted, and how many more there are."""
    return ", ".join(f"'{name}'" for name in names[:3]) + (f" (+{len(names) - 3} more)" if len(names) > 3 else "")


def stratified_split(
    ids: Sequence[str],
    labels: Sequence[int],
    val_share: float,
    test_share: float,
    seed: int,
    groups: Sequence[str] | None = None,
) -> dict[str, list[int]]:
    """Divide images into train, val and test so that every class has its share in each.

    The images of a class are ordered by a hash of seed and id; the first go to test, the next to val. So the split is
    the same in every process, and does not change with the order in which files are listed.

    Args:
        ids: one unique string per image.
        labels: one label per image.
        val_share: share of each class for validation, in [0, 1).
        test_share: share of each class for testing, in [0, 1).
        seed: another seed, another split.
        groups: images of one group (a patient, a volume) stay together; by default every image is its own group.

    Returns:
        indices of the images of ``train``, ``val`` and ``test``, ascending.

    Raises:
        UserError: if the shares leave nothing for training.
    """
    if val_share + test_share >= 1:
        raise UserError(
            f"`data.val_share` + `data.test_share` must be below 1, but is {val_share:g} + {test_share:g}: "
            "nothing would be left for training."
        )
    members: dict[str, list[int]] = defaultdict(list)
    for index, group in enumerate(ids if groups is None else groups):
        members[group].append(index)
    by_class: dict[int, list[str]] = defaultdict(list)
    for group, indices in members.items():
        by_class[min(labels[index] for index in indices)].append(group)
    split: dict[str, list[int]] = {name: [] for name in SPLITS}
    for units in by_class.values():
        units.sort(key=lambda unit: hashlib.sha256(f"{seed}/{unit}".encode("utf-8", "surrogateescape")).digest())
        val, test = _counts(len(units), val_share, test_share)
        for place, unit in enumerate(units):
            name = "test" if place < test else "val" if place < test + val else "train"
            split[name] += members[unit]
    return {name: sorted(indices) for name, indices in split.items()}


def _counts(total: int, val_share: float, test_share: float) -> tuple[int, int]:
    """How many of a class's images go to val and test: the rounded share, one at least where training keeps one too."""
    val, test = round(total * val_share), round(total * test_share)
    wanted = 1 + (val_share > 0) + (test_share > 0)
    if total >= wanted:
        val, test = max(val, int(val_share > 0)), max(test, int(test_share > 0))
    while val + test >= total:
        val, test = (val - 1, test) if val > test else (val, test - 1)
    return val, test


def class_counts(labels: Tensor, classes: Sequence[str]) -> list[int]:
    """How many images each class has."""
    return torch.bincount(labels, minlength=len(classes)).tolist()


def split_problems(labels: dict[str, Tensor], classes: Sequence[str], config: DataConfig) -> list[str]:
    """What is wrong with the splits as a whole: too few classes, a class without training images, an empty split."""
    problems = []
    if len(classes) < 2:
        problems.append(f"found only {len(classes)} class ({', '.join(classes)}): at least two are needed.")
    for name in SPLITS:
        wrong = sorted({label for label in labels[name].unique().tolist() if not 0 <= label < len(classes)})
        if wrong:
            problems.append(f"labels of the {name} split must be in [0, {len(classes)}), but some are {wrong[:5]}.")
    if problems:
        return problems
    train = class_counts(labels["train"], classes)
    problems += [
        f"class {name!r} has no training image." for name, count in zip(classes, train, strict=True) if count == 0
    ]
    problems += [_empty(name, config) for name in ("val", "test") if len(labels[name]) == 0]
    return problems


def _empty(split: str, config: DataConfig) -> str:
    return (
        f"the {split} split is empty: add images to it; where it is split off, give every class three images or more, "
        f"or raise `data.{split}_share` (val_share is {config.val_share:g}, test_share is {config.test_share:g})."
    )


def check_splits(splits: Splits, config: DataConfig) -> None:
    """Raise a ``UserError`` that lists everything wrong with the splits as a whole."""
    labels = {"train": splits.train.labels, "val": splits.val.labels, "test": splits.test.labels}
    raise_problems(split_problems(labels, splits.classes, config))
