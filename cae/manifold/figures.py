"""Pictures of the manifold: 2-D maps of the class codes, and images moved along directions of the code."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import PathCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.offsetbox import AnnotationBbox, OffsetImage
from PIL import Image, ImageDraw
from torch import Tensor

from cae.canvas import FAINT, INK, OKABE_ITO, PAPER, fitted, tile, tile_size
from cae.files import atomic_path
from cae.lettering import font, legible
from cae.manifold.image_codes import ImageCodes
from cae.manifold.projection import Embedding
from cae.manifold.traversals import DirectionTraversals

MARKERS = "oXsD^vP*<>"  # a second sign beside the colour, for more than eight classes and for print


def draw_embedding(
    embedding: Embedding, images: ImageCodes, classes: Sequence[str], path: str | Path, title: str = ""
) -> None:
    """The map twice: coloured by the classifier's prediction, and by the probability of that prediction.

    A ring marks images whose known label differs from the prediction. Of images with thumbnails a handful, far from
    one another on the map, are shown.

    Args:
        embedding: of ``embed``.
        images: whose codes are on the map, in the same order.
        classes: K names.
        path: PNG file to write.
        title: put before method and trustworthiness.
    """
    points, predictions = embedding.coordinates.numpy(), images.predictions.numpy()
    figure = Figure(figsize=(13, 6.2), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2, sharex=True, sharey=True)
    size = float(np.clip(8000 / len(points), 10, 45))
    handles = _draw_predictions(left, points, predictions, images.labels.numpy(), list(classes), size)
    shown = _draw_certainty(right, points, images.probabilities.amax(1).numpy(), len(classes), size)
    figure.colorbar(shown, ax=right, label="probability of the predicted class", shrink=0.85)
    for axes in (left, right):
        axes.set_xlabel(embedding.axes[0])
        axes.set_ylabel(embedding.axes[1])
        axes.margins(0.08 if images.thumbnails is None else 0.24)  # room for the ring of thumbnails
        axes.spines[["top", "right"]].set_visible(False)
    if images.thumbnails is not None:
        _draw_thumbnails(left, points, predictions, images.thumbnails)
    figure.legend(handles=handles, loc="outside lower center", ncols=min(len(handles), 6), frameon=False, fontsize=10)
    caption = {"pca": "PCA", "tsne": "t-SNE", "umap": "UMAP"}[embedding.method]
    head = f"{title} · " if title else ""
    figure.suptitle(
        f"{head}{caption} of {len(points)} class codes, trustworthiness {embedding.trustworthiness:.2f}", fontsize=13
    )
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png")


def class_colour(index: int) -> str:
    """Colour of a class; after eight they repeat, and the marker tells them apart."""
    return OKABE_ITO[index % len(OKABE_ITO)]


def _draw_predictions(
    axes: Axes, points: np.ndarray, predictions: np.ndarray, labels: np.ndarray, classes: Sequence[str], size: float
) -> list[Line2D]:
    """Scatter the points; the entries of the legend."""
    handles: list[Line2D] = []
    for k, name in enumerate(classes):
        of_class = predictions == k
        marker = MARKERS[k % len(MARKERS)]
        axes.scatter(
            points[of_class, 0], points[of_class, 1], s=size, c=class_colour(k), marker=marker, alpha=0.75, linewidths=0
        )
        handles.append(
            Line2D([], [], ls="", marker=marker, color=class_colour(k), label=f"{legible(name)} ({of_class.sum()})")
        )
    wrong = (labels >= 0) & (labels != predictions)
    if wrong.any():
        axes.scatter(
            points[wrong, 0], points[wrong, 1], s=3 * size + 20, facecolors="none", edgecolors=INK, linewidths=1
        )
        ring = Line2D([], [], ls="", marker="o", mfc="none", mec=INK, ms=9, label=f"label differs ({wrong.sum()})")
        handles.append(ring)
    axes.set_title("class predicted by the classifier", fontsize=11)
    return handles


def _draw_certainty(axes: Axes, points: np.ndarray, certainty: np.ndarray, classes: int, size: float) -> PathCollection:
    """Scatter the points by the probability of their predictions, from a guess to 1; what the colour bar is made of."""
    order = np.argsort(-certainty)  # the unsure ones, which are the fewest, on top
    axes.set_title("how sure the classifier is", fontsize=11)
    return axes.scatter(
        points[order, 0],
        points[order, 1],
        c=certainty[order],
        cmap="viridis",
        vmin=1 / classes,
        vmax=1,
        s=size,
        linewidths=0,
    )


def _draw_thumbnails(axes: Axes, points: np.ndarray, predictions: np.ndarray, images: Tensor, count: int = 12) -> None:
    """Show images in a ring around the cloud, where they cover nothing, each tied to its point."""
    unit = (points - points.min(0)) / np.ptp(points, axis=0).clip(1e-9) - 0.5
    angle, radius = np.arctan2(unit[:, 1], unit[:, 0]), np.hypot(*unit.T)
    for k in range(count):
        direction = 2 * np.pi * k / count
        sector = np.flatnonzero(np.cos(angle - direction) > np.cos(np.pi / count))
        if not len(sector):
            continue
        index = sector[np.argsort(radius[sector])[int(0.75 * (len(sector) - 1))]]  # outside, but no outlier
        x, y = np.cos(direction), np.sin(direction)
        place = 0.5 + 0.44 * np.array([x, y]) / max(abs(x), abs(y))
        picture, colour = tile(images[index]), class_colour(int(predictions[index]))
        picture.thumbnail((88, 88), Image.Resampling.LANCZOS)
        box = AnnotationBbox(
            OffsetImage(np.asarray(picture), zoom=0.5), tuple(points[index]), tuple(place), boxcoords="axes fraction",
            pad=0.12, bboxprops={"edgecolor": colour, "linewidth": 1.8},
            arrowprops={"arrowstyle": "-", "color": colour, "linewidth": 0.9},
        )  # fmt: skip
        box.set_in_layout(False)
        axes.add_artist(box)


def draw_traversals(traversals: DirectionTraversals, classes: Sequence[str], path: str | Path) -> None:
    """What directions of the class code change: one row per direction, an image moved along it from left to right.

    Under each image stand all its probabilities as a bar and the leading class in words.

    Args:
        traversals: of A directions, their names at the left, at S positions, which stand above the columns.
        classes: K names.
        path: PNG file to write.
    """
    images, names = traversals.images, traversals.names
    height, width = tile_size(*images.shape[3:])
    face = font(13, True)
    left = 24 + max(round(face.getlength(line)) for name in names for line in name.split("\n"))
    cell_width, cell_height, top = width + 8, height + 38, 44
    picture = Image.new("RGB", (left + images.shape[1] * cell_width, top + len(names) * cell_height), PAPER)
    draw = ImageDraw.Draw(picture)
    draw.text((left, 4), traversals.title, fill=INK, font=font(13))
    for column, position in enumerate(traversals.positions):
        draw.text((left + column * cell_width + width / 2, 24), position, fill=FAINT, font=font(12), anchor="ma")
    for row, name in enumerate(names):
        y = top + row * cell_height
        draw.multiline_text((8, y + height / 2), name, fill=INK, font=face, anchor="lm", spacing=6)
        for column in range(images.shape[1]):
            x = left + column * cell_width
            picture.paste(tile(images[row, column]), (x, y))
            _draw_probabilities(draw, (x, y + height + 3), width, classes, traversals.probabilities[row, column])
    with atomic_path(path) as temporary:
        picture.save(temporary, format="PNG")


def _draw_probabilities(
    draw: ImageDraw.ImageDraw, corner: tuple[int, int], width: int, classes: Sequence[str], probabilities: Tensor
) -> None:
    """All probabilities as pieces of one bar in the classes' colours; below it the leading class."""
    x, y = corner
    ends = [0, *(probabilities.double().cumsum(0) * width).round().int().tolist()]
    for k in range(len(classes)):
        if ends[k + 1] > ends[k]:
            draw.rectangle((x + ends[k], y, x + ends[k + 1] - 1, y + 8), fill=class_colour(k))
    leader, face = int(probabilities.argmax()), font(12)
    number = f" {float(probabilities[leader]):.2f}"
    text = fitted(classes[leader], width - face.getlength(number), face) + number
    draw.text((x, y + 11), text, fill=INK, font=face)
