"""The images of a counterfactual as lossless PNG files of 8 bits, at their own size."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image
from torch import Tensor

from cae.canvas import save_png
from cae.counterfactuals.result import Counterfactual


def save_images(result: Counterfactual, folder: str | Path, name: str) -> dict[str, Path]:
    """Write what there is of ``<name>_counterfactual.png``, ``<name>_end.png`` and ``<name>_evidence.png``.

    Where no counterfactual was found there is no image of one, but the path that came closest has an end, and that end
    has evidence; where there is no path, nothing is written.

    Args:
        result: of any status.
        folder: for the files; made if need be.
        name: that the names of the files begin with.

    Returns:
        The paths written, by ``counterfactual``, ``end`` and ``evidence``.
    """
    written: dict[str, Path] = {}
    for kind, image in (("counterfactual", result.counterfactual), ("end", result.end)):
        if image is not None:
            written[kind] = Path(folder) / f"{name}_{kind}.png"
            save_png(picture_of(image), written[kind])
    if result.evidence is not None:
        written["evidence"] = Path(folder) / f"{name}_evidence.png"
        largest = float(result.evidence.max())
        save_png(picture_of(result.evidence / (largest or 1.0)), written["evidence"], maximum=repr(largest))
    return written


def picture_of(image: Tensor) -> Image.Image:
    """An image ``(C, H, W)`` in [0, 1] as a picture of its own size, grey for C = 1 and RGB for C = 3."""
    levels = (image.detach().cpu().clamp(0, 1) * 255).round().byte().numpy()
    return Image.fromarray(levels[0] if len(levels) == 1 else np.ascontiguousarray(levels.transpose(1, 2, 0)))
