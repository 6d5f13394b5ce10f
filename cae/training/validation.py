"""Validation during training: do swaps flip both classifiers, and is the autoencoder still one?"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from cae.classifiers import TargetClassifier
from cae.config import CAEConfig
from cae.diagnostics.embedding import participation_ratio
from cae.diagnostics.reassignment import reassignment_matrices, reassignment_rate
from cae.diagnostics.swaps import classify_swaps, sample_pairs
from cae.models.cae import CAE
from cae.models.published import PublishedCAE

BATCH = 64


@dataclass
class SwapValidation:
    """Gathers validation images and measures a model on swaps between them.

    Args:
        classifiers: by name, ``target`` (whose predictions name the classes) and, if worth asking, ``oracle``.
        config: number of swaps and the largest tolerated reconstruction error.
    """

    classifiers: dict[str, TargetClassifier]
    config: CAEConfig
    _images: list[Tensor] = field(default_factory=list, init=False)

    def reset(self) -> None:
        """Forget all images."""
        self._images = []

    def add(self, images: Tensor) -> None:
        """Take in images ``(B, C, H, W)`` in [0, 1]."""
        self._images.append(images)

    @torch.no_grad()
    def measure(self, cae: CAE | PublishedCAE) -> dict[str, float]:
        """Rates in [0, 1] and errors on [0, 1] by name; ``score`` is what the best checkpoint is chosen by.

        ``swaps_of_one_class`` is the share of the swaps that the target gives to its most frequent class there.
        ``score`` is the lower of the reassignment rates under target and oracle; without an oracle, the target's. Where
        the mean absolute reconstruction error exceeds ``max_reconstruction_error`` it is that excess, negative: below
        any rate.
        """
        images = torch.cat(self._images)
        target = self.classifiers["target"]
        parts = images.split(BATCH)
        predictions = torch.cat([target.probabilities(part) for part in parts]).argmax(1)
        codes = [cae.encode(part) for part in parts]
        reconstructions = torch.cat([cae.decode(code.class_code, code.individual_code) for code in codes])
        kept = torch.cat([target.probabilities(part) for part in reconstructions.split(BATCH)]).argmax(1) == predictions
        pairs = sample_pairs(predictions, self.config.validation_pairs, len(target.classes), seed=0)
        swaps = classify_swaps(cae, self.classifiers, images, pairs, BATCH, residual=True)
        matrices = reassignment_matrices(swaps, predictions)
        counts = torch.bincount(swaps.decoded["target"].argmax(1))
        error = (reconstructions - images).abs().mean().item()
        class_codes = torch.cat([code.class_code for code in codes])
        metrics = {
            **{_name(classifier): reassignment_rate(matrix) for classifier, matrix in matrices.items()},
            "reconstruction_mae": error,
            "reconstruction_consistency": kept.float().mean().item(),
            "participation_ratio": participation_ratio(class_codes),
            "swaps_of_one_class": float(counts.max() / counts.sum()),
        }
        excess = max(0.0, error - self.config.max_reconstruction_error)
        score = -excess if excess else min(metrics[_name(name)] for name in self.classifiers)
        return {**metrics, "score": score}


def _name(classifier: str) -> str:
    """Name of the reassignment rate under a classifier: ``oracle/residual`` is ``reassignment_residual_oracle``."""
    who, _, residual = classifier.partition("/")
    return "_".join(["reassignment", *[residual] * bool(residual), *["oracle"] * (who == "oracle")])
