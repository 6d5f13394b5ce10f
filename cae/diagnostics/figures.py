"""Pictures of the diagnostics: the grid of swaps and the matrix of reassignment rates."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from PIL import Image, ImageDraw
from torch import Tensor

from cae.canvas import INK, PAPER, tile, tile_size
from cae.files import atomic_path
from cae.lettering import font, legible

SWAPS = ("class of the donor of the class code", "class of the recipient")


def swap_grid(recipients: Tensor, donors: Tensor, swaps: Tensor, path: str | Path) -> None:
    """The matrix of swaps: recipients down the left side, donors along the top, each swap where they meet.

    Args:
        recipients: ``(N, C, H, W)`` in [0, 1], which keep their appearance.
        donors: ``(M, C, H, W)``, which give their class.
        swaps: ``(N, M, C, H, W)``.
        path: PNG file to write.
    """
    height, width = tile_size(*recipients.shape[2:])
    left, top = width + 18, height + 38
    page = Image.new("RGB", (left + len(donors) * (width + 4) + 4, top + len(recipients) * (height + 4) + 4), PAPER)
    draw = ImageDraw.Draw(page)
    draw.text((left, 8), "donors of the class code →", fill=INK, font=font(13))
    draw.multiline_text((8, top - 40), "recipients ↓", fill=INK, font=font(13))
    draw.line((left - 8, 8, left - 8, page.height - 8), fill="#BBBBBB", width=1)
    draw.line((8, top - 8, page.width - 8, top - 8), fill="#BBBBBB", width=1)
    for column, donor in enumerate(donors):
        page.paste(tile(donor), (left + column * (width + 4), 26))
    for row, recipient in enumerate(recipients):
        page.paste(tile(recipient), (6, top + row * (height + 4)))
        for column, swap in enumerate(swaps[row]):
            page.paste(tile(swap), (left + column * (width + 4), top + row * (height + 4)))
    with atomic_path(path) as temporary:
        page.save(temporary, format="PNG")


def draw_reassignment(
    matrix_target: Tensor, matrix_oracle: Tensor | None, classes: Sequence[str], path: str | Path
) -> None:
    """Reassignment matrices ``(K, K)`` under the target and under the oracle, side by side, as numbers on colours."""
    panels = [("by the classifier", matrix_target)]
    if matrix_oracle is not None:
        panels.append(("by the oracle", matrix_oracle))
    side = float(np.clip(0.62 * len(classes) + 1.6, 3.6, 9))
    figure = Figure(figsize=(side * len(panels) + 1, side + 0.5), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.subplots(1, len(panels), squeeze=False)[0]
    for axes, (name, matrix) in zip(grid, panels, strict=True):
        shown = _draw_matrix(axes, matrix.double().cpu().numpy(), classes, classes)
        off = matrix[~torch.eye(len(matrix), dtype=torch.bool)].nanmean()
        axes.set_title(f"{name}\nbetween classes {off:.2f}, kept {matrix.diagonal().nanmean():.2f}", fontsize=11)
    figure.colorbar(shown, ax=list(grid), label="share classified as the donor's class", shrink=0.85)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png")


def draw_confusion(
    matrices: Sequence[tuple[str, str, Sequence[Sequence[int]]]], classes: Sequence[str], path: str | Path
) -> None:
    """Matrices of images by two kinds of class, each row as shares of its images.

    Args:
        matrices: heading of the rows, heading of the columns, and ``(K, K)`` numbers of images, of each.
        classes: names of the K classes.
        path: PNG file to write.
    """
    side = float(np.clip(0.62 * len(classes) + 1.6, 3.6, 9))
    figure = Figure(figsize=(side * len(matrices) + 1, side + 0.5), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.subplots(1, len(matrices), squeeze=False)[0]
    for axes, (rows, columns, counts) in zip(grid, matrices, strict=True):
        images = torch.tensor(counts, dtype=torch.double)
        shares = images / images.sum(1, keepdim=True)
        names = [f"{name} ({int(count)})" for name, count in zip(classes, images.sum(1), strict=True)]
        shown = _draw_matrix(axes, shares.numpy(), classes, names, (columns, f"{rows} (images)"))
        whole = float(images.diagonal().sum() / images.sum())
        axes.set_title(f"alike {whole:.2f}, balanced {shares.diagonal().nanmean():.2f}", fontsize=11)
    figure.colorbar(shown, ax=list(grid), label="share of the row's images", shrink=0.85)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png")


def _draw_matrix(
    axes: Axes, matrix: np.ndarray, classes: Sequence[str], rows: Sequence[str], headings: tuple[str, str] = SWAPS
) -> AxesImage:
    number = len(classes)
    shown = axes.imshow(np.ma.masked_invalid(matrix), cmap="viridis", vmin=0, vmax=1)
    axes.set_facecolor("#EEEEEE")
    shown_names = ([legible(name) for name in part] for part in (classes, rows))
    names, beside = ([name if len(name) <= 20 else name[:19] + "…" for name in part] for part in shown_names)
    turned = number > 4 or max(map(len, names)) > 9
    axes.set_xticks(range(number), names, rotation=40 if turned else 0, ha="right" if turned else "center", fontsize=9)
    axes.set_yticks(range(number), beside, fontsize=9)
    axes.set_xlabel(headings[0])
    axes.set_ylabel(headings[1])
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    for (row, column), value in np.ndenumerate(matrix):
        text = "–" if np.isnan(value) else f"{value:.2f}"
        colour = INK if np.isnan(value) or value > 0.6 else "white"
        axes.text(
            column, row, text, ha="center", va="center", fontsize=9 if number > 5 else 11, color=colour, in_layout=False
        )
    return shown
