"""The endless stream of training batches: which images come at which step is a function of seed and step alone.

A training that is stopped and continued therefore sees what an undisturbed one would have seen.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Sampler

from cae.data.types import ImageSet, collate


class Progress(Protocol):
    """How far a training is, and which of its processes this is. A Lightning trainer is one."""

    @property
    def global_step(self) -> int:
        """Steps that are done."""

    @property
    def global_rank(self) -> int:
        """Number of this process."""

    @property
    def world_size(self) -> int:
        """Number of processes, which share the stream without overlap."""


class BalancedStream(Sampler[list[int]]):
    """Batches in which every class is equally likely.

    The stream is drawn in rounds of about as many images as there are. Within a round, each class is gone through in a
    random order before any of its images comes again. Iterating gives the batches from the present step on to the end
    of the epoch: Lightning's own ``set_epoch`` does not reach batch samplers (2.6).

    Args:
        classes: ``(N,)`` class of every image (predicted by the classifier, or the label).
        batch_size: images in one batch of one process.
        epoch_steps: batches in one epoch.
        max_steps: batches of the whole training; its last epoch may be shorter.
        seed: seed of the stream.
        progress: where the training stands, asked anew whenever an iteration begins.
    """

    def __init__(
        self, classes: Tensor, batch_size: int, epoch_steps: int, max_steps: int, seed: int, progress: Progress
    ):
        self.members = [torch.where(classes == name)[0] for name in classes.unique()]
        self.batch_size, self.epoch_steps, self.max_steps = batch_size, epoch_steps, max_steps
        self.seed, self.progress = seed, progress

    def __len__(self) -> int:
        """Batches of the present epoch, those already done included; never 0, which Lightning would warn of."""
        done = self.progress.global_step
        begun = done - done % self.epoch_steps
        if begun == done > 0 and self._is_resumed:
            # Lightning (2.6) first ends the epoch at whose end the checkpoint was written; by the length of a shorter
            # one to come it would find that one not ended yet, and take steps in it
            begun -= self.epoch_steps
        return max(1, min(self.epoch_steps, self.max_steps - begun))

    @property
    def _is_resumed(self) -> bool:
        """Whether a Lightning trainer has taken up a checkpoint, and not gone on to another epoch yet."""
        return bool(getattr(getattr(self.progress, "fit_loop", None), "is_resuming", False))

    def __iter__(self) -> Iterator[list[int]]:
        first, present = self.progress.global_step, -1
        round_steps = self._round_steps()
        for step in range(first, first - first % self.epoch_steps + len(self)):
            number, row = divmod(step, round_steps)
            if number != present:
                present, rows = number, self._round(number, round_steps)
            yield rows[row]

    def _round_steps(self) -> int:
        images = sum(len(members) for members in self.members)
        return -(-images // (self.batch_size * self.progress.world_size))

    def _round(self, number: int, steps: int) -> list[list[int]]:
        """The batches of this process in one round."""
        world, rank = self.progress.world_size, self.progress.global_rank
        generator = torch.Generator().manual_seed((self.seed * 1_000_003 + number) % 2**63)
        count = steps * self.batch_size * world
        share = -(-count // len(self.members))
        rows = torch.stack([_repeat_shuffled(members, share, generator) for members in self.members])  # (K, share)
        rows = rows.gather(0, torch.rand(rows.shape, generator=generator).argsort(0))  # classes in random order
        return rows.T.flatten()[:count].view(steps, world, self.batch_size)[:, rank].tolist()


def _repeat_shuffled(members: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """``count`` of the members: whole random orders, one after another."""
    rounds = -(-count // len(members))
    return torch.cat([members[torch.randperm(len(members), generator=generator)] for _ in range(rounds)])[:count]


def stream_loader(images: ImageSet, stream: BalancedStream, workers: int) -> DataLoader:
    """Loads the batches of a stream; ``workers`` processes load images, 0 for the main process alone."""
    return DataLoader(
        images,  # type: ignore[arg-type]
        batch_sampler=stream,
        collate_fn=collate,
        num_workers=workers,
        persistent_workers=workers > 0,
    )
