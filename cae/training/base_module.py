"""What the trainings of both presets share: frozen classifiers, randomness by step, validation by swaps."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor

from cae.classifiers import ClassifierReader, TargetClassifier
from cae.config import CAEConfig
from cae.data import Batch
from cae.data.module import flip
from cae.models.cae import CAE
from cae.models.published import PublishedCAE
from cae.training.augmentation import SHIFT, random_affine, random_grey_levels
from cae.training.former_checkpoints import present_state
from cae.training.step import step_seed
from cae.training.validation import SwapValidation

TRAINING_PAIRS = 200  # swaps of training images at each validation
FEW_IMAGES = 3000  # fewer are learnt by heart within one training
# what leaves the class of an image as it is, and milder than what the classifier was trained with
ROTATION, SCALE, GREY_LEVELS = 7.0, 0.1, 0.15


def is_augmented(config: CAEConfig, images: int) -> bool:
    """Whether a training on so many images alters them; the published preset takes them as they are."""
    if config.augment is not None:
        return config.augment
    return config.preset == "default" and images < FEW_IMAGES


def wants_surrogate(config: CAEConfig, images: int) -> bool:
    """Whether swaps of a training on so many images shall convince a surrogate of the classifier too."""
    if config.surrogate is not None:
        return config.surrogate
    return config.follows_gradients and images < FEW_IMAGES


@dataclass(frozen=True)
class FrozenClassifiers:
    """The frozen classifiers of a training.

    Attributes:
        target: the classifier that the codes follow.
        oracle: the classifier that validation asks beside it, and no loss; None where none is worth asking.
        training_logits: ``(N, K)`` logits of the target for the training images.
        samples: ``(n, C, H, W)`` some of the training images, of all classes.
        rows: row of each training image in ``training_logits``, by its id; empty where images are altered before they
            are used.
        reader: of the target's features, where class codes are read in them.
        training_features: ``(N, F)`` of the training images, by the reader.
        surrogate: a network that learnt the target's predictions, which swaps have to convince too.
    """

    target: TargetClassifier
    oracle: TargetClassifier | None
    training_logits: Tensor
    samples: Tensor
    rows: Mapping[str, int] = field(default_factory=dict)
    reader: ClassifierReader | None = None
    training_features: Tensor | None = None
    surrogate: TargetClassifier | None = None

    @torch.no_grad()
    def read(self, batch: Batch) -> tuple[Tensor, Tensor | None]:
        """The target's logits ``(B, K)`` and what its reader sees, ``(B, F)``; a training image is not read twice."""
        if not self.rows:
            if self.reader is None:
                return self.target.logits(batch.images).float(), None
            reading = self.reader(batch.images, maps=False)
            return reading.logits, reading.features
        rows, device = [self.rows[name] for name in batch.ids], batch.images.device
        features = None if self.training_features is None else self.training_features[rows].to(device)
        return self.training_logits[rows].to(device), features


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
        few = replace(config, validation_pairs=min(config.validation_pairs, TRAINING_PAIRS))
        self.on_training_images = SwapValidation(asked, few)
        self.build_networks(image_shape)

    @property
    def warmup_steps(self) -> int:
        """Steps before swaps are asked to change their class."""
        return self.config.warmup_steps or 0

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
        for classifier in (*self.validation.classifiers.values(), self.classifiers.surrogate):
            if classifier is not None:
                classifier.to(self.device)

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        """Randomness is a function of seed, step and process, so that a resumed run draws what it would have drawn."""
        torch.manual_seed(step_seed(self.seed, self.global_step, self.global_rank))

    def augmented(self, batch: Batch) -> Batch:
        """The batch, its images altered as ``cae.augment`` says, half of them mirrored where that is asked for."""
        batch = flip(batch, torch.rand(len(batch), device=self.device) < 0.5) if self.mirror else batch
        if not is_augmented(self.config, len(self.classifiers.training_logits)):
            return batch
        side = min(batch.images.shape[-2:])
        images = random_affine(batch.images, ROTATION, SCALE, round(side * SHIFT))
        return replace(batch, images=random_grey_levels(images, GREY_LEVELS))

    def on_validation_epoch_start(self) -> None:
        """Forget the images of the last validation."""
        self.validation.reset()

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Keep the images: swaps pair images of different batches."""
        self.validation.add(batch.images)

    def on_validation_epoch_end(self) -> None:
        """Reassignment under target and oracle, reconstruction and code statistics of the exported model."""
        metrics = self.validation.measure(self.average)
        # what is learnt by heart shows in the difference
        self.on_training_images.reset()
        self.on_training_images.add(self.classifiers.samples.to(self.device))
        of_training = self.on_training_images.measure(self.average)
        kept = ("reassignment", "reassignment_oracle", "score")
        metrics |= {f"training_{name}": of_training[name] for name in kept if name in of_training}
        self.validation.reset()
        self.log_dict({f"val/{name}": value for name, value in metrics.items()}, sync_dist=True)
        for short, name in (("flip", "reassignment"), ("oracle", "reassignment_oracle"), ("mae", "reconstruction_mae")):
            if name in metrics:
                self.log(short, metrics[name], prog_bar=True, logger=False, sync_dist=True)
