"""Lightning wiring of the training of a classifier: what a step sees, what is counted, which weights are kept."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from typing import Any

import pytorch_lightning as pl
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cae.classifiers.features import head_of
from cae.classifiers.networks import reductions_for
from cae.classifiers.outputs import select_output
from cae.classifiers.preprocessing import Preprocessing
from cae.classifiers.saved import build_network
from cae.classifiers.target import TargetClassifier, input_channels
from cae.config import ClassifierConfig
from cae.data.types import Batch
from cae.metrics.calibration import TEMPERATURES, balanced_scores, class_sums, selection
from cae.training.augmentation import class_preserving
from cae.training.class_balance import BalancedOrder, epoch_seed
from cae.training.step import average_weights

MEMORY = 0.9  # of the averaged weights: some 10 steps
RISE = 0.3  # share of a cycle in which the learning rate rises


class ClassifierModule(pl.LightningModule):
    """Cross-entropy training of a network of the program's own, with AdamW; weights are averaged over some steps.

    The learning rate rises and falls in cycles, after each of which the training may end. The averaged weights are
    validated and exported.

    Args:
        classes: class names, in label order.
        image_shape: ``(C, H, W)`` of the images, in [0, 1].
        model: name of the network: one of ``OWN_NETWORKS``, or that of ``start``.
        width: channels of its first stage.
        epochs: passes over the training split at most; None for as many as ``MAX_STEPS`` take.
        patience: steps without a better validation after which the training ends.
        learning_rate: of AdamW, after a warm-up.
        weight_decay: decay of AdamW.
        noise: largest standard deviation of the noise on half of the training images, on [0, 1].
        shift: largest random shift of training images, in pixels; None for a twentieth of the side.
        rotation: largest random rotation, in degrees.
        scale: largest relative change of the size.
        grey_levels: largest relative change of the contrast; that of the brightness is half of it.
        input_size: side in pixels at which the network sees the images; by default their own.
        mean: per-channel mean for normalisation; empty for none.
        std: per-channel standard deviation; empty for none.
        seed: seed of augmentation and dropout, drawn anew at each epoch so that a resumed training is the same one.
        learn_predictions: the labels given are the teacher's predictions.
        teacher: a classifier whose predictions are learned, or compared with in the test.
        start: the network to be trained further, instead of a new one.
    """

    temperature: Tensor
    validation: Tensor
    confusion: Tensor
    agreement: Tensor

    def __init__(
        self,
        classes: Sequence[str],
        image_shape: Sequence[int],
        model: str = "resnet",
        width: int = 16,
        epochs: int | None = None,
        patience: int = ClassifierConfig.patience,
        learning_rate: float = ClassifierConfig.learning_rate,
        weight_decay: float = ClassifierConfig.weight_decay,
        noise: float = ClassifierConfig.noise,
        shift: int | None = ClassifierConfig.shift,
        rotation: float = ClassifierConfig.rotation,
        scale: float = ClassifierConfig.scale,
        grey_levels: float = ClassifierConfig.grey_levels,
        input_size: int | None = None,
        mean: Sequence[float] = (),
        std: Sequence[float] = (),
        seed: int = 0,
        learn_predictions: bool = False,
        teacher: TargetClassifier | None = None,
        start: nn.Module | None = None,
    ):
        super().__init__()
        self.save_hyperparameters(ignore=["teacher", "start"])
        channels, *sides = image_shape
        height, width_ = (input_size, input_size) if input_size else sides
        seen = channels if start is None else input_channels(start) or channels
        self.preprocess = Preprocessing(seen, (height, width_), mean, std)
        network = start or build_network(model, len(classes), channels, width, reductions_for((height, width_)))
        self.network = network.to(memory_format=torch.channels_last)  # on CPUs, a step takes a tenth to a third less
        self.trained = copy.deepcopy(self.network)
        self.network.requires_grad_(False)
        self.order: BalancedOrder | None = None
        self.cycle: int | None = None  # steps in which the learning rate rises and falls; None for the whole training
        self._teacher = (teacher,)  # in a tuple, so that its weights are no part of this module
        count = len(classes)
        self.register_buffer("temperature", torch.ones(()))  # that calibrates the averaged weights
        self.register_buffer("validation", torch.zeros(count, 2 + len(TEMPERATURES)), persistent=False)
        self.register_buffer("confusion", torch.zeros(count, count), persistent=False)  # by label and prediction
        self.register_buffer("agreement", torch.zeros(count, count), persistent=False)  # by the teacher's prediction

    @property
    def has_teacher(self) -> bool:
        """Whether there is a classifier to be compared with."""
        return self._teacher != (None,)

    def forward(self, images: Tensor) -> Tensor:
        """Logits ``(B, K)`` of images ``(B, C, H, W)`` in [0, 1], by the averaged weights."""
        return self.network(self.preprocess(images))

    def augmented(self, images: Tensor) -> Tensor:
        """Images turned, scaled, moved, of other grey levels and noisy: what leaves the class as it is."""
        names = ("rotation", "scale", "shift", "grey_levels", "noise")
        return class_preserving(images, ClassifierConfig(**{name: self.hparams[name] for name in names}))

    def on_train_epoch_start(self) -> None:
        """Choose the order of the images."""
        if self.order is not None:
            self.order.set_epoch(self.current_epoch)

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        """Seed augmentation and dropout by the epoch."""
        if batch_idx == 0:
            torch.manual_seed(epoch_seed(self.hparams["seed"], self.current_epoch, self.global_rank))

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Cross-entropy of an augmented batch."""
        # of several outputs, as some networks have them in training, the logits
        logits = select_output(self.trained(self.preprocess(self.augmented(batch.images))), len(self.confusion))
        loss = F.cross_entropy(logits, batch.labels)
        self.log("train/loss", loss, prog_bar=True, batch_size=len(batch))
        return loss

    def optimizer_step(self, *arguments: Any, **named: Any) -> None:
        """Step and average the weights: one act, so that no checkpoint falls between the two."""
        super().optimizer_step(*arguments, **named)
        average_weights(self.network, self.trained, self.global_step + 1, MEMORY)

    def on_validation_epoch_start(self) -> None:
        """Begin counting anew."""
        self.validation.zero_()

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Count right predictions and losses, by class."""
        self.validation += class_sums(self(batch.images), batch.labels)

    def on_validation_epoch_end(self) -> None:
        """Log accuracies, loss, and the number by which the best epoch is chosen.

        That is the error plus the calibrated loss, both balanced over the classes and in units of a guess. On the few
        images of a rare class the error alone jumps, and a lucky one early on would end the training.
        """
        sums = self.validation  # of all images, in every process
        accuracy, loss, self.temperature = balanced_scores(sums)
        self.log("val/balanced_accuracy", accuracy, prog_bar=True, sync_dist=True)
        self.log("val/accuracy", sums[:, 1].sum() / sums[:, 0].sum(), sync_dist=True)
        self.log("val/loss", loss, sync_dist=True)
        self.log("val/selection", selection(accuracy, loss, len(sums)), sync_dist=True)

    def on_test_epoch_start(self) -> None:
        """Begin counting anew."""
        self.confusion.zero_()
        self.agreement.zero_()

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        """Count predictions by true class, and by the teacher's prediction."""
        predictions = self(batch.images).argmax(1)
        one = self.confusion.new_ones(())
        self.confusion.index_put_((batch.labels, predictions), one, accumulate=True)
        (teacher,) = self._teacher
        if teacher is not None:
            expected = teacher.to(batch.images.device).logits(batch.images).argmax(1)
            self.agreement.index_put_((expected, predictions), one, accumulate=True)

    def configure_optimizers(self) -> Any:
        """AdamW; the learning rate rises and falls once, or again in every cycle."""
        options = self.hparams
        optimiser = torch.optim.AdamW(
            self.trained.parameters(), lr=options["learning_rate"], weight_decay=options["weight_decay"]
        )
        cycle = self.cycle or int(self.trainer.estimated_stepping_batches)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: rate_in_cycle(step, cycle))
        return {"optimizer": optimiser, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def rate_in_cycle(step: int, cycle: int) -> float:
    """What the learning rate is multiplied by: it rises along a cosine, and falls along one to next to nothing.

    >>> [round(rate_in_cycle(step, 100), 2) for step in (0, 15, 30, 65, 99, 100)]
    [0.04, 0.52, 1.0, 0.5, 0.0, 0.04]
    """
    place = step % cycle / cycle
    if place < RISE:
        return 0.04 + 0.96 * (1 - math.cos(math.pi * place / RISE)) / 2
    return max(1e-4, (1 + math.cos(math.pi * (place - RISE) / (1 - RISE))) / 2)


def calibrate(network: nn.Module, temperature: float) -> None:
    """Divide a network's logits by a temperature, in the weights of its last linear layer."""
    with torch.no_grad():
        for weights in head_of(network).parameters():
            weights.div_(temperature)
