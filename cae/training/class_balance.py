"""The order in which a classifier sees its training images: every class as often as every other."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor
from torch.utils.data import Sampler

from cae.data.types import ImageSet, Sample, even_places


def epoch_seed(seed: int, epoch: int, rank: int) -> int:
    """A seed of its own for every epoch and process."""
    return (seed * 1_000_003 + epoch * 1009 + rank) % 2**63


def balanced_order(labels: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """Indices of ``count`` images in random order, classes as equal in number as ``count`` allows.

    Within a class, no image comes again before all others of it have come.

    Args:
        labels: ``(N,)`` class indices, of at least one class.
        count: how many indices.
        generator: source of chance.

    Returns:
        ``(count,)`` indices into ``labels``.
    """
    classes = labels.unique()
    shares = [len(part) for part in torch.arange(count).tensor_split(len(classes))]
    drawn = []
    for cls, share in zip(classes[torch.randperm(len(classes), generator=generator)], shares, strict=True):
        members = (labels == cls).nonzero()[:, 0]
        rounds = -(-share // len(members))
        repeated = [members[torch.randperm(len(members), generator=generator)] for _ in range(rounds)]
        drawn.append(torch.cat([members[:0], *repeated])[:share])
    indices = torch.cat(drawn)
    return indices[torch.randperm(count, generator=generator)]


class BalancedOrder(Sampler[int]):
    """A balanced random order that depends on seed and epoch alone, so that a resumed training keeps it.

    Several processes are dealt its images in turn, equally many each: N batches of B that go together are one of N B.
    """

    def __init__(self, labels: Tensor, count: int, seed: int, rank: int = 0, world_size: int = 1):
        self.labels, self.count, self.seed, self.epoch = labels, count, seed, 0
        self.rank, self.world_size = rank, world_size

    def set_epoch(self, epoch: int) -> None:
        """Choose the order of an epoch."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.count // self.world_size

    def __iter__(self) -> Iterator[int]:
        generator = torch.Generator().manual_seed(epoch_seed(self.seed, self.epoch, 0))
        order = balanced_order(self.labels, self.count, generator)
        yield from order[self.rank :: self.world_size][: len(self)].tolist()


class WithLabels:
    """An image set with other labels, such as the predictions of a classifier."""

    def __init__(self, images: ImageSet, labels: Sequence[int] | Tensor):
        self.images, self.labels = images, torch.as_tensor(labels, dtype=torch.int64)

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Sample:
        sample = self.images[index]
        return Sample(sample.image, int(self.labels[index]), sample.id, sample.mask)


class SpreadOver:
    """At most ``most`` images of a set, evenly spread over it."""

    def __init__(self, images: ImageSet, most: int):
        self.images = images
        self.indices = even_places(len(images), most)
        self.labels = images.labels[self.indices]

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: int) -> Sample:
        return self.images[int(self.indices[index])]
