"""What a data source is, as a report: counts, sizes, values, masks, duplicates, and everything worth a second look."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from cae.config import DataConfig
from cae.data import medical, pictures
from cae.data.headers import image_shape
from cae.data.images import ImageRef
from cae.data.inspection import FATES, mask_fates
from cae.data.records import FileSet
from cae.data.splits import SPLITS, class_counts, few
from cae.data.survey import NearDuplicate, SplitSurvey, duplicates_across, survey_all
from cae.data.types import Splits
from cae.errors import UserError

SIZES_SHOWN = 4


@dataclass(frozen=True)
class DataReport:
    """Everything that ``train.py check`` tells of a source.

    Attributes:
        source: ``data.source``.
        path: ``data.path``.
        classes: names, in label order.
        counts: images of each class, by split.
        groups: number of groups (patients, volumes) by split; empty where nothing groups the images.
        sizes: number of files by width and height as stored; empty for images that are no files.
        kinds: number of files by format, bit depth and colour.
        surveys: what the pixels of each split are like.
        mask_fates: ids by what becomes of their masks on the way to the size of the program.
        duplicates: images that look like one of another split, by the two splits.
        notes: sentences from opening the source.
        problems: damaged files.
    """

    source: str
    path: str | None
    classes: tuple[str, ...]
    counts: dict[str, dict[str, int]]
    groups: dict[str, int]
    sizes: Counter[tuple[int, int]]
    kinds: Counter[str]
    surveys: dict[str, SplitSurvey]
    mask_fates: dict[str, list[str]]
    duplicates: dict[tuple[str, str], list[NearDuplicate]]
    notes: tuple[str, ...]
    problems: tuple[str, ...]

    def lines(self) -> list[str]:
        """The report in words: counts first, then files, values, masks, and what is doubtful."""
        return [*self._count_lines(), *self._file_lines(), *self._level_lines(), *self._mask_lines(), *self.doubts()]

    def _count_lines(self) -> list[str]:
        lines = []
        for name, counts in self.counts.items():
            classes = ", ".join(f"{cls} {count}" for cls, count in counts.items())
            groups = f"; {self.groups[name]} groups" if name in self.groups else ""
            lines.append(f"{name}: {sum(counts.values())} images ({classes}){groups}")
        return lines

    def _file_lines(self) -> list[str]:
        lines = []
        if self.sizes:
            shown = ", ".join(f"{w} × {h} ({count})" for (w, h), count in self.sizes.most_common(SIZES_SHOWN))
            more = len(self.sizes) - SIZES_SHOWN
            lines.append(f"sizes: {shown}" + (f" and {more} others" if more > 0 else ""))
        if self.kinds:
            lines.append("kinds: " + "; ".join(f"{kind} ({count})" for kind, count in self.kinds.most_common()))
        return lines

    def _level_lines(self) -> list[str]:
        return [
            f"values of {name}, on [0, 1]: {found.levels[:, 0].min():.2f} to {found.levels[:, 2].max():.2f}, mean "
            f"{found.levels[:, 1].mean():.3f}, means of single images {found.levels[:, 1].min():.2f} to "
            f"{found.levels[:, 1].max():.2f}"
            for name, found in self.surveys.items()
            if len(found.ids)
        ]

    def _mask_lines(self) -> list[str]:
        areas = torch.cat([found.mask_area for found in self.surveys.values()])
        known = areas[~areas.isnan()]
        if not len(known):
            return []
        return [
            f"masks: {len(known)} of {len(areas)} images; they cover {known.min():.1%} to {known.max():.1%} of it "
            f"(median {known.median():.1%})"
        ]

    def doubts(self) -> list[str]:
        """Sentences about what is seldom meant: blank images, masks that say nothing, images in two splits."""
        found = survey_doubts(self.surveys, {})
        found += [
            f"{len(self.mask_fates[fate])} masks {words}: {few(self.mask_fates[fate])}."
            for fate, words in FATES.items()
            if self.mask_fates.get(fate)
        ]
        return found + survey_doubts({}, self.duplicates)

    def as_json(self) -> dict[str, Any]:
        """Everything, with the ids."""
        return {
            "source": self.source,
            "path": self.path,
            "classes": list(self.classes),
            "counts": self.counts,
            "groups": self.groups,
            "sizes": [{"width": w, "height": h, "files": count} for (w, h), count in self.sizes.most_common()],
            "kinds": dict(self.kinds.most_common()),
            "values": {
                name: dict(zip(("low", "mean", "high"), _ends(found), strict=True))
                for name, found in self.surveys.items()
                if len(found.ids)
            },
            "constant": named(self.surveys, "constant"),
            "nearly_black": named(self.surveys, "dark"),
            "nearly_white": named(self.surveys, "light"),
            "masks": self.mask_fates,
            "near_duplicates": [
                {"split": one, "id": pair.id, "other_split": other, "other_id": pair.other,
                 "correlation": round(pair.correlation, 5)}
                for (one, other), pairs in self.duplicates.items() for pair in pairs
            ],
            "doubts": self.doubts(),
            "notes": list(self.notes),
            "unreadable": list(self.problems),
        }  # fmt: skip


def named(surveys: Mapping[str, SplitSurvey], kind: str) -> list[str]:
    """Ids of the images of all splits that are ``constant``, ``dark`` or ``light``."""
    return [id for found in surveys.values() for id in getattr(found, kind)]


def survey_doubts(
    surveys: Mapping[str, SplitSurvey], duplicates: Mapping[tuple[str, str], Sequence[NearDuplicate]]
) -> list[str]:
    """Sentences about blank images, and about images that look almost like one of another split."""
    kinds = {"of one value everywhere": "constant", "nearly black": "dark", "nearly white": "light"}
    blank = {words: named(surveys, kind) for words, kind in kinds.items()}
    found = [f"{len(names)} images are {words}: {few(names)}." for words, names in blank.items() if names]
    for (one, other), pairs in duplicates.items():
        if pairs:
            names = ", ".join(f"'{pair.id}' and '{pair.other}'" for pair in pairs[:3])
            more = f" (+{len(pairs) - 3} more)" if len(pairs) > 3 else ""
            found.append(f"{len(pairs)} images of {one} look almost exactly like one of {other}: {names}{more}.")
    return found


def _ends(found: SplitSurvey) -> list[float]:
    low, mean, high = found.levels.unbind(1)
    return [round(float(value), 4) for value in (low.min(), mean.mean(), high.max())]


def examine(config: DataConfig, splits: Splits, progress: bool = False) -> DataReport:
    """Read every file and pixel of an open source and say what is there; damaged files are listed, not raised."""
    surveys = survey_all(splits, config.workers, progress)
    problems = [problem for found in surveys.values() for problem in found.problems]
    sets = {name: getattr(splits, name) for name in SPLITS}
    files = [images for images in sets.values() if isinstance(images, FileSet)]
    sizes, kinds = _headers([record.image for images in files for record in images.records])
    return DataReport(
        source=config.source,
        path=config.path,
        classes=splits.classes,
        counts={
            name: dict(zip(splits.classes, class_counts(images.labels, splits.classes), strict=True))
            for name, images in sets.items()
        },
        groups={name: count for name, images in sets.items() if (count := _count_groups(images))},
        sizes=sizes,
        kinds=kinds,
        surveys=surveys,
        mask_fates=_fates(config, files, surveys),
        duplicates=duplicates_across(splits, surveys),
        notes=splits.notes,
        problems=tuple(problems),
    )


def _headers(refs: Sequence[ImageRef]) -> tuple[Counter[tuple[int, int]], Counter[str]]:
    """How many files there are of each size, and of each kind; damaged ones are told elsewhere."""
    sizes, kinds = Counter[tuple[int, int]](), Counter[str]()
    for ref in refs:
        try:
            _, height, width = image_shape(ref)
            kinds[_kind(ref)] += 1
        except (UserError, OSError):
            continue
        sizes[width, height] += 1
    return sizes, kinds


def _kind(ref: ImageRef) -> str:
    if medical.is_nifti(ref.path):
        return "NIfTI"
    return "DICOM" if medical.is_dicom(ref.path) else pictures.kind(ref.path)


def _count_groups(images: Any) -> int:
    """Groups of more than one image that a set has, with its single images; 0 where nothing groups them."""
    if not isinstance(images, FileSet):
        return 0
    groups = Counter(record.id if record.group is None else record.group for record in images.records)
    return len(groups) if len(groups) < len(images) else 0


def _fates(config: DataConfig, files: Sequence[FileSet], surveys: dict[str, SplitSurvey]) -> dict[str, list[str]]:
    """Ids by the fate of their masks; of images that are no files, which masks are empty or cover everything."""
    if files:
        readable = {id for found in surveys.values() for id in found.ids}
        return mask_fates(config, [one for images in files for one in images.records if one.id in readable])
    fates = {"empty": lambda area: area == 0, "full": lambda area: area > 0.9}
    named = {fate: [id for found in surveys.values() for id in found.named(is_so(found.mask_area))]
             for fate, is_so in fates.items()}  # fmt: skip
    return {fate: ids for fate, ids in named.items() if ids}
