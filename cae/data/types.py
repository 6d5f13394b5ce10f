"""What passes between data, classifier, training and explanation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor


@dataclass(frozen=True)
class Sample:
    """One image: ``image (C, H, W)`` float32 in [0, 1], ``mask (1, H, W)`` bool where the data has one."""

    image: Tensor
    label: int
    id: str
    mask: Tensor | None = None


@dataclass(frozen=True)
class Batch:
    """What every data module yields: ``images (B, C, H, W)`` in [0, 1], ``labels (B,)``, ``masks (B, 1, H, W)``.

    ``masks`` is None where the data has no ground truth. ``has_mask (B,)`` tells which masks are real: where only some
    images of a source have one, the others are empty and must not be scored. ``ids`` are stable strings, one per image.
    A label of -1 means unknown (images to explain).
    """

    images: Tensor
    labels: Tensor
    ids: list[str]
    masks: Tensor | None = None
    has_mask: Tensor | None = None

    def to(self, device: torch.device | str, non_blocking: bool = False) -> Batch:
        """The same batch on another device."""

        def move(tensor: Tensor | None) -> Tensor | None:
            return None if tensor is None else tensor.to(device, non_blocking=non_blocking)

        images = self.images.to(device, non_blocking=non_blocking)
        labels = self.labels.to(device, non_blocking=non_blocking)
        return Batch(images, labels, self.ids, move(self.masks), move(self.has_mask))

    def __len__(self) -> int:
        return len(self.images)


class ImageSet(Protocol):
    """A split of a data source: indexable, every item a ``Sample`` of one common shape."""

    labels: Tensor  # (N,) int64, without decoding any image

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Sample: ...


def even_places(count: int, most: int) -> Tensor:
    """At most ``most`` of the places 0 to ``count - 1``, evenly spread, first and last among them.

    >>> even_places(20, 3).tolist(), even_places(2, 9).tolist()
    ([0, 10, 19], [0, 1])
    """
    return torch.linspace(0, count - 1, min(most, count)).round().long()


@dataclass(frozen=True)
class Splits:
    """What opening a source gives: three image sets and the names of their classes, in label order.

    ``notes`` are sentences about the data that the user should read.
    """

    train: ImageSet
    val: ImageSet
    test: ImageSet
    classes: tuple[str, ...]
    notes: tuple[str, ...] = ()


def collate(samples: Sequence[Sample]) -> Batch:
    """Stack samples into a ``Batch``; absent masks become empty ones where another sample of the batch has one."""
    images = torch.stack([sample.image for sample in samples])
    labels = torch.tensor([sample.label for sample in samples], dtype=torch.int64)
    ids = [sample.id for sample in samples]
    has_mask = torch.tensor([sample.mask is not None for sample in samples])
    if not has_mask.any():
        return Batch(images, labels, ids)
    empty = torch.zeros_like(images[0, :1], dtype=torch.bool)
    masks = torch.stack([empty if sample.mask is None else sample.mask for sample in samples])
    return Batch(images, labels, ids, masks, has_mask)
