"""IROF: removal of whole superpixels, the most relevant first.

Reference: Rieger and Hansen 2020, IROF: a low resource evaluation metric for explanation methods, arXiv:2003.08747.
"""

from __future__ import annotations

import torch
from skimage.segmentation import slic
from torch import Tensor

from explainers.metrics.perturbation import Curve, Units

SEGMENTS = 60  # about as many as SLIC is asked for
STEPS = 30


def superpixels(image: Tensor, segments: int = SEGMENTS) -> Units:
    """Segments of an image ``(C, H, W)`` by SLIC, the same at every call."""
    array = image.detach().cpu().permute(1, 2, 0).double().numpy()
    # SLIC weighs distance against colour: Lab runs to 100, grey values to 1
    compactness = 10.0 if array.shape[2] == 3 else 0.1
    labels = slic(array, n_segments=segments, compactness=compactness, start_label=0, channel_axis=-1)
    numbers, labels = torch.from_numpy(labels).unique(return_inverse=True)
    return Units(labels.to(image.device), len(numbers))


def irof(curve: Curve) -> float | None:
    """One minus the area under ``f_t / f_0`` over the removed share of segments, at most 1; None where f_0 is 0.

    Divided by the number of segments, unlike the paper's, so that images of unlike segmentations can be averaged.
    """
    start = float(curve.scores[0])
    return None if start == 0 else 1 - curve.area / start
