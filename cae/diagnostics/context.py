"""What all diagnostics share: the models, the manifold of training codes, and test images encoded once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from cae.config import Config
from cae.data.types import ImageSet, collate
from cae.devices import device_of
from cae.diagnostics.probes import channel_statistics, pooled
from cae.errors import UserError
from cae.manifold.class_manifold import ClassManifold
from cae.metrics.statistics import interval

MOST_IMAGES = 1000  # of each split; more would only narrow the intervals


@dataclass(frozen=True, eq=False)
class EncodedImages:
    """N images with their codes and what the classifier says.

    Attributes:
        images: ``(N, C, H, W)`` in [0, 1].
        class_code: ``(N, D)``.
        individual_code: ``(N, S, h, w)``, averaged down to at most 16 x 16 positions.
        statistics: ``(N, 2 S)`` mean and standard deviation of each channel of the individual code.
        probabilities: ``(N, K)``.
    """

    images: Tensor
    class_code: Tensor
    individual_code: Tensor
    statistics: Tensor
    probabilities: Tensor


@dataclass(frozen=True, eq=False)
class DiagnosticContext:
    """Models, the manifold of training codes, image sets, options, and the encoded test images."""

    cae: Any
    classifier: Any
    oracle: Any | None
    manifold: ClassManifold
    data: Any
    config: Config
    test: EncodedImages

    @property
    def predictions(self) -> Tensor:
        """``(N,)`` class that the target classifier gives to each test image."""
        return self.test.probabilities.argmax(1)

    @property
    def batch_size(self) -> int:
        """Images in one forward pass."""
        return self.config.counterfactual.batch_size

    @property
    def classifiers(self) -> dict[str, Any]:
        """``target``, and ``oracle`` where there is one."""
        return {"target": self.classifier} | ({"oracle": self.oracle} if self.oracle is not None else {})


def sampled_images(split: ImageSet, seed: int) -> Tensor:
    """At most 1000 images ``(N, C, H, W)`` of a split, drawn by the seed, in the order of the split.

    Raises:
        UserError: if the split is empty.
    """
    order = torch.randperm(len(split), generator=torch.Generator().manual_seed(seed))[:MOST_IMAGES]
    if not len(order):
        raise UserError("the diagnostics need training and test images, but a split is empty; see data.test_share.")
    return torch.cat([collate([split[i] for i in rows.tolist()]).images for rows in order.sort().values.split(256)])


def encode_images(cae: Any, classifier: Any, images: Tensor, batch_size: int) -> EncodedImages:
    """Codes and probabilities of ``images (N, C, H, W)``, on the CPU."""
    parts = []
    for batch in images.split(batch_size):
        codes = cae.encode(batch.to(device_of(cae)))
        probabilities = classifier.probabilities(batch.to(device_of(classifier)))
        individual = codes.individual_code
        parts.append((codes.class_code, pooled(individual), channel_statistics(individual), probabilities))
    return EncodedImages(images, *(torch.cat(column).float().cpu() for column in zip(*parts, strict=True)))


def mean_with_interval(name: str, values: Tensor, images: list[str], seed: int) -> dict[str, float]:
    """``name``, ``name_low`` and ``name_high``: the mean of ``values (N,)`` with its interval over ``images``."""
    low, high = interval(values.double().numpy(), images, seed=seed)
    return {name: float(values.double().mean()), f"{name}_low": low, f"{name}_high": high}
