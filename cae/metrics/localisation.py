"""Does a map point at the ground truth? Pure functions of one map and one mask, exact under ties.

A mask says where the evidence is, not what the classifier uses. The share of the image that the mask covers is what a
random map scores in pointing, energy and overlap at the mask's area; a map of the centre is the second control.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from cae.metrics.statistics import otsu_threshold


@dataclass(frozen=True)
class Localisation:
    """How one map agrees with one mask; everything in [0, 1], None where the map is zero everywhere.

    Attributes:
        dice: overlap of the mask with the pixels above Otsu's threshold; None also for a constant map.
        dice_best: overlap at the threshold that suits the mask best; an upper bound, no method knows it.
        dice_area: overlap with as many top pixels as the mask has; a random map scores ``mask_share``.
        dice_centre: ``dice_area`` of the map that falls off from the image's centre.
        pointing: whether the largest value lies inside; of several, the share inside.
        energy: share of the map's sum that lies inside.
        mask_share: share of the image that the mask covers.
    """

    dice: float | None
    dice_best: float | None
    dice_area: float | None
    dice_centre: float
    pointing: float | None
    energy: float | None
    mask_share: float


def evidence_map(change: Tensor) -> Tensor:
    """Energy ``(1, H, W)`` of a change ``(C, H, W)``: its square, summed over channels, as one region per structure.

    What removes a ring changes the ring and not what it encloses, and a change of both signs, such as a rim darkened
    and its inside brightened, has a line of zeros; neither is a gap in the evidence. A closing by a disc (radius
    side / 32, 2 pixels of 64) fills them, a Gaussian (sigma side / 64) smooths the rest. The square keeps faint change
    over a wide area from adding up to what a threshold takes for evidence.
    """
    energy, side = change.detach().cpu().square().sum(0).numpy(), min(change.shape[-2:])
    closed = ndimage.grey_closing(energy, footprint=_disc(round(side / 32)), mode="reflect")
    return torch.from_numpy(ndimage.gaussian_filter(closed, side / 64, mode="reflect"))[None]


def _disc(radius: int) -> np.ndarray:
    y, x = np.mgrid[-radius : radius + 1, -radius : radius + 1]
    return x**2 + y**2 <= radius * (radius + 0.5)


def localise(saliency: Tensor, mask: Tensor) -> Localisation | None:
    """Compare a map with a mask.

    Args:
        saliency: ``(H, W)``, not negative.
        mask: ``(H, W)`` bool.

    Returns:
        None where the mask is empty: there is nothing to find.
    """
    inside = mask.detach().cpu().bool().flatten().numpy()
    if not inside.any():
        return None
    values = saliency.detach().cpu().double().flatten().numpy()
    centre = centre_map(*saliency.shape).flatten().numpy()
    control, share = dice_at_area(centre, inside), float(inside.mean())
    if values.max() <= 0:
        return Localisation(None, None, None, control, None, None, share)
    varies = values.max() > values.min()
    return Localisation(
        dice=dice(values > otsu_threshold(values), inside) if varies else None,
        dice_best=best_dice(values, inside),
        dice_area=dice_at_area(values, inside),
        dice_centre=control,
        pointing=float(inside[values == values.max()].mean()),
        energy=float(values[inside].sum() / values.sum()),
        mask_share=share,
    )


def dice(prediction: np.ndarray, mask: np.ndarray) -> float:
    """``2 |P ∩ G| / (|P| + |G|)`` of two bool arrays of one shape, not both empty."""
    return float(2 * (prediction & mask).sum() / (prediction.sum() + mask.sum()))


def best_dice(values: np.ndarray, mask: np.ndarray) -> float:
    """The largest Dice of ``values (N,) >= threshold`` with ``mask (N,)`` over all thresholds."""
    hits, taken = _from_the_top(values, mask)
    return float((2 * hits / (taken + mask.sum())).max())


def dice_at_area(values: np.ndarray, mask: np.ndarray) -> float:
    """Dice of the mask ``(N,)`` with its own number of top pixels; among equal values, the mean over their orders."""
    hits, taken = (np.concatenate([[0.0], column]) for column in _from_the_top(values, mask))
    # between two thresholds, pixels of one value come in: each draws the same share of hits
    return float(np.interp(mask.sum(), taken, hits) / mask.sum())


def _from_the_top(values: np.ndarray, mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """For each distinct value, the largest first: how many pixels are at least it inside the mask, and in all."""
    _, group = np.unique(-values, return_inverse=True)
    return np.bincount(group, weights=mask).cumsum(), np.bincount(group).cumsum()


def centre_map(height: int, width: int) -> Tensor:
    """``(height, width)``: minus the distance to the image's centre, in halves of its sides."""
    y = (torch.arange(height, dtype=torch.float64) + 0.5) / height * 2 - 1
    x = (torch.arange(width, dtype=torch.float64) + 0.5) / width * 2 - 1
    return -(y[:, None].square() + x[None].square()).sqrt()
