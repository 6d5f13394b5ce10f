"""Patches of one image laid into another that change the prediction: counterfactuals that are found by trial.

They teach the editor before the classifier's gradient does. That gradient does not know evidence which an image lacks:
between a black corner and a white mark in it lie grey ones that mean nothing to the classifier, and the way downhill
leads to adversarial patterns elsewhere. A patch that holds the mark is a jump across. After the warm-up patches go on:
swaps that already convince are taught by what convinced in another image, not by that gradient alone.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from cae.metrics.counterfactual import changed_pixels

AT_ONCE = 64  # images that the classifier is asked about
SIDES = 1 / 8, 1 / 2  # of a patch, shares of the image's side


@dataclass(frozen=True)
class PatchSwaps:
    """N images that are predicted as their donor is.

    Attributes:
        rows: ``(N,)`` of the recipients.
        images: ``(N, C, H, W)`` with the patch.
        masks: ``(N, 1, H, W)``, 1 where the patch changed the recipient.
    """

    rows: Tensor
    images: Tensor
    masks: Tensor

    def __len__(self) -> int:
        return len(self.rows)


@torch.no_grad()
def find_patch_swaps(
    recipients: Tensor, donors: Tensor, wanted: Tensor, classify: Callable[[Tensor], Tensor], tries: int
) -> PatchSwaps:
    """Lay random rectangles of the donors into the recipients, and keep for each the smallest that changes its class.

    Args:
        recipients: ``(R, C, H, W)`` in [0, 1].
        donors: of the same shape, one for each recipient.
        wanted: ``(R,)`` classes of the donors; where it is -1, nothing is wanted.
        classify: ``(N, C, H, W)`` to logits ``(N, K)``.
        tries: rectangles for each recipient; the classifier is asked about as many images.
    """
    count = len(recipients)
    patches = random_rectangles(count * tries, recipients).unflatten(0, (tries, count))
    images = recipients + patches * (donors - recipients)
    predictions = torch.cat([classify(part).argmax(1) for part in images.flatten(0, 1).split(AT_ONCE)])
    changed = predictions.view(tries, count) == wanted
    smallest = patches.sum((2, 3, 4)).masked_fill(~changed, torch.inf).argmin(0)
    rows = changed.any(0).nonzero()[:, 0]
    kept = images[smallest[rows], rows]
    return PatchSwaps(rows, kept, changed_pixels(recipients[rows], kept)[:, None].to(kept))


def random_rectangles(count: int, like: Tensor) -> Tensor:
    """Masks ``(count, 1, H, W)``, 1 inside a rectangle: its centre anywhere in ``like (…, H, W)``, cut at the border.

    Its sides are drawn apart, log-uniformly between ``SIDES``.
    """
    low, high = SIDES
    lines = []
    for size in like.shape[-2:]:
        side = size * low * (high / low) ** torch.rand(count, 1, device=like.device)
        centre = size * torch.rand(count, 1, device=like.device)
        pixels = torch.arange(size, device=like.device) + 0.5
        lines.append(((pixels - centre).abs() < side / 2).to(like))
    rows, columns = lines
    return (rows[:, :, None] * columns[:, None, :])[:, None]
