"""IROF: removal of whole superpixels, the most relevant first.

Reference: Rieger and Hansen 2020, IROF: a low resource evaluation metric for explanation methods, arXiv:2003.08747.
"""

from __future__ import annotations

from torch import Tensor

from explainers.metrics.perturbation import Curve, Units
from explainers.metrics.superpixels import superpixels

SEGMENTS = 60  # about as many as SLIC is asked for
STEPS = 30


def segments(image: Tensor) -> Units:
    """The superpixels of an image ``(C, H, W)``, about 60."""
    labels = superpixels(image, SEGMENTS)
    return Units(labels, int(labels.max()) + 1)


def irof(curve: Curve) -> float | None:
    """One minus the area under ``f_t / f_0`` over the removed share of segments, at most 1; None where f_0 is 0.

    Divided by the number of segments, unlike the paper's, so that images of unlike segmentations can be averaged.
    """
    start = float(curve.scores[0])
    return None if start == 0 else 1 - curve.area / start
