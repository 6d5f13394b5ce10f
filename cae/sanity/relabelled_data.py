"""The embedded images with other labels: permuted, by brightness, or by a planted marker."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from cae.config import DataConfig
from cae.data import CAEDataModule
from cae.data.arrays import ArraySet
from cae.data.lesions import DrawnSet, marker_box
from cae.data.types import Splits
from cae.errors import UserError


class RelabelledData(CAEDataModule):
    """Embedded images with other labels.

    Args:
        config: the section ``data``.
        relabel: new labels ``(N,)`` of an image set.
        val_from_train: validate on the first images of the training split, for what can only be learnt by heart.
    """

    def __init__(self, config: DataConfig, relabel: Callable[[ArraySet], Tensor], val_from_train: bool = False):
        super().__init__(config)
        self.relabel, self.val_from_train = relabel, val_from_train

    def setup(self, stage: str | None = None) -> None:
        """Open the source and replace the labels of all splits; a second call does nothing."""
        if self._splits is not None:
            return
        super().setup(stage)
        train, val, test = (_relabelled(part, self.relabel) for part in (self.train, self.val, self.test))
        val = train.subset(range(len(val))) if self.val_from_train else val
        self._splits = Splits(train, val, test, self.classes)


def permuted_labels(seed: int) -> Callable[[ArraySet], Tensor]:
    """Labels dealt out anew: as many of each class, without any relation to the images."""

    def relabel(images: ArraySet) -> Tensor:
        generator = torch.Generator().manual_seed(seed)
        return images.labels[torch.randperm(len(images), generator=generator)]

    return relabel


def brightness_labels(images: ArraySet) -> Tensor:
    """Labels by the mean grey value of the middle (half of each side): as many images of each class, dark to bright."""
    height, width = images.images.shape[-2:]
    middle = images.images[..., height // 4 : -(height // 4), width // 4 : -(width // 4)].float().mean((1, 2, 3))
    rank = middle.argsort(stable=True).argsort()
    return rank * (int(images.labels.max()) + 1) // len(rank)


def marker_labels(marked: int, unmarked: int) -> Callable[[ArraySet], Tensor]:
    """Labels by the planted marker alone: class ``marked`` where it is, ``unmarked`` where it is not."""

    def relabel(images: ArraySet) -> Tensor:
        return torch.where(has_marker(images.images), marked, unmarked)

    return relabel


def has_marker(images: Tensor) -> Tensor:
    """Whether images ``(N, C, H, W)``, uint8 or in [0, 1], carry the planted marker, ``(N,)`` bool."""
    top, left, bottom, right = marker_box(images.shape[-1])
    scale = 255 if images.dtype == torch.uint8 else 1
    return images[..., top:bottom, left:right].float().mean((1, 2, 3)) > 0.5 * scale


def _relabelled(images, relabel: Callable[[ArraySet], Tensor]) -> ArraySet:
    images = images.whole() if isinstance(images, DrawnSet) else images
    if not isinstance(images, ArraySet):
        raise UserError("sanity.tests=randomised and labels give images other labels, which needs them in memory.")
    return ArraySet(images.images, relabel(images), images.ids, images.masks)
