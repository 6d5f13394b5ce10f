"""A training that SLURM is about to end saves itself, and is queued again."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytorch_lightning as pl

from cae.requeue import REQUEUE, SIGNAL
from cae.signals import Stopped


class Requeueing(pl.Callback):
    """After SIGUSR1 under SLURM: a checkpoint where one within an epoch is exact, and the job is queued again.

    A training whose order of images depends on the epoch goes on from the last whole one instead. Several processes
    look together, once per logging interval, since looking waits for all of them.

    Args:
        folder: of the stage's checkpoints.
        exact: whether what a step sees follows from the number of the step alone.
        every: steps between two looks of several processes.
    """

    def __init__(self, folder: Path, exact: bool, every: int):
        self.folder, self.exact, self.every = folder, exact, every
        self._training, self._saves = ExitStack(), False

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """From now on, the signal waits for the end of a step."""
        self._training.enter_context(REQUEUE.deferred())

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Save and end, if any process was asked to; the last step is wholly done, and counted, only now."""
        if trainer.world_size > 1 and batch_idx % self.every:
            return
        if trainer.strategy.reduce_boolean_decision(REQUEUE.asked, all=False):
            if self.exact and trainer.global_step:
                self._saves = True
                trainer.save_checkpoint(self.folder / "last.ckpt")
            self._obey(trainer)

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Lightning (2.6) takes a checkpoint within an epoch for one that lacks a step in the count of the log."""
        if self._saves:
            checkpoint["loops"]["fit_loop"]["epoch_loop.state_dict"]["_batches_that_stepped"] -= 1

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """A signal that came too late for a step is obeyed now: the last checkpoint is there."""
        self._training.close()
        if trainer.strategy.reduce_boolean_decision(REQUEUE.asked, all=False):
            self._obey(trainer)

    @staticmethod
    def _obey(trainer: pl.Trainer) -> None:
        REQUEUE.asked = False
        if trainer.strategy.broadcast(REQUEUE.queue_again() if trainer.is_global_zero else True):
            raise Stopped(SIGNAL)

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """The training has ended otherwise."""
        self._training.close()
