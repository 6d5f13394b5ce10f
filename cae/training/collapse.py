"""An embedding that collapses stops in words: it no longer draws its images, or every swap looks like one class."""

from __future__ import annotations

from typing import cast

import pytorch_lightning as pl

from cae.config import Config
from cae.errors import UserError
from cae.training.base_module import CAETrainingModule
from cae.training.finite import rate_words, saved_words

BAD_ERRORS = 2  # validations in a row whose reconstruction error is above its bound, after one within it
SAME_CLASS = 3  # validations in a row at which all swaps are of one class, after one at which they were not


class CollapseGuard(pl.Callback):
    """Stops a training of the CAE whose validations show, several times in a row, that it has collapsed.

    Once is not enough: adversarial trainings have bad moments that pass. Before the end of ``cae.ramp_steps`` nothing
    is judged, since swaps are then not asked to change their class; and what has never been good, a reconstruction
    error within ``cae.max_reconstruction_error`` or swaps of several classes, may still be on its way there.

    Args:
        config: the program's options.
    """

    def __init__(self, config: Config):
        self.config = config
        self.state = {"was_good": 0, "bad_errors": 0, "was_varied": 0, "same_class": 0}

    def state_dict(self) -> dict[str, int]:
        """Counts so far, so that a training that is continued is judged as one that was never stopped."""
        return dict(self.state)

    def load_state_dict(self, state_dict: dict[str, int]) -> None:
        """Take up the counts of an interrupted training."""
        self.state |= state_dict

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Judge the figures of a validation."""
        if trainer.global_step <= cast(CAETrainingModule, pl_module).warmup_steps + self.config.cae.ramp_steps:
            return
        error = float(trainer.callback_metrics["val/reconstruction_mae"])
        share = float(trainer.callback_metrics["val/swaps_of_one_class"])
        words = self.judge(error, share)
        if words:
            raise UserError(
                f"cae: the training has collapsed, {words} at step {trainer.global_step}; nothing is exported, and "
                f"{saved_words(trainer, chosen=True)}. Train anew with overwrite=true and a lower "
                f"{rate_words(self.config, 'cae')}, "
                "or with lower weights of the terms that pull against reconstruction (cae.loss.coherency, "
                "cae.loss.adversarial)."
            )

    def judge(self, error: float, share: float) -> str:
        """Count one validation; what is wrong, in words, or an empty text.

        Args:
            error: mean absolute reconstruction error, on [0, 1].
            share: of the swaps that are of the most frequent class among them, in [0, 1].
        """
        good, state = error <= self.config.cae.max_reconstruction_error, self.state
        state["was_good"] |= int(good)
        state["bad_errors"] = 0 if good or not state["was_good"] else state["bad_errors"] + 1
        state["was_varied"] |= int(share < 1)
        state["same_class"] = state["same_class"] + 1 if share >= 1 and state["was_varied"] else 0
        if state["bad_errors"] >= BAD_ERRORS:
            return (
                f"its reconstruction error, once within cae.max_reconstruction_error="
                f"{self.config.cae.max_reconstruction_error:g}, is {error:.3g} and was above it before"
            )
        if state["same_class"] >= SAME_CLASS:
            return f"all swaps are of one class for the classifier, as at the {SAME_CLASS - 1} validations before"
        return ""
