"""A training that diverges stops in words, and leaves no checkpoint with weights that are not finite."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import ModelCheckpoint
from torch import Tensor

from cae.config import Config
from cae.config.fields import get_value
from cae.errors import NotFiniteError, UserError
from cae.files import non_finite

RATES = {
    "classifier": ("classifier.learning_rate",),
    "oracle": ("classifier.learning_rate",),
    "surrogate": ("classifier.learning_rate",),
    "cae": ("cae.learning_rate", "cae.discriminator_learning_rate"),
    "ncc": ("ncc.learning_rate",),
    "sampler": ("sampler.learning_rate",),
}


class FiniteTraining(pl.Callback):
    """Stops a training whose loss or weights are not finite, with the last good checkpoint and a way out.

    The loss is looked at once per logging interval, since looking waits for the device; the weights before each
    validation and each checkpoint. All processes of a distributed training stop together.

    Args:
        config: the program's options, for their names and values in the sentence.
        stage: what is trained.
    """

    def __init__(self, config: Config, stage: str):
        self.config, self.stage = config, stage

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Look at the loss."""
        if (batch_idx + 1) % self.config.logging.every == 0:
            losses = losses_of(outputs, trainer.callback_metrics)
            self._stop_unless(trainer, not non_finite(losses), "the loss is no longer a finite number")

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Look at the weights: what they give would be measured, and called best for want of better."""
        self._check_weights(trainer, pl_module.state_dict())

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Look at the weights: a checkpoint that holds NaN would take the place of a good one."""
        self._check_weights(trainer, checkpoint["state_dict"])

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """Say that the training diverged where a classifier, sound before it, was given images that are no numbers."""
        if isinstance(exception, NotFiniteError) and trainer.training:
            # the same exception goes on, so that Lightning clears up after it
            exception.problems = [self._sentence(trainer, "images made by the model are no longer finite numbers")]
            exception.args = tuple(exception.problems)

    def _check_weights(self, trainer: pl.Trainer, state: Mapping[str, Tensor]) -> None:
        self._stop_unless(trainer, not non_finite(state), "weights are no longer finite numbers")

    def _stop_unless(self, trainer: pl.Trainer, good: bool, words: str) -> None:
        if not trainer.strategy.reduce_boolean_decision(good):
            raise UserError(self._sentence(trainer, words))

    def _sentence(self, trainer: pl.Trainer, words: str) -> str:
        half = trainer.precision == "16-mixed"
        return (
            f"{self.stage}: the training diverged, {words} at step {trainer.global_step}; nothing is exported, and "
            f"{saved_words(trainer)}. Train anew with a lower {rate_words(self.config, self.stage)}"
            f"{', or trainer.precision=bf16-mixed,' if half else ''} and overwrite=true."
        )


def saved_words(trainer: pl.Trainer, chosen: bool = False) -> str:
    """Which checkpoint a training that stops leaves: the newest, or the one ``chosen`` by its validation."""
    kept = [
        Path(callback.best_model_path)
        for callback in trainer.checkpoint_callbacks
        if isinstance(callback, ModelCheckpoint) and callback.best_model_path and (callback.monitor or not chosen)
    ]
    newest = max((path for path in kept if path.is_file()), key=lambda path: path.stat().st_mtime, default=None)
    return f"the last good checkpoint is '{newest}'" if newest else "no checkpoint had been written"


def rate_words(config: Config, stage: str) -> str:
    """The learning rates of a stage by their options, with their values."""
    rates = RATES.get(stage, ())
    return " or ".join(f"{name} (now {get_value(config, name):g})" for name in rates) or "learning rate"


def losses_of(outputs: Any, logged: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Losses of a training step: what it returned, or, of a step that optimises by itself, what it logged."""
    loss = outputs.get("loss") if isinstance(outputs, Mapping) else outputs
    if isinstance(loss, Tensor):
        return {"loss": loss}
    return {name: torch.as_tensor(value) for name, value in logged.items() if name.startswith("train/")}
