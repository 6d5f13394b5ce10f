"""Callbacks of the trainings: pictures, the clock, patience, checkpoints."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import EarlyStopping, ModelCheckpoint
from torch import Tensor

from cae.diagnostics.figures import swap_grid
from cae.training.base_module import CAETrainingModule


class Patience(EarlyStopping):
    """Ends a training that does not get better; one that had ended before is not taken up again."""

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """End at once what was continued after its end."""
        trainer.should_stop = trainer.should_stop or self.stopped_epoch > 0


class SampleGrid(pl.Callback):
    """After each validation, a picture of the same recipients and donors: ``samples/step-000500.png``.

    Args:
        folder: the folder ``samples`` of the run.
        images: ``(N, C, H, W)`` validation images in [0, 1]; each is recipient and donor.
    """

    def __init__(self, folder: Path, images: Tensor):
        self.folder, self.images = folder, images

    @torch.no_grad()
    def on_validation_end(self, trainer: pl.Trainer, pl_module: CAETrainingModule) -> None:  # type: ignore[override]
        """Decode the matrix of swaps with the averaged weights and write it."""
        if not trainer.is_global_zero:
            return
        cae = pl_module.average
        codes = cae.encode(self.images.to(pl_module.device))
        rows = []
        for recipient in range(len(codes)):
            individual = codes.individual_code[recipient : recipient + 1].expand(len(codes), -1, -1, -1)
            rows.append(cae.decode(codes.class_code, individual).cpu())
        swap_grid(self.images, self.images, torch.stack(rows), self.folder / f"step-{trainer.global_step:06d}.png")


class TrainingClock(pl.Callback):
    """Counts the seconds of training; they are part of the checkpoint, so that a resumed run reports all of them."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self._start: float | None = None

    def state_dict(self) -> dict[str, float]:
        """Seconds so far."""
        return {"seconds": self.seconds + self._since()}

    def load_state_dict(self, state_dict: dict[str, float]) -> None:
        """Take up the count of an interrupted run."""
        self.seconds = state_dict["seconds"]

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start the clock."""
        self._start = time.monotonic()

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Stop it."""
        self.seconds += self._since()
        self._start = None

    def _since(self) -> float:
        return 0.0 if self._start is None else time.monotonic() - self._start


class LastValidation(pl.Callback):
    """Figures of the last validation, part of the checkpoint: a training that is resumed at its end makes none anew."""

    def __init__(self) -> None:
        self.figures: dict[str, float] = {}

    def state_dict(self) -> dict[str, float]:
        """The figures by their names in the log."""
        return self.figures

    def load_state_dict(self, state_dict: dict[str, float]) -> None:
        """Take up those of an interrupted run."""
        self.figures = dict(state_dict)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Note them before the checkpoints, which Lightning writes last."""
        self.figures = {name: float(value) for name, value in trainer.callback_metrics.items()}


class MovableCheckpoint(ModelCheckpoint):
    """Remembers its best score although the run's folder has been moved, where Lightning begins to compare anew."""

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take the paths of the folder that the checkpoint was written in for those of the present one."""

        def here(path: str) -> str:
            return str(Path(self.dirpath or "") / Path(path).name) if path else path

        state = {**state_dict, "dirpath": self.dirpath}
        for name in ("best_model_path", "kth_best_model_path", "last_model_path"):
            state[name] = here(state[name])
        state["best_k_models"] = {here(path): score for path, score in state["best_k_models"].items()}
        super().load_state_dict(state)
