"""The files of an experiment's figures: one row a job, one row a figure, and a table to read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from cae.csv_files import write_csv
from cae.experiments.gathering import FINISHED, Line, Outcome, chosen_metrics, summary
from cae.files import atomic_path, write_json

MISSING = "–"


def write_results(
    folder: Path, outcomes: Sequence[Outcome], found: Sequence[Line], patterns: Sequence[str], baseline: str
) -> str:
    """Write ``jobs.csv``, ``table.csv``, ``table.md`` and ``results.json`` into the folder.

    Args:
        folder: of the experiment.
        outcomes: of its jobs.
        found: its figures over seeds.
        patterns: which of them the table to read shows.
        baseline: the arm that others are compared with.

    Returns:
        the table to read, as Markdown.
    """
    rows = [{**asdict(one), **one.figures} for one in outcomes]
    _write_csv(folder / "jobs.csv", [{key: value for key, value in row.items() if key != "figures"} for row in rows])
    _write_csv(folder / "table.csv", [{**asdict(line), "seeds": " ".join(map(str, line.seeds))} for line in found])
    write_json(folder / "results.json", {"baseline": baseline, **summary(found, outcomes)})
    text = markdown(outcomes, found, patterns, baseline)
    with atomic_path(folder / "table.md") as temporary:
        temporary.write_text(text + "\n", encoding="utf-8")
    return text


def markdown(outcomes: Sequence[Outcome], found: Sequence[Line], patterns: Sequence[str], baseline: str) -> str:
    """Arms in columns, figures in rows; below them the jobs that have no figures, and why."""
    by_place = {(line.metric, line.arm): line for line in found}
    arms = list(dict.fromkeys(one.arm for one in outcomes if one.arm))
    rows = ["| figure | " + " | ".join(arms) + " |", "|---|" + "---|" * len(arms)]
    for metric in chosen_metrics(patterns, (line.metric for line in found)):
        rows.append(" | ".join([f"| {metric}", *(_cell(by_place.get((metric, arm))) for arm in arms)]) + " |")
    notes = ["", "Mean over seeds, in brackets their range."]
    if len(arms) > 1:
        notes[-1] += f" Δ: mean of the differences to `{baseline}` at the same seed, and their range."
    unfinished = [one for one in outcomes if one.status != FINISHED]
    notes += ["", f"Without figures, {len(unfinished)} of {len(outcomes)} jobs:", ""] if unfinished else []
    notes += [f"* {one.job}: {one.status}, {one.reason}" for one in unfinished]
    return "\n".join(rows + notes)


def _cell(line: Line | None) -> str:
    if line is None:
        return MISSING
    text = _with_range(line.mean, line.low, line.high, "") if len(line.seeds) > 1 else _number(line.mean)
    if line.difference is not None and line.difference_low is not None and line.difference_high is not None:
        text += f" Δ {_with_range(line.difference, line.difference_low, line.difference_high, '+')}"
    return text


def _with_range(mean: float, low: float, high: float, sign: str) -> str:
    return f"{_number(mean, sign)} [{_number(low, sign)}, {_number(high, sign)}]"


def _number(value: float, sign: str = "") -> str:
    """Three digits after the point, or as many as matter.

    >>> _number(0.12345), _number(412.7), _number(0.0)
    ('0.123', '413', '0.000')
    """
    if abs(value) >= 100:
        return f"{value:{sign},.0f}"
    return f"{round(value, 3) + 0.0:{sign}.3f}"  # no minus before a zero


def _write_csv(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    columns = list(dict.fromkeys(key for row in rows for key in row))
    write_csv(path, columns, ([row.get(column) for column in columns] for row in rows))
