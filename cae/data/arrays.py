"""Image sets that live in memory."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from cae.data.images import Size, fit, sides, to_channels
from cae.data.types import Sample


class ArraySet:
    """A split held as tensors.

    Args:
        images: ``(N, C, H, W)``, uint8 in 0…255 or float32 in [0, 1]; C is 1 or 3.
        labels: ``(N,)`` integers.
        ids: one stable string per image.
        masks: ``(N, 1, H, W)`` bool, or None where the data has no ground truth.

    Raises:
        ValueError: if the four do not describe the same images.
    """

    def __init__(self, images: Tensor, labels: Tensor, ids: list[str], masks: Tensor | None = None):
        _check(images, labels, ids, masks)
        self.images = images
        self.labels = labels.to(torch.int64)
        self.ids = list(ids)
        self.masks = None if masks is None else masks.to(torch.bool)

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Sample:
        image = self.images[index]
        if image.dtype == torch.uint8:
            image = image.to(torch.float32) / 255
        mask = None if self.masks is None else self.masks[index]
        return Sample(image, int(self.labels[index]), self.ids[index], mask)

    @classmethod
    def from_numpy(
        cls, images: np.ndarray, labels: np.ndarray, ids: list[str], image_size: Size, channels: int
    ) -> ArraySet:
        """Bring uint8 images ``(N, H, W)`` or ``(N, H, W, C)`` to ``image_size`` and ``channels``, held as uint8."""
        tensor = torch.from_numpy(images)
        tensor = tensor[:, None] if tensor.ndim == 3 else tensor.permute(0, 3, 1, 2)
        if tensor.shape[1:] != (channels, *sides(image_size)):
            # part by part: float32 copies of the whole would need several times the memory
            parts = [_converted(part, image_size, channels) for part in tensor.split(1024)]
            tensor = torch.cat(parts)
        return cls(tensor.contiguous(), torch.from_numpy(labels.astype(np.int64)), ids)

    def subset(self, indices: Sequence[int]) -> ArraySet:
        """The images at ``indices``, in that order."""
        chosen = torch.as_tensor(indices, dtype=torch.int64)
        masks = None if self.masks is None else self.masks[chosen]
        return ArraySet(self.images[chosen], self.labels[chosen], [self.ids[i] for i in chosen.tolist()], masks)


def _converted(images: Tensor, image_size: Size, channels: int) -> Tensor:
    values = fit(to_channels(images.to(torch.float32) / 255, channels), image_size)
    return (values * 255).round().to(torch.uint8)


def _check(images: Tensor, labels: Tensor, ids: list[str], masks: Tensor | None) -> None:
    if images.ndim != 4 or images.shape[1] not in (1, 3):
        raise ValueError(f"`images` must be (N, C, H, W) with C of 1 or 3, but got {tuple(images.shape)}.")
    if images.dtype not in (torch.uint8, torch.float32):
        raise ValueError(f"`images` must be uint8 or float32, but got {images.dtype}.")
    if labels.shape != (len(images),) or len(ids) != len(images):
        raise ValueError(f"{len(images)} images, but labels {tuple(labels.shape)} and {len(ids)} ids.")
    if masks is not None and masks.shape != (len(images), 1, *images.shape[2:]):
        raise ValueError(f"`masks` must be {(len(images), 1, *images.shape[2:])}, but got {tuple(masks.shape)}.")
