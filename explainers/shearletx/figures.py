"""Pictures of mask explanations: what is kept, the mask scale by scale, invented edges, and the search."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import Tensor

from cae.canvas import (
    FAINT,
    INK,
    OKABE_ITO,
    PAPER,
    SEQUENTIAL,
    SOURCE,
    TARGET,
    centred,
    colour_bar,
    colour_mapped,
    tile,
)
from cae.files import atomic_path
from cae.lettering import font
from explainers.explanation import Explanation
from explainers.metrics.conciseness import edges, hallucinated_edges, hallucination_score

GAP, TITLE, NOTES = 12, 24, 40  # pixels
CLIPPED = 0.998  # share of the detail's values that its picture has room for
SHARED, INVENTED, LOST = OKABE_ITO[5], OKABE_ITO[1], "#555555"  # sky blue, vermilion, grey


def mask_figure(image: Tensor, explanation: Explanation, classes: Sequence[str], path: str | Path) -> None:
    """Draw one explanation by a mask explainer.

    First row: image, explanation, its detail on grey, complement on grey, edges. Second row: the mask by scale. The
    search is in the shorter one.

    Args:
        image: ``(C, H, W)`` in [0, 1].
        explanation: of this image alone, of length 1, with the extras of ``MaskExplainer``.
        classes: names of the classes.
        path: PNG file to write.
    """
    extras, target = explanation.extras[0], int(explanation.target[0])
    first = _first_row(image, extras, float(explanation.probabilities[0, target]), classes[target])
    width, height = first[0].size
    second = [_scale_tile(plane, name, (width, height - TITLE - NOTES)) for name, plane in _scales(extras)]
    curve = _titled(search_curve(extras, (width, height - TITLE - NOTES)), "search", _search_words(extras))
    (first if len(second) > len(first) else second).append(curve)
    rows = [first, second]
    columns = max(map(len, rows))
    picture = Image.new("RGB", (GAP + columns * (width + GAP), 30 + len(rows) * (height + GAP) + 40), PAPER)
    title = f"{explanation.method}: {classes[target]}"
    ImageDraw.Draw(picture).text((GAP, 8), title, fill=INK, font=font(14, bold=True))
    for y, row in enumerate(rows):
        for x, part in enumerate(row):
            picture.paste(part, (GAP + x * (width + GAP), 30 + y * (height + GAP)))
    colour_bar(picture, GAP, picture.height - 34, min(240, width), SEQUENTIAL, ("0: removed", "1: kept"))
    with atomic_path(path) as temporary:
        picture.save(temporary)


def edge_picture(image: Tensor, explanation: Tensor, detector: str = "gradient") -> Tensor:
    """Edges in colour ``(3, H, W)``: of both in sky blue, invented ones in vermilion, those lost in grey, on black."""
    of_image, of_explanation = edges(image, detector), edges(explanation, detector)
    invented = hallucinated_edges(of_explanation, of_image)
    picture = torch.zeros(3, *of_image.shape)
    for where, colour in ((of_image, LOST), (of_explanation, SHARED), (invented, INVENTED)):
        paint = torch.tensor([int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)])
        picture = torch.where(where.cpu(), paint[:, None, None], picture)
    return picture


def search_curve(extras: Mapping[str, Any], size: tuple[int, int]) -> Image.Image:
    """Objective, size and probability over the steps, each from its least to its largest value, ``size`` in pixels."""
    picture = Image.new("RGB", size, PAPER)
    draw = ImageDraw.Draw(picture)
    left, right, top, bottom = 8, size[0] - 8, 44, size[1] - 26
    draw.line((left, bottom, right, bottom), fill=FAINT)
    lines = (("objective", extras["objective"], INK), ("size", extras["sizes"], SOURCE),
             ("probability", extras["probabilities"], TARGET))  # fmt: skip
    for place, (name, values, colour) in enumerate(lines):
        low, high = min(values), max(values)
        heights = bottom - (np.asarray(values) - low) / max(high - low, 1e-12) * (bottom - top)
        steps = np.linspace(left, right, max(len(values), 2))[: len(values)]
        points = list(zip(steps.tolist(), heights.tolist(), strict=True))
        if len(points) > 1:
            draw.line(points, fill=colour, width=2, joint="curve")
        draw.text((left, 2 + 13 * place), f"{name}: {low:.3g} to {high:.3g}", fill=colour, font=font(11))
    draw.text(((left + right) / 2, bottom + 5), f"step (1 to {len(lines[0][1])})", fill=INK, font=font(11), anchor="ma")
    return picture


def _first_row(image: Tensor, extras: Mapping[str, Any], probability: float, name: str) -> list[Image.Image]:
    shown = extras["explanation"]
    of_image, of_shown = edges(image), edges(shown)
    invented = hallucination_score(of_shown, of_image)
    score = "no edges in the image" if invented is None else f"invented edges / edges: {invented:.3f}"
    kept = f"kept: {extras['kept_l1']:.0%} of magnitude, {extras['kept_pixels']:.0%} of light"
    detail = extras["detail"].cpu()
    gain = 0.5 / max(float(np.quantile(detail.abs().numpy(), CLIPPED)), 0.05)
    repaired = ", mended" if extras["repaired"] else ""
    return [
        _titled(tile(image), "image", [f"p({name}) = {probability:.3f}"]),
        _titled(tile(shown), "explanation, on black", [f"p = {extras['probability_displayed']:.3f}{repaired}", kept]),
        _titled(tile((0.5 + gain * detail).clamp(0, 1)), "its detail, on grey", [f"{gain:.1f} times the contrast"]),
        _titled(tile(extras["complement"]), "the rest, on grey", [f"p = {extras['probability_complement']:.3f}"]),
        _titled(tile(edge_picture(image, shown)), "edges", [score, "blue kept, orange invented, grey lost"]),
    ]


def _scales(extras: Mapping[str, Any]) -> list[tuple[str, Tensor]]:
    planes = extras["mask_by_scale"]
    if len(planes) == 1:
        return [("mask", planes[0])]
    return [("mask, low-pass" if k == 0 else f"mask, scale {k} of {len(planes) - 1}", p) for k, p in enumerate(planes)]


def _scale_tile(plane: Tensor, name: str, size: tuple[int, int]) -> Image.Image:
    picture = colour_mapped(plane.detach().cpu().numpy(), SEQUENTIAL, 0.0, 1.0).resize(size, Image.Resampling.NEAREST)
    return _titled(picture, name, [f"mean {float(plane.mean()):.3f}, mean over directions"])


def _search_words(extras: Mapping[str, Any]) -> list[str]:
    state = "keeps enough" if extras["feasible"] else "does not keep enough"
    return [f"{extras['steps']} steps; {state}"]


def _titled(picture: Image.Image, title: str, notes: Sequence[str]) -> Image.Image:
    framed = Image.new("RGB", (picture.width, picture.height + TITLE + NOTES), PAPER)
    draw = ImageDraw.Draw(framed)
    centred(draw, title, 0, 3, picture.width, 13, weight="bold")
    framed.paste(picture, (0, TITLE))
    for row, line in enumerate(notes):
        centred(draw, line, 0, TITLE + picture.height + 4 + 17 * row, picture.width, 12, fill=FAINT)
    return framed
