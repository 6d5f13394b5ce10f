"""The LightningDataModule: loaders over a source."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any, cast

import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader, Dataset, get_worker_info

from cae.config import DataConfig
from cae.data.fingerprint import data_fingerprint
from cae.data.sources import open_source
from cae.data.splits import SPLITS, class_counts
from cae.data.types import Batch, ImageSet, Sample, Splits, collate
from cae.errors import UserError, did_you_mean


class FlipCollate:
    """Collate, and mirror each image (with its mask) left to right with probability one half."""

    def __init__(self, seed: int):
        self.generator = torch.Generator().manual_seed(seed)

    def __call__(self, samples: Sequence[Sample]) -> Batch:
        """One batch, some of its images mirrored."""
        # a worker's global generator is seeded anew by the loader for each worker and epoch
        generator = self.generator if get_worker_info() is None else None
        return flip(collate(samples), torch.rand(len(samples), generator=generator) < 0.5)


def flip(batch: Batch, chosen: torch.Tensor) -> Batch:
    """Mirror the images of ``chosen (B,)`` bool left to right, and their masks with them."""
    where = chosen[:, None, None, None]
    images = torch.where(where, batch.images.flip(-1), batch.images)
    masks = None if batch.masks is None else torch.where(where, batch.masks.flip(-1), batch.masks)
    return Batch(images, batch.labels, batch.ids, masks, batch.has_mask)


class CAEDataModule(pl.LightningDataModule):
    """Train, val and test loaders of a source, each yielding ``Batch``; ``predict`` may name what to explain.

    The source is opened once per process, at ``setup`` or when first asked for; nothing depends on the rank.

    Args:
        config: the section ``data`` of the configuration.
    """

    def __init__(self, config: DataConfig):
        super().__init__()
        self.config = config
        self.predict: str | ImageSet | None = None  # a split's name, or images of the user
        self._splits: Splits | None = None

    def setup(self, stage: str | None = None) -> None:
        """Open and check the source; a second call does nothing.

        Raises:
            UserError: one that lists everything wrong with the source.
        """
        if self._splits is None:
            self._splits = open_source(self.config)

    @property
    def splits(self) -> Splits:
        """The three image sets and the class names."""
        self.setup()
        if self._splits is None:
            raise RuntimeError("setup did not open the source.")
        return self._splits

    @cached_property
    def fingerprint(self) -> dict[str, Any]:
        """What tells results of this data from those of other data."""
        return data_fingerprint(self.splits)

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes, in label order."""
        return self.splits.classes

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """``(C, H, W)`` of every image."""
        return (self.config.channels, *self.config.sides)

    @property
    def train(self) -> ImageSet:
        """The training split, never mirrored (that is the loader's doing)."""
        return self.splits.train

    @property
    def val(self) -> ImageSet:
        """The validation split."""
        return self.splits.val

    @property
    def test(self) -> ImageSet:
        """The test split."""
        return self.splits.test

    def dataset(self, split: str) -> ImageSet:
        """The image set of a split: ``train``, ``val`` or ``test``.

        Raises:
            UserError: for any other name.
        """
        if split not in SPLITS:
            raise UserError(f"a split must be train, val or test, but is {split!r}{did_you_mean(split, SPLITS)}.")
        return getattr(self.splits, split)

    def describe(self) -> str:
        """One line per split: how many images, in all and of each class."""
        return "\n".join(f"{split}: {describe(self.dataset(split), self.classes)}" for split in SPLITS)

    def loader(self, dataset: ImageSet, shuffle: bool = False, batch_size: int | None = None) -> DataLoader[Sample]:
        """A loader over any image set, in order or shuffled by ``data.seed``; nothing is dropped or mirrored."""
        return self._loader(dataset, shuffle, batch_size or self.config.batch_size)

    def train_dataloader(self) -> DataLoader[Sample]:
        """Shuffled batches of the training split, all of full size where there is more than one."""
        size = self.config.batch_size
        mirror = FlipCollate(self.config.seed) if self.config.flip else collate
        return self._loader(self.train, True, size, drop_last=len(self.train) > size, collate_fn=mirror)

    def val_dataloader(self) -> DataLoader[Sample]:
        """The validation split in order."""
        return self.loader(self.val)

    def test_dataloader(self) -> DataLoader[Sample]:
        """The test split in order."""
        return self.loader(self.test)

    def predict_dataloader(self) -> DataLoader[Sample]:
        """What ``predict`` names, in order.

        Raises:
            UserError: if it is not set.
        """
        if self.predict is None:
            raise UserError("nothing to predict: set `predict` of the data module to a split's name or to ImageFiles.")
        return self.loader(self.dataset(self.predict) if isinstance(self.predict, str) else self.predict)

    def _loader(
        self,
        dataset: ImageSet,
        shuffle: bool,
        batch_size: int,
        drop_last: bool = False,
        collate_fn: Callable[[Sequence[Sample]], Batch] = collate,
    ) -> DataLoader[Sample]:
        return DataLoader(
            cast("Dataset[Sample]", dataset),
            batch_size=batch_size,
            shuffle=shuffle,
            drop_last=drop_last,
            collate_fn=collate_fn,
            num_workers=self.config.workers,
            persistent_workers=self.config.workers > 0,
            generator=torch.Generator().manual_seed(self.config.seed),
        )


def describe(images: ImageSet, classes: Sequence[str]) -> str:
    """How many images a set has, in all and of each class: ``12 images (cat 7, dog 5)``."""
    counts = class_counts(images.labels, classes)
    return f"{len(images)} images ({', '.join(f'{name} {count}' for name, count in zip(classes, counts, strict=True))})"
