"""Which images of a set are taken, in which order, and the options that their pixels depend on."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import Tensor

from cae.config import DataConfig
from cae.data import ImageSet, Sample
from cae.errors import UserError


def evenly_spread(images: ImageSet, most: int) -> Tensor:
    """At most so many images of a set, evenly spread over it, ``(N, C, H, W)``."""
    chosen = torch.linspace(0, len(images) - 1, min(most, len(images))).round().long()
    return torch.stack([images[row].image for row in chosen.tolist()])


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
    """At most ``count`` indices, taken from the classes in turn, at random within each."""
    order = torch.randperm(len(classes), generator=torch.Generator().manual_seed(seed))
    rank = torch.zeros(len(classes), dtype=torch.int64)
    for k in classes.unique():
        members = order[classes[order] == k]
        rank[members] = torch.arange(len(members))
    return order[torch.argsort(rank[order], stable=True)][:count]


NO_MATTER = {"batch_size", "workers", "cache", "flip"}  # options of the data that change no image of a split


OF_FILES = ("image_size", "channels", "crop")  # those that change images given as files


def image_options(config: DataConfig, files: bool = False) -> dict[str, Any]:
    """The options that images of a split, or given as files, depend on, by name."""
    values = dataclasses.asdict(config)
    names = OF_FILES if files else sorted(set(values) - NO_MATTER)
    return {name: values[name] for name in names}
