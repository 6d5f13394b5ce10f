"""From what a source found to checked splits: groups, levels, and everything worth saying about the files."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field

from cae.config import DataConfig
from cae.data.class_names import name_notes
from cae.data.images import Reading
from cae.data.inspection import find_fit, find_levels, image_notes, mask_notes, page_notes, turn_notes
from cae.data.leakage import copy_notes, group_of, group_problems, patient_notes, same_file_problems
from cae.data.records import FileSet, Record, read_headers
from cae.data.shortcuts import shortcut_notes
from cae.data.splits import SPLITS, raise_problems, stratified_split
from cae.data.types import Splits


@dataclass
class Listing:
    """What a source found: records by split (``all`` where it brings no split), class names, and all that is wrong.

    ``notes`` are what the source has to say that is no mistake.
    """

    parts: dict[str, list[Record]]
    classes: tuple[str, ...]
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def open(self, config: DataConfig) -> Splits:
        """Split what the source did not split, check every file, and give the image sets.

        Raises:
            UserError: one that lists every problem of the source, with paths.
        """
        everything = [record for records in self.parts.values() for record in records]
        limit = config.max_megapixels
        headers, found = read_headers(everything, mixed_channels=config.mixed_channels, max_megapixels=limit)
        raise_problems([*self.problems, *found, *same_file_problems(everything, headers)])
        parts = _complete(self._grouped(config), config)
        raise_problems(group_problems(parts))
        notes = [*self.notes, *name_notes(self.classes), *copy_notes(parts, headers), *page_notes(everything, headers)]
        notes += shortcut_notes(everything, headers, self.classes)
        notes += [*find_levels(config, parts["train"]), *find_fit(config, parts["train"], headers)]
        if config.group is None and "group" not in config.columns:
            notes += patient_notes(parts)
        sizes = (config.image_size, config.channels, config.cache, config.crop, Reading.of(config))
        sets = [FileSet(parts[name], *sizes) for name in SPLITS]
        notes += [*image_notes(sets[0]), *mask_notes(config, everything), *turn_notes(everything)]
        return Splits(sets[0], sets[1], sets[2], self.classes, tuple(notes))

    def _grouped(self, config: DataConfig) -> dict[str, list[Record]]:
        """The records with their groups by ``data.group``; a column that names them comes first."""
        rule = config.group
        if rule is None or "group" in config.columns:
            return self.parts
        return {
            part: [dataclasses.replace(record, group=group_of(record, rule, self.classes)) for record in records]
            for part, records in self.parts.items()
        }


def _complete(parts: dict[str, list[Record]], config: DataConfig) -> dict[str, list[Record]]:
    """Split off what the source does not bring: all three from ``all``, or val from train."""
    if "all" in parts:
        return _divide(parts["all"], config.val_share, config.test_share, config.seed)
    if parts.get("val") is None and parts.get("train"):
        divided = _divide(parts["train"], config.val_share, 0.0, config.seed)
        return {"train": divided["train"], "val": divided["val"], "test": parts.get("test", [])}
    return {name: parts.get(name, []) for name in SPLITS}


def _divide(records: list[Record], val_share: float, test_share: float, seed: int) -> dict[str, list[Record]]:
    groups = [record.id if record.group is None else record.group for record in records]
    labels = [record.label for record in records]
    split = stratified_split([record.id for record in records], labels, val_share, test_share, seed, groups)
    return {name: [records[index] for index in indices] for name, indices in split.items()}
