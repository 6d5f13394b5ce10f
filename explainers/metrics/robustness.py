"""How much a map changes when the image, or only the seed, changes a little."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from explainers.base import Explainer, image_seed
from explainers.metrics.seeds import generator

RADIUS = 0.02  # L-infinity, of images in [0, 1]
SAMPLES = 10


def sensitivity_max(
    explainer: Explainer,
    image: Tensor,
    target: int,
    *,
    radius: float = RADIUS,
    samples: int = SAMPLES,
    seed: int = 0,
    original: Tensor | None = None,
) -> float | None:
    """Largest relative change of the map under uniform noise: ``max ||a(x + d) - a(x)|| / ||a(x)||``.

    Args:
        explainer: to be tested.
        image: ``(C, H, W)`` in [0, 1]; noisy ones are clipped to that.
        target: class to explain.
        radius: of the noise in each pixel.
        samples: number of noisy images.
        seed: of the noise and of the explainer.
        original: the map ``(1, H, W)`` of the image, where it is known already.

    Returns:
        not negative; None where the map of the image is zero.

    Reference: Yeh et al. 2019, On the (In)fidelity and Sensitivity of Explanations, arXiv:1901.09392, max-sensitivity.
    """
    noise = generator(image_seed(image, seed), "sensitivity")
    before = explainer(image[None], target, seed).attribution if original is None else original[None]
    if not bool(before.any()):
        return None

    def noisy(images: Tensor, _: Any) -> Tensor:
        shift = (2 * torch.rand(images.shape, generator=noise) - 1) * radius
        return (images + shift.to(images)).clamp(0, 1)

    def explained(images: Tensor | tuple[Tensor, ...]) -> Tensor:
        if isinstance(images, tuple):  # captum asks for the image itself first, and wraps it
            return before
        with torch.enable_grad():  # captum switches gradients off around this call
            return explainer(images, target, seed).attribution

    from captum.metrics import (
        sensitivity_max as captum_sensitivity_max,  # with matplotlib, which a list of methods should not wait for
    )

    # one noisy image at a time: the explainer fills its batches itself
    change = captum_sensitivity_max(
        explained, image[None], noisy, radius, n_perturb_samples=samples, max_examples_per_batch=1
    )
    return float(change)


def seed_change(
    explainer: Explainer, image: Tensor, target: int, seed: int = 0, original: Tensor | None = None
) -> float | None:
    """Relative change of the map ``||a' - a|| / ||a||`` with the next seed, on the same image ``(C, H, W)``.

    The floor of ``sensitivity_max`` for methods that draw at random; 0 for the others; None where the map is zero.
    ``original`` is the map ``(1, H, W)`` where it is known already.
    """
    before = explainer(image[None], target, seed).attribution[0] if original is None else original
    norm = float(before.norm())
    return (
        None if norm == 0 else float((explainer(image[None], target, seed + 1).attribution[0] - before).norm()) / norm
    )
