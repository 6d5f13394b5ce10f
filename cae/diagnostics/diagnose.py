"""What a trained class association embedding is worth: ``diagnose`` measures it on test images."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from tqdm.auto import tqdm

from cae.config import Config
from cae.diagnostics.code_measures import class_probes, code_spread, path_smoothness
from cae.diagnostics.context import DiagnosticContext, encode_images, sampled_images
from cae.diagnostics.swap_measures import (
    baseline_reassignment,
    reassignment,
    reconstruction,
    smote_reassignment,
    swap_coherency,
)
from cae.manifold.class_manifold import ClassManifold

MEASURES: tuple[Callable[[DiagnosticContext], dict[str, float]], ...] = (
    reconstruction,
    reassignment,
    baseline_reassignment,
    swap_coherency,
    class_probes,
    code_spread,
    smote_reassignment,
    path_smoothness,
)


@torch.no_grad()
def diagnose(
    cae: Any,
    classifier: Any,
    oracle: Any | None,
    manifold: ClassManifold,
    data: Any,
    config: Config,
    progress: bool = False,
) -> dict[str, float]:
    """All diagnostics of a trained embedding, measured on test images that training never saw.

    Args:
        cae: the trained model.
        classifier: the target classifier.
        oracle: a classifier that no training followed, or None; without it the figures named ``oracle`` are left out.
        manifold: codes of the training split.
        data: ``.train`` and ``.test`` image sets (at most 1000 images of each are used, drawn by the seed).
        config: all options; ``manifold.pairs`` swaps are classified, ``counterfactual.batch_size`` images at once.
        progress: show a progress bar.

    Returns:
        name to number, as in ``metrics.json``. What cannot be measured (a class without images) is left out.
    """
    encoded = encode_images(cae, classifier, sampled_images(data.test, config.seed), config.counterfactual.batch_size)
    context = DiagnosticContext(cae, classifier, oracle, manifold, data, config, encoded)
    metrics: dict[str, float] = {"cae/test_images": len(encoded.images), "cae/class_dim": manifold.codes.shape[1]}
    for measure in tqdm(MEASURES, desc="diagnostics", disable=not progress):
        metrics |= measure(context)
    return {name: float(value) for name, value in metrics.items() if math.isfinite(value)}
