"""What the trainings of both presets share: frozen classifiers, randomness by step, validation by swaps."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor

from cae.classifiers import TargetClassifier
from cae.config import CAEConfig
from cae.data import Batch
from cae.data.module import flip
from cae.models.cae import CAE
from cae.models.published import PublishedCAE
from cae.training.former_checkpoints import present_state
from cae.training.step import step_seed
from cae.training.validation import SwapValidation


@dataclass(frozen=True)
class FrozenClassifiers:
    """The frozen classifiers of a training.

    Attributes:
        target: the classifier that the codes follow.
        oracle: the classifier that validation asks beside it, and no loss; None where none is worth asking.
        training_logits: ``(N, K)`` logits of the target for the training images.
        rows: row of each training image in ``training_logits``, by its id; empty where images are altered before they
            are used.
    """

    target: TargetClassifier
    oracle: TargetClassifier | None
    training_logits: Tensor
    rows: Mapping[str, int] = field(default_factory=dict)

    @torch.no_grad()
    def logits(self, batch: Batch) -> Tensor:
        """The target's logits ``(B, K)``; a training image is not classified a second time."""
        if not self.rows:
            return self.target.logits(batch.images).float()
        return self.training_logits[[self.rows[name] for name in batch.ids]].to(batch.images.device)


class CAETrainingModule(pl.LightningModule, ABC):
    """A training against frozen classifiers. ``average`` is the model that is validated and exported.

    Args:
        image_shape: ``(C, H, W)``.
        config: options of the training.
        classifiers: the frozen classifiers.
        seed: with the step, it determines all randomness of a training step.
        mirror: mirror training images at random, left to right.
    """

    average: CAE | PublishedCAE

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        config: CAEConfig,
        classifiers: FrozenClassifiers,
        seed: int = 0,
        mirror: bool = False,
    ):
        super().__init__()
        self.config, self.seed, self.mirror = config, seed, mirror
        # in a plain object, the frozen classifiers stay out of parameters, checkpoints and train()
        self.classifiers = classifiers
        asked = {"target": classifiers.target} | ({"oracle": classifiers.oracle} if classifiers.oracle else {})
        self.validation = SwapValidation(asked, config)
        self.build_networks(image_shape)

    @abstractmethod
    def build_networks(self, image_shape: tuple[int, int, int]) -> None:
        """Make the networks of the preset for images ``(C, H, W)``."""

    def forward(self, images: Tensor) -> Tensor:
        """Reconstructions of images ``(B, C, H, W)`` in [0, 1], by the exported model."""
        codes = self.average.encode(images)
        return self.average.decode(codes.class_code, codes.individual_code)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Take the weights of a former version for those of this one."""
        checkpoint["state_dict"] = present_state(checkpoint["state_dict"])

    def on_fit_start(self) -> None:
        """Bring the frozen classifiers to the device of the training."""
        for classifier in self.validation.classifiers.values():
            classifier.to(self.device)

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        """Randomness is a function of seed, step and process, so that a resumed run draws what it would have drawn."""
        torch.manual_seed(step_seed(self.seed, self.global_step, self.global_rank))

    def augmented(self, batch: Batch) -> Batch:
        """The batch, half of its images mirrored where that is asked for."""
        return flip(batch, torch.rand(len(batch), device=self.device) < 0.5) if self.mirror else batch

    def on_validation_epoch_start(self) -> None:
        """Forget the images of the last validation."""
        self.validation.reset()

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Keep the images: swaps pair images of different batches."""
        self.validation.add(batch.images)

    def on_validation_epoch_end(self) -> None:
        """Reassignment under target and oracle, reconstruction and code statistics of the exported model."""
        metrics = self.validation.measure(self.average)
        self.validation.reset()
        self.log_dict({f"val/{name}": value for name, value in metrics.items()}, sync_dist=True)
        for short, name in (("flip", "reassignment"), ("oracle", "reassignment_oracle"), ("mae", "reconstruction_mae")):
            if name in metrics:
                self.log(short, metrics[name], prog_bar=True, logger=False, sync_dist=True)
