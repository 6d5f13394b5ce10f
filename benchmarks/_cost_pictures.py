"""Pictures of quality against cost: one point for each method, named where it lies."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
from matplotlib.patheffects import withStroke
from matplotlib.ticker import FuncFormatter

from benchmarks._further_pictures import Picture
from benchmarks._questions import Panel, Row
from benchmarks._result_pictures import ARROWS, GOAL, OTHERS, OURS, value_of

SIZE = 7.5  # of the letters in points
LETTER = 0.55  # of the size: the mean width of a letter
GAP = 1.7  # of the size between the middles of two names
BESIDE = 1.2  # of the size between a point and its name
Results = Mapping[str, Mapping[str, Any]]


class Point(NamedTuple):
    """A method in a panel: its name, what it costs, what it is worth, and its colour."""

    words: str
    cost: float
    value: float
    colour: str


class Strip(NamedTuple):
    """What a name or a point takes of a panel, in points of print: from left to right, around a height."""

    left: float
    right: float
    height: float


def draw_against_cost(picture: Picture, cost: Panel, results: Results, path: Path) -> None:
    """Draw every panel of a picture against its cost, on a logarithmic axis.

    Args:
        picture: with its rows and panels.
        cost: what the horizontal axis shows.
        results: contents of ``benchmarks/results/<name>.json`` by name.
        path: of the PNG that is written.
    """
    columns = len(picture.panels)
    figure, axes = plt.subplots(1, columns, figsize=(min(11, 6.5 * columns), 4.2), squeeze=False)
    points = [
        _draw_panel(axis, panel, cost, picture.rows, results)
        for panel, axis in zip(picture.panels, axes[0], strict=True)
    ]
    figure.tight_layout(w_pad=2)
    for axis, of_axis in zip(axes[0], points, strict=True):
        _name(axis, of_axis)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110, metadata={"Software": None})
    plt.close(figure)


def _draw_panel(axis: Any, panel: Panel, cost: Panel, rows: Sequence[Row], results: Results) -> list[Point]:
    """Draw the points with their bars; what they are called is written later, when the axes have their places."""
    points = []
    for row in rows:
        value, low, high = value_of(results[row.stem], row.key_of(panel))
        spent, *_ = value_of(results[row.stem], row.key_of(cost))
        if value is None or spent is None:
            continue
        colour = OURS if row.ours else OTHERS
        axis.plot([spent, spent], [low, high], color=colour, linewidth=1.5, alpha=0.6)
        axis.plot([spent], [value], "o" if row.ours else "s", color=colour, markersize=6)
        points.append(Point(row.words, spent, value, colour))
    axis.set_xscale("log")
    axis.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    low, high = axis.get_xlim()
    axis.set_xlim(low / 1.2, high * (high / low) ** 0.45)  # room for names
    if panel.range is not None:
        axis.set_ylim(*panel.range)
    if panel.goal is not None:
        axis.axhline(panel.goal, color=GOAL, linestyle="--", linewidth=1)
    axis.set_title(
        textwrap.fill(panel.title + ARROWS[panel.better].replace("→", "↑").replace("←", "↓"), 40), fontsize=9
    )
    axis.set_xlabel(cost.title + ARROWS[cost.better], fontsize=8)
    axis.tick_params(labelsize=8)
    axis.grid(color="#e8e8e8", linewidth=0.7)
    axis.set_axisbelow(True)
    for side in ("top", "right"):
        axis.spines[side].set_visible(False)
    return points


def _name(axis: Any, points: Sequence[Point]) -> None:
    """Write the names to the right of the points, lower where they would meet another name or point."""
    to_points = axis.transData + axis.transAxes.inverted()
    width, height = (72 / axis.figure.dpi * side for side in (axis.bbox.width, axis.bbox.height))
    dots = [(width * x, height * y) for x, y in (to_points.transform((one.cost, one.value)) for one in points)]
    taken = [Strip(x - SIZE / 2, x + SIZE / 2, y) for x, y in dots]
    for point, (x, y) in sorted(zip(points, dots, strict=True), key=lambda pair: -pair[1][1]):
        left = x + BESIDE * SIZE
        right = left + LETTER * SIZE * len(point.words)
        line = free_height(y, [strip.height for strip in taken if strip.left < right and left < strip.right])
        taken.append(Strip(left, right, line))
        text = axis.annotate(
            point.words, (x / width, y / height), (left / width, line / height), xycoords="axes fraction",
            textcoords="axes fraction", fontsize=SIZE, color=point.colour, va="center",
            arrowprops={"arrowstyle": "-", "color": point.colour, "linewidth": 0.5, "shrinkA": 0, "shrinkB": 2},
        )  # fmt: skip
        text.set_path_effects([withStroke(linewidth=2, foreground="white")])


def free_height(height: float, taken: Sequence[float]) -> float:
    """The height itself, or the nearest lower one, in points, that is ``GAP`` letters from all that are taken.

    >>> free_height(50.0, [90.0]), free_height(50.0, [52.0])
    (50.0, 39.25)
    """
    for other in sorted(taken, reverse=True):
        if abs(other - height) < GAP * SIZE:
            height = other - GAP * SIZE
    return height
