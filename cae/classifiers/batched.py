"""What a classifier says of many images, a batch at a time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from cae.devices import device_of


@torch.no_grad()
def batched_probabilities(classifier: Any, images: Tensor, batch_size: int = 64) -> Tensor:
    """Class probabilities ``(N, K)``, float32 on the CPU, of ``images (N, C, H, W)`` in [0, 1] on any device."""
    return _batched(classifier.probabilities, classifier, images, batch_size)


@torch.no_grad()
def batched_features(classifier: Any, images: Tensor, batch_size: int = 64) -> Tensor:
    """Features ``(N, F)``, float32 on the CPU, of ``images (N, C, H, W)`` in [0, 1] on any device."""
    return _batched(classifier.features, classifier, images, batch_size)


def _batched(function: Callable[[Tensor], Tensor], classifier: Any, images: Tensor, batch_size: int) -> Tensor:
    device = device_of(classifier)
    return torch.cat([function(part.to(device)).float().cpu() for part in images.split(batch_size)])
