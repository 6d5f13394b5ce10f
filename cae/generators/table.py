"""Figures of every arm over all images: means with intervals, paired differences to the baseline, distances of sets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from cae.csv_files import write_csv
from cae.files import atomic_path, write_json
from cae.generators.measures import WORDS, Better, Values
from cae.metrics.realism import fid, kid, sfid
from cae.metrics.statistics import Bootstrap, Interval, binomial_interval

ARROWS = {"higher": " ↑", "lower": " ↓", "none": ""}
SETS: dict[str, tuple[str, Better]] = {
    "sfid": (
        "Fréchet distance of the counterfactuals to the originals of other images, in the classifier's features",
        "lower",
    ),
    "end_sfid": ("the same at the path's end", "lower"),
    "oracle_sfid": ("sFID in the oracle's features", "lower"),
    "end_oracle_sfid": ("the same at the path's end", "lower"),
    "skid": ("the same as sFID by the kernel distance, for few images", "lower"),
    "end_skid": ("the same at the path's end", "lower"),
}
MEANINGS = WORDS | SETS  # of every column
ORIGINALS = "other originals"  # the control of distances between sets
SHOWN = ("found", "oracle", "oracle_end", "end_l1", "end_changed_share", "end_cout", "evidence_pointing",
         "evidence_dice", "raw_pointing", "raw_dice", "changed_outside", "diversity", "end_sfid", "end_skid",
         "classifier_passes", "own_passes", "seconds", "peak_megabytes")  # fmt: skip


@dataclass(frozen=True)
class Figure:
    """One metric of one arm.

    Attributes:
        metric: name.
        arm: name.
        mean: over the images that define it; of a set, the distance.
        low: lower end of the 95 % interval over images; None of a set.
        high: upper end.
        images: that define it.
        difference: mean paired difference, arm minus baseline; None of the baseline and where no image defines both.
        difference_low: lower end of its 95 % interval.
        difference_high: upper end.
    """

    metric: str
    arm: str
    mean: float
    low: float | None
    high: float | None
    images: int
    difference: float | None = None
    difference_low: float | None = None
    difference_high: float | None = None


def figures_of(values: Mapping[str, Sequence[Values]], baseline: str, seed: int = 0) -> list[Figure]:
    """Means of every metric of every arm, with intervals over images and paired differences to the baseline.

    Args:
        values: by arm, of the same images in the same order.
        baseline: an arm.
        seed: of the bootstrap.
    """
    count = len(values[baseline])
    bootstrap, found = Bootstrap(range(count), seed=seed), list[Figure]()
    for metric in WORDS:
        columns = {arm: _column(rows, metric) for arm, rows in values.items()}
        for arm, column in columns.items():
            mean = _mean(bootstrap, column)
            if mean is None:
                continue
            against = None if arm == baseline else bootstrap.mean(column - columns[baseline])
            pair = () if against is None else (against.mean, against.low, against.high)
            images = int((~np.isnan(column)).sum())
            found.append(Figure(metric, arm, mean.mean, mean.low, mean.high, images, *pair))
    return found


def _mean(bootstrap: Bootstrap, column: np.ndarray) -> Interval | None:
    """The mean with its interval; of a share that is 0 or 1 in every image, the exact one: resamples are all alike."""
    found, known = bootstrap.mean(column), column[~np.isnan(column)]
    if found is not None and found.low == found.high and found.mean in (0.0, 1.0):
        return Interval(found.mean, *binomial_interval(int(known.sum()), len(known)))
    return found


def _column(rows: Sequence[Values], metric: str) -> np.ndarray:
    return np.array([np.nan if row.get(metric) is None else row[metric] for row in rows], dtype=float)


def set_figures(features: Mapping[str, Mapping[str, Tensor]], seed: int = 0) -> list[Figure]:
    """How far the counterfactuals of every arm, as a set, lie from the originals of other images.

    A Fréchet distance needs more images in each half than features; without them there is only the kernel distance.
    The first arm's originals against themselves are the control, ``other originals``: the least to be expected.

    Args:
        features: by arm, then by whose they are (``classifier``, ``oracle``), ``(N, 3, F)`` of originals,
            counterfactuals and ends of paths.
        seed: of the halves.
    """
    found = list[Figure]()
    for number, (arm, readers) in enumerate(features.items()):
        for reader, rows in readers.items():
            names = {"classifier": "sfid", "oracle": "oracle_sfid"}
            control = [(0, "", ORIGINALS), (0, "end_", ORIGINALS)] if number == 0 else []
            for which, prefix, name in [(1, "", arm), (2, "end_", arm), *control]:
                half, width = len(rows) // 2, rows.shape[2]
                if half > width:
                    value = sfid(rows[:, 0], rows[:, which], seed=seed, distance=fid)
                    found.append(Figure(prefix + names[reader], name, value, None, None, len(rows)))
                if half > 1 and reader == "classifier":
                    value = sfid(rows[:, 0], rows[:, which], seed=seed, distance=kid)
                    found.append(Figure(f"{prefix}skid", name, value, None, None, len(rows)))
    return found


def write_tables(
    folder: Path,
    ids: Sequence[str],
    values: Mapping[str, Sequence[Values]],
    features: Mapping[str, Mapping[str, Tensor]],
    arms: Sequence[Mapping[str, Any]],
    seed: int = 0,
) -> tuple[str, list[Figure]]:
    """Write ``table.csv``, ``table.json``, ``table.md`` and ``rows.csv``, and give the Markdown table and all figures.

    Args:
        folder: where to.
        ids: of the images.
        values: by arm, in the order of ``ids``.
        features: as for ``set_figures``.
        arms: as in ``generators.json``, the baseline first.
        seed: of intervals and halves.
    """
    figures = [*figures_of(values, arms[0]["name"], seed), *set_figures(features, seed)]
    rows = [asdict(figure) for figure in figures]
    write_json(folder / "table.json", rows)
    write_csv(folder / "table.csv", list(rows[0]), [list(row.values()) for row in rows])
    columns = [*WORDS]
    cells = [
        [id, arm, *(row.get(name) for name in columns)]
        for arm, found in values.items()
        for id, row in zip(ids, found, strict=True)
    ]
    write_csv(folder / "rows.csv", ["image", "arm", *columns], cells)
    text = markdown(figures, arms, len(ids))
    with atomic_path(folder / "table.md") as temporary:
        temporary.write_text(text + "\n", encoding="utf-8")
    return text, figures


def markdown(figures: Sequence[Figure], arms: Sequence[Mapping[str, Any]], images: int) -> str:
    """The main figures as a table, one row a metric and one column an arm, with what they mean."""
    by_place = {(figure.metric, figure.arm): figure for figure in figures}
    known = {figure.arm for figure in figures}
    names = [arm["name"] for arm in arms] + ([ORIGINALS] if ORIGINALS in known else [])
    lines = ["| | " + " | ".join(names) + " |", "|" + "---|" * (len(names) + 1)]
    shown = [name for name in SHOWN if any(figure.metric == name for figure in figures)]
    for metric in shown:
        arrow = ARROWS[MEANINGS[metric][1]]
        cells = [_cell(by_place.get((metric, name))) for name in names]
        lines.append(f"| {metric}{arrow} | " + " | ".join(cells) + " |")
    minutes = [_minutes(arm.get("training_seconds")) for arm in arms] + ["–"] * (len(names) - len(arms))
    lines.append("| minutes of training ↓ | " + " | ".join(minutes) + " |")
    notes = [
        f"{images} images, those without a counterfactual counted too. Mean, in brackets the 95 % bootstrap interval "
        f"over images; * where the interval of the paired difference to {arms[0]['name']} excludes zero.",
        *(f"`{arm['name']}`: {arm['words']}." for arm in arms),
        *(f"`{name}`: {MEANINGS[name][0]}." for name in shown),
    ]
    return "\n".join([*lines, "", *notes])


def _cell(figure: Figure | None) -> str:
    if figure is None:
        return "–"
    digits = 1 if abs(figure.mean) >= 10 else 3
    text = f"{figure.mean:.{digits}f}"
    if figure.low is not None and figure.high is not None and figure.high > figure.low:
        text += f" [{figure.low:.{digits}f}, {figure.high:.{digits}f}]"
    low, high = figure.difference_low, figure.difference_high
    return text + (" *" if low is not None and high is not None and (low > 0 or high < 0) else "")


def _minutes(seconds: float | None) -> str:
    return "–" if seconds is None else f"{seconds / 60:.1f}"


def stacked(features: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """Features of several images, by whose they are: ``(N, 3, F)``."""
    return {name: torch.stack([row[name] for row in features]) for name in features[0]} if features else {}
