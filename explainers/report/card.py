"""The classifier's card: matrices, recalls, calibration, sanity tests, causal scores, options and costs, as tables."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from cae.csv_files import csv_rows
from cae.diagnostics.reassignment import matrix_of
from cae.files import damaged
from cae.tables.headings import titles
from cae.tables.index import IndexRow
from explainers.caes.score_terms import INTERVENTIONAL
from explainers.report.text import percent

MOST_CLASSES = 20  # of a matrix that is shown
LEAST_CALIBRATED = 50  # images from which shares of right answers by probability are shown
BIN_EDGES = (0.0, 0.5, 0.7, 0.8, 0.9, 0.95, 0.99, 1.0)
SHADES = 10
CAUSAL_TERMS = ("necessity", "necessity_gain", "sufficiency", "caes_do", "caes_obj")


@dataclass(frozen=True)
class Cell:
    """A number of a matrix: as text, and how dark it is shown, from 0 to ``SHADES``."""

    text: str
    shade: int


@dataclass(frozen=True)
class Matrix:
    """A matrix with classes as rows and columns, and what both mean."""

    title: str
    note: str
    rows: str
    columns: str
    classes: Sequence[str]
    cells: Sequence[Sequence[Cell]]


@dataclass(frozen=True)
class Bin:
    """Images of like probability: its range, how many, their mean probability, and the share that is right."""

    range: str
    images: int
    probability: float
    right: float


def matrices(metrics: Mapping[str, float], rows: Sequence[IndexRow], classes: Sequence[str]) -> list[Matrix]:
    """Confusion of the explained images, and reassignment under classifier and oracle, as far as the run has them."""
    if len(classes) > MOST_CLASSES:
        return []
    found = [confusion(rows, classes)]
    for name, title in (
        ("cae/reassignment", "Reassignment, by the classifier"),
        ("cae/reassignment_oracle", "Reassignment, by the oracle"),
    ):
        values = matrix_of(metrics, classes, name).tolist()
        if any(not math.isnan(value) for row in values for value in row):
            note = "Share of images that take the class of the image whose class code they are given."
            cells = [[_share(value) for value in row] for row in values]
            found.append(Matrix(title, note, "own class", "class of the code", classes, cells))
    return [matrix for matrix in found if matrix is not None]


def confusion(rows: Iterable[IndexRow], classes: Sequence[str]) -> Matrix | None:
    """Labels against predictions of the explained images; None where no label is known."""
    known = {row.id: (row.label, row.source) for row in rows if row.label is not None}
    if not known:
        return None
    pairs = list(known.values())
    cells = []
    for label in classes:
        line = [sum(pair == (label, prediction) for pair in pairs) for prediction in classes]
        cells.append([Cell(str(count), _shade(count / (sum(line) or 1))) for count in line])
    note = f"The {len(known)} explained images whose label is known, counted."
    return Matrix("Confusion", note, "label", "prediction", classes, cells)


def _share(value: float) -> Cell:
    return Cell("–", 0) if math.isnan(value) else Cell(f"{value:.2f}", _shade(value))


def _shade(share: float) -> int:
    return round(SHADES * min(max(share, 0.0), 1.0))


def recalls(metrics: Mapping[str, float]) -> list[tuple[str, str, int]]:
    """Class, recall on test images in words, and its shade."""
    prefix = "classifier/recall/"
    found = [(name.removeprefix(prefix), value) for name, value in metrics.items() if name.startswith(prefix)]
    return [(name, percent(value), _shade(value)) for name, value in found]


def calibration(rows: Iterable[IndexRow]) -> list[Bin]:
    """How often the prediction is right, by its probability; nothing below 50 labelled images."""
    known = {row.id: (row.source_probability, row.label == row.source) for row in rows if row.label is not None}
    if len(known) < LEAST_CALIBRATED:
        return []
    bins = []
    for low, high in pairwise(BIN_EDGES):
        inside = [pair for pair in known.values() if low <= pair[0] < high or (high == 1.0 and pair[0] == 1.0)]
        if inside:
            probability, right = (sum(values) / len(inside) for values in zip(*inside, strict=True))
            bins.append(Bin(f"{low:g} to {high:g}", len(inside), probability, right))
    return bins


def causal_scores(folder: Path) -> list[dict[str, str]]:
    """Rows of the primary causal scores that ``explain.py caes`` left, with what each is; nothing without them."""
    path = folder / "scores.csv"
    if not path.exists():
        return []
    with damaged(path, "CSV", "`explain.py caes` writes it anew"):
        return [_causal_row(row) for row in csv_rows(path) if row["name"] in CAUSAL_TERMS and row["value"]]


def _causal_row(row: Mapping[str, str]) -> dict[str, str]:
    between = f"{float(row['low']):.2f} to {float(row['high']):.2f}" if row["low"] and row["high"] else ""
    return {
        "class": row["class"], "masks": row["source"], "term": row["name"],
        "kind": "intervention" if row["name"] in INTERVENTIONAL else "observation",
        "value": f"{float(row['value']):.3f}", "interval": between,
        "excess": f"{float(row['excess']):.1f}" if row.get("excess") else "",
    }  # fmt: skip


@dataclass(frozen=True)
class Number:
    """A number of ``metrics.json``: its name, heading, value and interval."""

    name: str
    heading: str
    value: str
    interval: str


def all_numbers(metrics: Mapping[str, float]) -> list[Number]:
    """Every number of the run with its interval; those that are cells of a matrix, or ends of an interval, are not."""
    headings = titles()
    found = []
    for name, value in metrics.items():
        if "->" in name or name.endswith(("_low", "_high")):
            continue
        low, high = metrics.get(f"{name}_low"), metrics.get(f"{name}_high")
        between = f"{low:.3f} to {high:.3f}" if low is not None and high is not None else ""
        heading = headings.get(name, name.rpartition("/")[2].replace("_", " "))
        found.append(Number(name, heading, _written(value), between))
    return found


def _written(value: float) -> str:
    whole = isinstance(value, bool | int) or (float(value).is_integer() and abs(value) >= 2)
    return f"{value:,.0f}" if whole else f"{value:.4g}"
