"""Causal explanation scores in one call."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from cae.classifiers import TargetClassifier
from explainers.caes.ncc import NeuralCausation
from explainers.caes.result import CausalScores
from explainers.caes.study import ClassStudy, ScoreSettings
from explainers.infills import Fill


def causal_scores(
    classifier: TargetClassifier,
    images: Tensor,
    masks: Tensor,
    target: int,
    *,
    other_masks: Tensor | None = None,
    fill: str | Fill = "black",
    ncc: NeuralCausation | None = None,
    top: float = 0.01,
    rolls: int = 20,
    blobs: int = 0,
    n_boot: int = 2000,
    n_perm: int = 9999,
    link_permutations: int = 199,
    all_points: bool = False,
    boot_ncc: bool = False,
    groups: Sequence[int] | None = None,
    batch_size: int = 128,
    seed: int = 0,
) -> CausalScores:
    """How causal the evidence in the masked areas is, with controls of area and shape.

    Args:
        classifier: whose features and class evidence are looked at.
        images: ``(N, C, H, W)`` in [0, 1], all of one class, at least 20.
        masks: ``(N, 1, H, W)`` of 0 and 1, 1 for the object.
        target: number of the class.
        other_masks: masks of the same images to compare with, such as the annotators'.
        fill: what stands where something is removed: ``black`` (published), ``mean``, ``masked_blur``, or a function
            of images and removed area.
        ncc: networks of the causation coefficient (``NeuralCausation.load()``); without them its terms are None.
        top: share of features that count as the top, at least one.
        rolls: displaced copies of each mask, the control of area and shape; 0 for none.
        blobs: random blobs of equal area for each image.
        n_boot: resamples of the images for intervals.
        n_perm: draws of the roll and swap tests.
        link_permutations: permutations of the evidence behind the coefficients.
        all_points: score all images at once instead of 20 subsets of 100.
        boot_ncc: compute the coefficients anew for 200 resamples, instead of taking them as given in intervals.
        groups: unit of each image (a patient), which resamples keep together.
        batch_size: images in one forward pass at most.
        seed: of all randomness.

    Raises:
        UserError: for too few images, or masks that do not fit.
    """
    settings = ScoreSettings(
        fill, top, rolls, blobs, n_boot, n_perm, link_permutations, all_points, boot_ncc, batch_size, seed
    )
    study = ClassStudy(classifier, images, target, settings, ncc, groups)
    effects = study.removal_effects(masks)
    return study.score(effects, None if other_masks is None else study.removal_effects(other_masks))
