"""Explanations as table rows and as cut-outs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from torch import Tensor

from cae.files import atomic_path
from explainers.explanation import Explanation


def table_rows(found: Explanation, ids: Sequence[str], classes: Sequence[str]) -> list[dict[str, Any]]:
    """One row for each explanation of each image; images without any have one row with empty columns.

    Args:
        found: by ``multirex`` or ``multirex_published``.
        ids: names of the images.
        classes: names of the classes.
    """
    rows: list[dict[str, Any]] = []
    for place, (name, extras) in enumerate(zip(ids, found.extras, strict=True)):
        target = int(found.target[place])
        common = {
            "id": name,
            "class": classes[target],
            "image_confidence": float(found.probabilities[place, target]),
            "status": extras["status"],
            "explanations": extras["count"],
            "evaluations": int(found.evaluations[place]),
            "ran_out": extras["ran_out"],
        }
        several = [_row(extras, number, classes) for number in range(extras["count"])]
        rows += [{**common, **row} for row in several or [{}]]
    return rows


def _row(extras: dict[str, Any] | Any, number: int, classes: Sequence[str]) -> dict[str, Any]:
    certificate = extras["certificates"][number]
    return {
        "explanation": number + 1,
        "pixels": extras["pixels"][number],
        "size": extras["sizes"][number],
        "confidence": extras["confidences"][number],
        "relative_confidence": extras["relative_confidences"][number],
        "complement_confidence": extras["complement_confidences"][number],
        "margin": extras["margins"][number],
        "runner_up": classes[extras["runner_up"][number]],
        "minimal_at": certificate["finest"],
        "removals_tried": certificate["tests"],
    }


def write_cut_outs(image: Tensor, masks: Tensor, stem: str | Path) -> list[Path]:
    """Write each explanation as a PNG of the image's own pixels, transparent elsewhere: ``<stem>-1.png``, ….

    Args:
        image: ``(C, H, W)`` in [0, 1].
        masks: ``(K, H, W)`` bool.
        stem: path without number and suffix.

    Returns:
        The files.
    """
    colours = (image.detach().cpu().clamp(0, 1) * 255).round().byte().permute(1, 2, 0).numpy()
    colours = np.broadcast_to(colours, (*colours.shape[:2], 3))
    written = []
    for number, mask in enumerate(masks.cpu().numpy(), 1):
        path = Path(f"{stem}-{number}.png")
        with atomic_path(path) as temporary:
            Image.fromarray(np.dstack([colours, mask.astype(np.uint8) * 255])).save(temporary)
        written.append(path)
    return written
