"""Which images are taken, of a split or of the user's files, in which order, and what their pixels depend on."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from cae.config import DataConfig
from cae.continuing import changed_names
from cae.data.fingerprint import files_fingerprint, same_data, same_files
from cae.data.images import Reading
from cae.data.module import CAEDataModule
from cae.data.notes import say_notes
from cae.data.records import FileSet, ImageFiles
from cae.data.types import ImageSet, Sample, even_places
from cae.errors import UserError

# options that change no image of a split
OF_NO_ACCOUNT = {"batch_size", "workers", "cache", "flip", "check", "max_megapixels"}
# where the data lies, and what is accepted of it: whether it is the same data its fingerprint tells
OF_PLACE = ("path", "mixed_channels", "max_gigabytes")
OF_FILES = ("image_size", "channels", "crop", "fit", "levels", "ground")  # those that change images given as files


@dataclasses.dataclass(frozen=True, eq=False)
class Selection:
    """Images chosen to be explained.

    Attributes:
        images: the whole set.
        ids: the id of each of its images.
        order: places of the chosen ones in the set, in the order in which they are explained.
        words: where they come from, in words.
    """

    images: ImageSet
    ids: tuple[str, ...]
    order: Sequence[int]
    words: str


def select_images(
    config: DataConfig, data: CAEDataModule | None, files: str | None, split: str, limit: int | None = None
) -> Selection:
    """The images of a file or folder, or else of a split, spread evenly over the classes.

    Args:
        config: the section ``data``: to which form files are brought.
        data: the open data; None where there is none.
        files: an image file, or a folder of them; None for the split.
        split: ``train``, ``val`` or ``test``.
        limit: at most so many images.

    Raises:
        UserError: if there are none, or the files cannot be read.
    """
    images: ImageSet
    if files is not None:
        images, words = image_files(config, files), f"'{files}'"
    elif data is not None:
        # each is explained once: to keep them all would take as much memory as there are images
        images, words = uncached(data.dataset(split)), f"the {split} split"
    else:
        raise UserError("there are no images to explain: name a file or a folder of them, or open a data set.")
    return Selection(images, image_ids(images), spread_order(images.labels)[:limit], words)


def uncached(images: ImageSet) -> ImageSet:
    """The same images, not kept in memory as they are decoded; a set that lies in memory as it is."""
    return images.uncached() if isinstance(images, FileSet) else images


def image_files(config: DataConfig, path: str) -> ImageFiles:
    """The images of a file or folder, brought to the size and channels of the data.

    Raises:
        UserError: if there is no image, or some cannot be read; all of them are listed.
    """
    images = ImageFiles(path, config.image_size, config.channels, config.crop, Reading.of(config))
    say_notes(images.notes)
    return images


def evenly_spread(images: ImageSet, most: int) -> Tensor:
    """At most so many images of a set, evenly spread over it, ``(N, C, H, W)``."""
    return torch.stack([images[row].image for row in even_places(len(images), most).tolist()])


def spread_order(labels: Tensor) -> list[int]:
    """All places, taken from the classes in turn, in data order within each: every start of it is spread evenly.

    >>> spread_order(torch.tensor([0, 0, 0, 1, 1, 2]))
    [0, 3, 5, 1, 4, 2]
    """
    rank = torch.zeros(len(labels), dtype=torch.int64)
    for k in labels.unique():
        members = (labels == k).nonzero()[:, 0]
        rank[members] = torch.arange(len(members))
    return torch.argsort(rank, stable=True).tolist()


def image_ids(images: ImageSet) -> tuple[str, ...]:
    """The ids of a set, in its order; where it does not list them, every image is read once."""
    known = getattr(images, "ids", None)
    return tuple(known) if known is not None else tuple(images[place].id for place in range(len(images)))


def readable(images: ImageSet, places: Iterable[int], problems: list[str]) -> Iterator[tuple[int, Sample]]:
    """The samples at these places; a damaged file costs no other image, and is told in ``problems``."""
    for place in places:
        try:
            yield place, images[place]
        except UserError as error:
            problems += error.problems


def spread_over_classes(classes: Tensor, count: int, seed: int) -> Tensor:
    """At most ``count`` indices of ``classes (N,)``, taken from the classes in turn, at random within each."""
    order = torch.randperm(len(classes), generator=torch.Generator().manual_seed(seed))
    rank = torch.zeros(len(classes), dtype=torch.int64)
    for k in classes.unique():
        members = order[classes[order] == k]
        rank[members] = torch.arange(len(members))
    return order[torch.argsort(rank[order], stable=True)][:count]


def image_options(config: DataConfig, files: bool = False) -> dict[str, Any]:
    """The options that images of a split, or given as files, depend on, by name."""
    values = dataclasses.asdict(config)
    names = OF_FILES if files else sorted(set(values) - OF_NO_ACCOUNT)
    # runs of before there was a choice have squares cut out of the centre
    return {name: values[name] for name in names if (name, values[name]) != ("fit", "crop")}


def images_identity(config: DataConfig, data: CAEDataModule | None, images: ImageSet) -> dict[str, Any]:
    """Everything that tells images from others, by name: a split of the data, or files of the user."""
    files = isinstance(images, ImageFiles)
    found: dict[str, Any] = {f"data.{name}": value for name, value in image_options(config, files).items()}
    if isinstance(images, ImageFiles):
        return found | {"files": files_fingerprint(images)}
    return found if data is None else found | {"data": data.fingerprint}


def changed_work(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Names in which two identities differ that hold one of images; a folder may have got more of them.

    Where the data lies is of no account once it is known what it holds.
    """
    same = {"data": same_data, "files": same_files}
    if before.get("data") is not None:
        same |= {f"data.{name}": lambda *_: True for name in OF_PLACE}
    return changed_names(before, now, same)
