"""Pictures of ``docs/results``: points with intervals in columns, one line for each thing that is compared."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt

from benchmarks._further_pictures import Picture
from benchmarks._questions import Panel, Question, Row

OURS, OTHERS, GOAL = "#0072b2", "#555555", "#d55e00"  # told apart by the colour-blind
ARROWS = {"high": " →", "low": " ←", "": ""}  # which way is better
TITLE = 24  # letters in a line of a column's title
Results = Mapping[str, Mapping[str, Any]]


def draw(question: Question | Picture, results: Results, path: Path) -> None:
    """Draw the figures of a question, or of a picture beside it, one line for each row.

    Args:
        question: with its rows and panels.
        results: contents of ``benchmarks/results/<name>.json`` by name.
        path: of the PNG that is written.
    """
    rows, panels = question.rows, question.panels
    height = 0.27 * len(rows) + 0.95
    figure, axes = plt.subplots(1, len(panels), figsize=(11, height), sharey=True, squeeze=False)
    for panel, axis in zip(panels, axes[0], strict=True):
        _draw_panel(axis, panel, rows, results)
    axes[0][0].set_yticks(range(len(rows)), [row.words for row in rows], fontsize=9)
    axes[0][0].set_ylim(len(rows) - 0.5, -0.5)
    figure.tight_layout(w_pad=1.5)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110, metadata={"Software": None})
    plt.close(figure)


def _draw_panel(axis: Any, panel: Panel, rows: tuple[Row, ...], results: Results) -> None:
    for place, row in enumerate(rows):
        value, low, high = value_of(results[row.stem], row.key_of(panel))
        if value is None:
            continue
        colour = OURS if row.ours else OTHERS
        axis.plot([low, high], [place, place], color=colour, linewidth=2, solid_capstyle="butt")
        axis.plot([value], [place], "o" if row.ours else "s", color=colour, markersize=5)
    if panel.goal is not None:
        axis.axvline(panel.goal, color=GOAL, linestyle="--", linewidth=1)
    if panel.range is not None:
        axis.set_xlim(*panel.range)
    axis.set_title(textwrap.fill(panel.title + ARROWS[panel.better], TITLE), fontsize=9)
    axis.tick_params(axis="x", labelsize=8)
    axis.tick_params(axis="y", length=0)
    axis.grid(axis="x", color="#e0e0e0", linewidth=0.7)
    axis.set_axisbelow(True)
    for side in ("top", "right", "left"):
        axis.spines[side].set_visible(False)


def value_of(result: Mapping[str, Any], key: str) -> tuple[float | None, float | None, float | None]:
    """A figure with the ends of its interval, which are the figure itself where there is none.

    Paired differences are kept apart from the figures, and have names of their own (``a - b/figure``), as have those of
    each half (``confirmation: a - b/figure``). A difference by the name of a figure is that figure's to the baseline.
    """
    half, _, of_half = key.partition(": ")
    differences = result["choice"][half] if of_half else result.get("differences", {})
    if key not in result["figures"] and (of_half or key) in differences:
        value, low, high = differences[of_half or key]
        return value, low, high
    value = result["figures"].get(key)
    low, high = result.get("intervals", {}).get(key) or (value, value)
    return value, low, high
