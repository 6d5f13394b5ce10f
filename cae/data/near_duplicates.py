"""Which images of two sets show the same picture, but for its size, its compression or its grey values."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

SIDE = 16  # pixels of a thumbnail
CANDIDATE = 0.99  # correlation of thumbnails from which images are compared in full
SAME = 0.995  # correlation of the images from which they are called near duplicates
MOST_COMPARED = 500  # pairs
CHUNK = 1024


def thumbnail(image: Tensor) -> Tensor:
    """An image ``(C, H, W)`` as ``(256,)`` numbers of mean 0 and length 1; zeros where it is of one colour.

    >>> round(float(thumbnail(torch.rand(1, 20, 20)).norm()), 4)
    1.0
    """
    return _standardised(F.adaptive_avg_pool2d(image.mean(0, keepdim=True)[None], SIDE)[0])


def _standardised(values: Tensor) -> Tensor:
    centred = values.flatten() - values.mean()
    length = centred.norm()
    return centred / length if length > 1e-6 * centred.numel() else torch.zeros_like(centred)


def correlation(one: Tensor, other: Tensor) -> float:
    """Pearson's correlation of the pixels of two images of one shape, in [-1, 1]; 0 where one is of one colour."""
    return float(_standardised(one) @ _standardised(other))


def near_duplicates(
    thumbnails: Tensor, others: Tensor, compare: Callable[[int, int], float]
) -> list[tuple[int, int, float]]:
    """Images that look like one of another set: the nearest by its thumbnail, then compared in full.

    Args:
        thumbnails: ``(N, 256)`` of the images.
        others: ``(M, 256)`` of the others.
        compare: correlation of an image and another one, by their places; asked at most ``MOST_COMPARED`` times.

    Returns:
        place of the image, place of the other one, and their correlation, at least ``SAME``.
    """
    if not len(thumbnails) or not len(others):
        return []
    nearest = [(part @ others.T).max(1) for part in thumbnails.split(CHUNK)]
    values, places = torch.cat([found.values for found in nearest]), torch.cat([found.indices for found in nearest])
    candidates = (values >= CANDIDATE).nonzero()[:, 0].tolist()[:MOST_COMPARED]
    found = [(place, int(places[place]), compare(place, int(places[place]))) for place in candidates]
    return [pair for pair in found if pair[2] >= SAME]
