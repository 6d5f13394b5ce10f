"""What one counterfactual is worth: how soon the classifier follows the edit (COUT), and how small the edit is."""

from __future__ import annotations

import torch
from torch import Tensor

from cae.classifiers import TargetClassifier
from cae.metrics.counterfactual import (
    Cout,
    changed_regions,
    changed_share,
    cout,
    l1_distance,
    l2_distance,
    linf_distance,
)

__all__ = ["Cout", "changed_share", "counterfactual_metrics", "cout", "proximity"]


def proximity(original: Tensor, counterfactual: Tensor) -> dict[str, float | None]:
    """Size of the edit between two images ``(C, H, W)`` in [0, 1].

    Returns:
        ``l1`` (mean absolute), ``l2`` (root mean square) and ``linf`` (largest) difference, ``changed_share`` of the
        pixels and the number of ``changed_regions``.
    """
    pair = original[None], counterfactual[None]
    measures = {"l1": l1_distance, "l2": l2_distance, "linf": linf_distance,
                "changed_share": changed_share, "changed_regions": changed_regions}  # fmt: skip
    return {name: float(measure(*pair)) for name, measure in measures.items()}


def counterfactual_metrics(
    classifier: TargetClassifier,
    original: Tensor,
    counterfactual: Tensor | None,
    source: int,
    target: int,
    *,
    batch_size: int = 64,
    seed: int = 0,
) -> dict[str, float | None]:
    """COUT, proximity and whether the classifier predicts the target, by name; 51 or 52 evaluations.

    Args:
        classifier: that decides.
        original: ``(C, H, W)`` in [0, 1].
        counterfactual: likewise, or None where none was found: not valid, and everything else None.
        source: class predicted for the original.
        target: class to be reached.
        batch_size: images in one forward pass at most.
        seed: of the order among pixels that changed equally.
    """
    names = ("cout", "l1", "l2", "linf", "changed_share", "changed_regions")
    if counterfactual is None:
        return {"valid": 0.0, **dict.fromkeys(names)}
    with torch.no_grad():
        predicted = int(classifier.probabilities(counterfactual[None]).argmax())
    value = cout(
        classifier.probabilities, original, counterfactual, source, target, batch_size=batch_size, seed=seed
    ).value
    return {"valid": float(predicted == target), "cout": value, **proximity(original, counterfactual)}
