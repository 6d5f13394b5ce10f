"""The training of a patch distribution by its bits per dimension, as a Lightning module."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor

from cae.data import Batch
from cae.data.module import flip
from cae.training.step import average_weights, step_seed
from explainers.infills.patch_distribution import PatchDistribution
from explainers.infills.windows import at_border, fixed_windows, random_tops

WEIGHT_DECAY = 0.01  # of AdamW
AVERAGING = 0.999  # share of the averaged weights that a step keeps


class PatchTrainingModule(pl.LightningModule):
    """Trains a ``PatchDistribution`` by its bits per dimension; ``average`` holds the averaged weights.

    Args:
        sizes: arguments of ``PatchDistribution``.
        crops: windows of one training step.
        validation_crops: windows of one validation, the same every time.
        max_steps: length of the learning-rate schedule.
        warmup_steps: steps over which the learning rate rises.
        learning_rate: its peak.
        seed: with the step, it determines all randomness of training.
        mirror: mirror training windows at random, left to right.
        validation_images: images of one validation in all, over which the windows are spread.
        level_counts: ``(C, 256)`` how often each level comes in the training images, to begin at.
    """

    def __init__(
        self,
        sizes: Mapping[str, Any],
        crops: int = 128,
        validation_crops: int = 10_000,
        max_steps: int = 5000,
        warmup_steps: int = 500,
        learning_rate: float = 3e-4,
        seed: int = 0,
        mirror: bool = False,
        validation_images: int = 1,
        level_counts: Tensor | None = None,
    ):
        super().__init__()
        self.save_hyperparameters(ignore=["level_counts"])
        self.distribution = PatchDistribution(**sizes)
        if level_counts is not None:
            self.distribution.begin_at(level_counts)
        self.average: PatchDistribution = copy.deepcopy(self.distribution).requires_grad_(False)
        self._validation: list[Tensor] = []
        self._at_border: list[Tensor] = []

    def forward(self, images: Tensor, rows: Tensor, tops: Tensor) -> Tensor:
        """What the averaged network says of windows; see ``PatchDistribution``."""
        return self.average(images, rows, tops)

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        """Randomness is a function of seed, step and process, so that a resumed run draws what it would have drawn."""
        torch.manual_seed(step_seed(self.hparams["seed"], self.global_step, self.global_rank))

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Bits per dimension of random windows of the batch."""
        if self.hparams["mirror"]:
            batch = flip(batch, torch.rand(len(batch)).to(batch.images.device) < 0.5)
        images, count = batch.images, self.hparams["crops"]
        rows = torch.arange(count, device=images.device) % len(images)
        tops = random_tops(count, (images.shape[2], images.shape[3]), self.distribution.window).to(images.device)
        loss = self.distribution.bits(images, rows, tops).mean()
        self.log("train/bpd", loss.detach(), prog_bar=True)
        return loss

    def on_validation_epoch_start(self) -> None:
        """Forget the windows of the last validation."""
        self._validation, self._at_border = [], []

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        """Bits of the fixed windows of a batch."""
        each = -(-self.hparams["validation_crops"] // self.hparams["validation_images"])
        rows, tops = fixed_windows(len(batch.images), each, batch.images.shape, self.distribution.window, batch_idx)
        generator = torch.Generator().manual_seed(batch_idx)
        for part in torch.arange(len(rows)).split(256):
            place = tops[part].to(self.device)
            bits = self.average.bits(batch.images, rows[part].to(self.device), place, generator)
            self._validation.append(bits.float().cpu())
        self._at_border.append(at_border(tops, tuple(batch.images.shape[2:]), self.distribution.window))

    def on_validation_epoch_end(self) -> None:
        """Log the means, over all windows and apart for those whose surroundings reach over the border."""
        bits, border = torch.cat(self._validation), torch.cat(self._at_border)
        values = {"val/bpd": bits.mean()}
        for name, chosen in (("border", border), ("interior", ~border)):
            if chosen.any():
                values[f"val/bpd_{name}"] = bits[chosen].mean()
        self.log_dict(values, sync_dist=True)
        self.log("bpd", values["val/bpd"], prog_bar=True, logger=False, sync_dist=True)

    def optimizer_step(self, *arguments: Any, **named: Any) -> None:
        """Step and average the weights: one act, so that no checkpoint falls between the two."""
        super().optimizer_step(*arguments, **named)
        average_weights(self.average, self.distribution, self.global_step + 1, AVERAGING)

    def configure_optimizers(self) -> Any:
        """AdamW; the learning rate rises linearly, then falls along a cosine."""
        options = self.hparams
        optimiser = torch.optim.AdamW(
            self.distribution.parameters(), lr=options["learning_rate"], weight_decay=WEIGHT_DECAY
        )
        warmup = max(min(options["warmup_steps"], options["max_steps"] // 5), 1)
        rise = torch.optim.lr_scheduler.LinearLR(optimiser, 1 / warmup, total_iters=warmup)
        fall = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, max(options["max_steps"] - warmup, 1))
        schedule = torch.optim.lr_scheduler.SequentialLR(optimiser, [rise, fall], [warmup])
        return {"optimizer": optimiser, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}
