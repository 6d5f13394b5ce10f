"""From maps to masks, masks of equal area as controls, and deliberately poor annotators.

Masks are ``(N, 1, H, W)`` bool, True for the object.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from cae.errors import UserError
from cae.metrics.statistics import otsu_threshold

LARGEST_OVERLAP = 0.5  # intersection over union of a displaced mask with its original
TRIES = 50  # displacements drawn before the least overlapping one is taken


def check_masks(masks: Tensor, images: Tensor) -> Tensor:
    """The masks as bool, checked against ``images (N, C, H, W)``.

    Raises:
        UserError: for another shape, values other than 0 and 1, or a mask that is empty or full.
    """
    wanted = (len(images), 1, *images.shape[2:])
    if tuple(masks.shape) != wanted:
        raise UserError(f"`masks` must be {wanted}, one for each image, but are {tuple(masks.shape)}.")
    if not bool(((masks == 0) | (masks == 1)).all()):
        raise UserError("`masks` must hold 0 and 1 alone, 1 for the object; turn a map into a mask first.")
    areas = masks.flatten(1).sum(1)
    bad = int(((areas == 0) | (areas == masks[0].numel())).sum())
    if bad:
        raise UserError(
            f"{bad} of {len(masks)} masks are empty or cover the whole image, which leaves nothing to compare: leave "
            "these images out."
        )
    return masks.bool()


def largest_pixels(maps: Tensor, counts: Tensor, generator: torch.Generator) -> tuple[Tensor, float]:
    """Exactly ``counts (N,)`` pixels of largest signed value of each map ``(N, 1, H, W)``; ties fall at random.

    Returns:
        The masks, and the share of chosen pixels whose value some pixel left out has too, in [0, 1].
    """
    values = maps.detach().flatten(1).cpu()
    keys = torch.rand(values.shape, generator=generator).argsort(1)
    order = keys.gather(1, values.gather(1, keys).argsort(dim=1, descending=True, stable=True))
    chosen = torch.arange(values.shape[1]) < counts.cpu()[:, None]
    masks = torch.zeros_like(chosen).scatter_(1, order, chosen)
    best_left_out = torch.where(masks, -torch.inf, values).amax(1, keepdim=True)
    tied = float((masks & (values == best_left_out)).sum() / masks.sum().clamp_min(1))
    return masks.reshape(maps.shape).to(maps.device), tied


def otsu_masks(maps: Tensor) -> Tensor:
    """Pixels above Otsu's threshold of the positive part of each map ``(N, 1, H, W)``; none where that is constant."""
    positive = maps.detach().clamp_min(0)
    thresholds = [otsu_threshold(values) for values in positive.double().flatten(1).cpu().numpy()]
    return positive > torch.tensor(thresholds, dtype=torch.float64, device=maps.device)[:, None, None, None]


def rolled_masks(masks: Tensor, generator: torch.Generator) -> Tensor:
    """Each mask displaced by a random offset on the torus: same area, same shape, little overlap with the original.

    An offset of more than ``LARGEST_OVERLAP`` is drawn anew, ``TRIES`` times; then the least overlapping one is taken
    (of a mask that fills most of the image every displacement overlaps).
    """
    height, width = masks.shape[-2:]
    best, least = masks.clone(), torch.full((len(masks),), math.inf, device=masks.device)
    for _ in range(TRIES):
        offsets = torch.rand(len(masks), 2, generator=generator) * torch.tensor([height, width])
        moved = displaced(masks, offsets.long())
        overlap = intersection_over_union(moved, masks)
        better = (least > LARGEST_OVERLAP) & (overlap < least)
        best = torch.where(better[:, None, None, None], moved, best)
        least = torch.where(better, overlap, least)
        if bool((least <= LARGEST_OVERLAP).all()):
            break
    return best


def displaced(masks: Tensor, offsets: Tensor) -> Tensor:
    """Masks rolled by ``offsets (N, 2)`` rows and columns."""
    height, width = masks.shape[-2:]
    offsets = offsets.to(masks.device)
    rows = (torch.arange(height, device=masks.device) - offsets[:, :1]) % height
    columns = (torch.arange(width, device=masks.device) - offsets[:, 1:]) % width
    moved = masks.gather(2, rows[:, None, :, None].expand_as(masks))
    return moved.gather(3, columns[:, None, None, :].expand_as(masks))


def intersection_over_union(one: Tensor, other: Tensor) -> Tensor:
    """``(N,)`` in [0, 1]."""
    both = (one & other).flatten(1).sum(1)
    return both / (one | other).flatten(1).sum(1).clamp_min(1)


def blob_masks(masks: Tensor, generator: torch.Generator) -> Tensor:
    """Random blobs of the same areas: the largest pixels of smooth noise."""
    count, _, height, width = masks.shape
    cells = torch.randn(count, 1, max(2, height // 8), max(2, width // 8), generator=generator)
    noise = F.interpolate(cells, size=(height, width), mode="bicubic", align_corners=False)
    return largest_pixels(noise, masks.flatten(1).sum(1), generator)[0].to(masks.device)


def dilated_masks(masks: Tensor, radius: int | None = None) -> Tensor:
    """A generous annotator: masks grown by ``radius`` pixels in every direction (by default a tenth of the side)."""
    radius = radius or max(1, masks.shape[-1] // 10)
    return F.max_pool2d(masks.float(), 2 * radius + 1, stride=1, padding=radius) > 0


def shifted_masks(masks: Tensor, generator: torch.Generator) -> Tensor:
    """A careless annotator: masks displaced by a quarter of the side in a random direction, on the torus."""
    height, width = masks.shape[-2:]
    angle = 2 * math.pi * torch.rand(len(masks), generator=generator)
    offsets = torch.stack([angle.sin() * height / 4, angle.cos() * width / 4], 1).round().long()
    return displaced(masks, offsets)


def swapped_masks(masks: Tensor) -> Tensor:
    """A confused annotator: each image gets the mask of the next one."""
    return masks.roll(1, dims=0)
