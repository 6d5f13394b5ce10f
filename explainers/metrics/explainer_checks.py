"""Robustness and sanity of a method itself, on a few images: each costs some 20 further explanations."""

from __future__ import annotations

from torch import Tensor

from cae.errors import UserError
from explainers.base import Explainer, Target
from explainers.metrics.robustness import seed_change, sensitivity_max
from explainers.metrics.sanity import mprt, random_logit

MPRT = ("mprt", "mprt_abs", "mprt_ssim", "mprt_last", "mprt_abs_last", "mprt_ssim_last")


def explainer_checks(
    explainer: Explainer, images: Tensor, target: Target = None, seed: int = 0
) -> list[dict[str, float | None]]:
    """All robustness and sanity metrics of a method; ten images are enough.

    Args:
        explainer: to be tested.
        images: ``(B, C, H, W)`` in [0, 1].
        target: class to explain, as the explainer takes it.
        seed: of the explainer, the noise and the new weights.

    Returns:
        for each image, metric names to numbers; None where undefined, and for parameter randomisation where the
        classifier is a black box or the method is bound to the classifier it was made for.
    """
    found = explainer(images, target, seed)
    targets, maps = found.target.tolist(), found.attribution
    try:
        randomisation = mprt(explainer, images, targets, seed, originals=maps)
    except UserError:
        randomisation = [dict.fromkeys(MPRT) for _ in targets]
    return [
        {
            "sensitivity_max": sensitivity_max(explainer, image, number, seed=seed, original=plane),
            "seed_change": seed_change(explainer, image, number, seed, plane),
            **row,
            "random_logit": random_logit(explainer, image, number, seed, plane),
        }
        for image, number, plane, row in zip(images, targets, maps, randomisation, strict=True)
    ]
