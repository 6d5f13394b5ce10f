"""The picture of an experiment: every seed a dot, every arm its range and mean, beside the baseline."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from cae.canvas import FAINT, INK, OKABE_ITO
from cae.experiments.gathering import FINISHED, Line, Outcome, chosen_metrics
from cae.files import atomic_path

COLUMNS = 3  # panels beside each other


def draw_arms(
    path: str | Path, outcomes: Sequence[Outcome], found: Sequence[Line], patterns: Sequence[str], baseline: str
) -> None:
    """One panel for each shown figure, arms from top to bottom; nothing is drawn where no job has finished.

    Args:
        path: PNG file to write.
        outcomes: of the jobs.
        found: figures over seeds.
        patterns: which figures are shown.
        baseline: the arm whose mean is drawn through its panel.
    """
    metrics = chosen_metrics(patterns, (line.metric for line in found))
    arms = list(dict.fromkeys(one.arm for one in outcomes if one.arm))
    if not metrics:
        return
    columns = min(COLUMNS, len(metrics))
    rows = -(-len(metrics) // columns)
    figure = Figure(figsize=(1.6 + 3.2 * columns, rows * (1.0 + 0.28 * len(arms))), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(rows, columns, squeeze=False, sharey=True).flatten()
    for panel, metric in zip(panels, metrics, strict=False):
        _panel(panel, metric, arms, outcomes, [line for line in found if line.metric == metric], baseline)
    for panel in panels[len(metrics) :]:
        panel.set_visible(False)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=130)


def _panel(
    axes: Axes, metric: str, arms: Sequence[str], outcomes: Sequence[Outcome], found: Sequence[Line], baseline: str
) -> None:
    for line in found:
        row, colour = arms.index(line.arm), OKABE_ITO[0 if line.arm == baseline else 1]
        seeds = [one.figures[metric] for one in outcomes
                 if one.arm == line.arm and one.status == FINISHED and metric in one.figures]  # fmt: skip
        axes.plot([line.low, line.high], [row, row], color=colour, linewidth=2, solid_capstyle="butt")
        axes.plot(seeds, [row] * len(seeds), "o", color=colour, markersize=4, alpha=0.7)
        axes.plot([line.mean], [row], "|", color=INK, markersize=12, markeredgewidth=1.5)
        if line.arm == baseline:
            axes.axvline(line.mean, color=FAINT, linewidth=1, zorder=0)
    axes.set_title(metric, fontsize=9)
    axes.set_yticks(range(len(arms)), arms, fontsize=8)
    axes.set_ylim(len(arms) - 0.5, -0.5)
    axes.locator_params(axis="x", nbins=4)
    axes.tick_params(axis="x", labelsize=7)
    axes.spines[["top", "right"]].set_visible(False)
