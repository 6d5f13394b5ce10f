"""What a set of counterfactuals is worth: pure functions of images and class probabilities.

Every figure stands beside its number of images and beside the validity: proximity of the found ones alone says little
about a method that finds few. Images are ``(B, C, H, W)`` in [0, 1], as returned (rounded to 8 bits).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from scipy import ndimage
from skimage.metrics import structural_similarity as ssim
from torch import Tensor

from cae.metrics.statistics import places_from_the_top


def bkl(probabilities: Tensor, targets: Tensor) -> float:
    """Mean of ``1 - f_t`` over counterfactuals, in [0, 1]: equals ``1 - exp(-KL(e_t || f))`` for each of them.

    Args:
        probabilities: ``(N, K)`` of the classifier for the counterfactuals.
        targets: ``(N,)`` classes to be reached.

    Reference: Jeanneret et al. 2022 (DiME), arXiv:2203.15636, as their code computes it.
    """
    return float((1 - probabilities.gather(1, targets[:, None])).mean())


def l1_distance(originals: Tensor, counterfactuals: Tensor) -> Tensor:
    """Mean absolute difference ``(B,)`` of each pair of images."""
    return (counterfactuals - originals).abs().flatten(1).mean(1)


def l2_distance(originals: Tensor, counterfactuals: Tensor) -> Tensor:
    """Root of the mean squared difference ``(B,)`` of each pair of images."""
    return (counterfactuals - originals).square().flatten(1).mean(1).sqrt()


def linf_distance(originals: Tensor, counterfactuals: Tensor) -> Tensor:
    """Largest absolute difference ``(B,)`` of each pair of images."""
    return (counterfactuals - originals).abs().flatten(1).amax(1)


def changed_pixels(originals: Tensor, counterfactuals: Tensor, threshold: float = 0.05) -> Tensor:
    """Pixels ``(B, H, W)``, bool, in which some channel changes by more than ``threshold``."""
    return (counterfactuals - originals).abs().amax(1) > threshold


def changed_share(originals: Tensor, counterfactuals: Tensor, threshold: float = 0.05) -> Tensor:
    """Share ``(B,)`` of the pixels that are changed, as in ``changed_pixels``."""
    return changed_pixels(originals, counterfactuals, threshold).float().flatten(1).mean(1)


def changed_regions(originals: Tensor, counterfactuals: Tensor, threshold: float = 0.05) -> Tensor:
    """Number ``(B,)`` of connected regions (8 neighbours) of the pixels of ``changed_pixels``."""
    masks = changed_pixels(originals, counterfactuals, threshold).cpu().numpy()
    return torch.tensor([ndimage.label(mask, structure=np.ones((3, 3)))[1] for mask in masks], dtype=torch.int64)


def changed_outside(
    originals: Tensor, counterfactuals: Tensor, masks: Tensor, rim: float = 5.0, threshold: float = 0.05
) -> Tensor:
    """Share of all pixels ``(B,)`` that change by more than ``threshold`` more than ``rim`` pixels off the mask.

    Args:
        originals: ``(B, C, H, W)``.
        counterfactuals: ``(B, C, H, W)``.
        masks: ``(B, 1, H, W)`` bool, none of them empty.
        rim: largest distance to the mask, in pixels, that still counts as inside.
        threshold: as in ``changed_pixels``.
    """
    distance = [ndimage.distance_transform_edt(~mask[0]) for mask in masks.cpu().numpy()]
    far = torch.from_numpy(np.stack(distance) > rim)
    return (changed_pixels(originals, counterfactuals, threshold).cpu() & far).float().flatten(1).mean(1)


def structural_similarity(originals: Tensor, counterfactuals: Tensor) -> Tensor | None:
    """SSIM ``(B,)`` of each pair of images, at most 1: the same image; None where a side is shorter than the window.

    Reference: Wang et al. 2004, IEEE Transactions on Image Processing 13(4): Gaussian window of 11 pixels, sigma 1.5.
    """
    if min(originals.shape[-2:]) < 11:
        return None
    pairs = zip(originals.double().cpu().numpy(), counterfactuals.double().cpu().numpy(), strict=True)
    values = [
        ssim(a, b, data_range=1.0, channel_axis=0, gaussian_weights=True, sigma=1.5, use_sample_covariance=False)
        for a, b in pairs
    ]
    return torch.tensor(values, dtype=torch.float64)


def diversity(counterfactuals: Tensor) -> float:
    """Mean absolute difference over all pairs of several counterfactuals ``(N, C, H, W)`` of one image, N > 1.

    Reference: Jeanneret et al. 2022 (DiME), arXiv:2203.15636, with L1 in place of LPIPS, whose weights are not at hand.
    """
    flat = counterfactuals.flatten(1).double()
    return float(torch.pdist(flat, p=1).mean()) / flat.shape[1]


@dataclass(frozen=True, eq=False)
class Cout:
    """COUT of one counterfactual in [-1, 1], with the two curves ``(steps + 1,)`` over the share of copied pixels."""

    target: Tensor
    source: Tensor

    @property
    def value(self) -> float:
        """Area under the target's curve minus that under the source's: 1 if few pixels bring the whole change."""
        spacing = 1 / (len(self.target) - 1)
        return float(torch.trapezoid(self.target, dx=spacing) - torch.trapezoid(self.source, dx=spacing))


@torch.no_grad()
def cout(
    probabilities: Callable[[Tensor], Tensor],
    original: Tensor,
    counterfactual: Tensor,
    source: int,
    target: int,
    *,
    steps: int = 50,
    batch_size: int = 64,
    seed: int = 0,
) -> Cout:
    """COUT: how soon the classifier follows when pixels are copied from the counterfactual, most changed first.

    Args:
        probabilities: images ``(B, C, H, W)`` to class probabilities ``(B, K)``.
        original: ``(C, H, W)``.
        counterfactual: ``(C, H, W)``.
        source: class predicted for the original.
        target: class to be reached.
        steps: after step k of them, the first ``round(k H W / steps)`` pixels are copied; classifies steps + 1 images.
        batch_size: images classified at once.
        seed: of the order among pixels that changed equally.

    Reference: Khorram and Fuxin 2022 (C3LT), CVPR, section 4. They copy blocks of ``floor(HW / 50)`` pixels and sum
    over 51 blocks; the trapezoid over equal steps agrees with that to about 1 %.
    """
    pixels = original[0].numel()
    rank = places_from_the_top((counterfactual - original).abs().sum(0).flatten(), torch.Generator().manual_seed(seed))
    counts = torch.tensor([round(k * pixels / steps) for k in range(steps + 1)], device=rank.device)
    curves = []
    for chunk in counts.split(batch_size):
        copied = (rank[None] < chunk[:, None]).view(len(chunk), 1, *original.shape[1:])
        curves.append(probabilities(torch.where(copied, counterfactual, original)).double().cpu())
    found = torch.cat(curves)
    return Cout(found[:, target], found[:, source])
