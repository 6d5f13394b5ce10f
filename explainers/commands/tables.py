"""Tables over images and methods: numbers with intervals, the control beside them, best values only where sure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cae.csv_files import write_csv
from cae.files import atomic_path, write_json
from explainers.metrics import CONTROL, HEADLINE, Figure, describe, localisation_words, summarise

COSTS = ("evaluations", "seconds")
Row = Mapping[str, Mapping[str, float | None]]  # values of one image, by method and metric
ARROWS = {"high": "↑", "low": "↓", None: ""}


def write_tables(
    folder: Path,
    rows: Mapping[str, Row],
    checks: Mapping[str, Mapping[str, Any]],
    class_specific: Mapping[str, bool],
) -> str:
    """Write what was measured, and give the main table as text.

    Writes ``table.csv`` and ``table.json`` (every figure with its interval), ``table.md`` (the main figures),
    ``rows.csv`` (one line per image and method) and ``costs.csv`` (evaluations and seconds, the latter never twice
    the same).

    Args:
        folder: where to.
        rows: by image id; values by method and metric, None where undefined.
        checks: by method, robustness and sanity as ``{"images": n, "values": [one dict per image]}``.
        class_specific: by method, whether its maps have a sign by class.
    """
    values = _merged(rows, checks)
    measured = {id: {name: _without(row, ("seconds",)) for name, row in found.items()} for id, found in values.items()}
    figures = summarise(measured)
    write_json(folder / "table.json", [figure.as_dict() for figure in figures])
    write_rows(folder / "table.csv", [figure.as_dict() for figure in figures])
    write_rows(folder / "rows.csv", [{"image": id, "method": name, **row} for id, found in measured.items()
                                     for name, row in found.items()])  # fmt: skip
    costs = [
        {"image": id, "method": name, **{key: row[key] for key in COSTS}}
        for id, found in values.items()
        for name, row in found.items()
        if all(key in row for key in COSTS)
    ]
    write_rows(folder / "costs.csv", costs)
    text = _markdown(figures, costs, class_specific, len(rows))
    with atomic_path(folder / "table.md") as temporary:
        temporary.write_text(text + "\n", encoding="utf-8")
    return text


def _merged(rows: Mapping[str, Row], checks: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, dict]]:
    """The rows, with the checks of a method put into those of the first images, on which they were made."""
    merged = {id: {name: dict(values) for name, values in found.items()} for id, found in rows.items()}
    for name, check in checks.items():
        for found, values in zip(merged.values(), check["values"], strict=False):
            if name in found:
                found[name] |= values
    return merged


def _without(row: Mapping[str, float | None], names: Sequence[str]) -> dict[str, float | None]:
    return {key: value for key, value in row.items() if key not in names}


def write_rows(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write rows as CSV, atomically; None and absent values are empty cells."""
    columns = list(dict.fromkeys(key for row in rows for key in row))
    write_csv(path, columns, ([row.get(key) for key in columns] for row in rows))


def _markdown(
    figures: Sequence[Figure], costs: Sequence[Mapping[str, Any]], class_specific: Mapping[str, bool], images: int
) -> str:
    """The main figures as a Markdown table: one block of methods with a sign by class, one of those without."""
    by_place = {(figure.metric, figure.method): figure for figure in figures}
    shown = [name for name in HEADLINE if name not in COSTS and any(f.count and f.metric == name for f in figures)]
    header = ["method", *(f"{name} {ARROWS[describe(name).better]}".strip() for name in shown), *COSTS]
    lines = ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    specific = [name for name, has in class_specific.items() if has]
    others = [name for name, has in class_specific.items() if not has]
    for block in (specific, [f"_{name}_" for name in others], [CONTROL]):
        for label in block:
            name = label.strip("_")
            cells = [_cell(by_place.get((metric, name))) for metric in shown]
            lines.append("| " + " | ".join([label, *cells, *(_mean(costs, name, key) for key in COSTS)]) + " |")
    notes = [
        f"{images} images. Mean, in brackets the 95 % bootstrap interval over images; **bold** where the interval of "
        "the differences to every other row excludes zero.",
        *(f"`{name}`: {describe(name).words}." for name in shown),
        localisation_words(((figure.metric, figure.count) for figure in figures), images),
    ]
    if others:
        notes.append("In italics: maps without a sign by class.")
    return "\n".join([*lines, "", *notes])


def _cell(figure: Figure | None) -> str:
    if figure is None or figure.mean is None:
        return "–"
    text = f"{figure.mean:.3f}"
    if figure.low is not None and figure.high is not None:
        text += f" [{figure.low:.3f}, {figure.high:.3f}]"
    return f"**{text}**" if figure.best else text


def _mean(costs: Sequence[Mapping[str, Any]], name: str, key: str) -> str:
    found = [row[key] for row in costs if row["method"] == name]
    if not found:
        return "–"
    mean = sum(found) / len(found)
    return f"{mean:.0f}" if key == "evaluations" else f"{mean:.2f}"
