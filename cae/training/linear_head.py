"""A new last layer on the frozen features of a network that comes trained: minutes, and enough for some hundred images.

The images are seen once, as they are, and once more or several times altered where they are few; a multinomial
logistic regression on what the last layer was given is the new last layer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytorch_lightning as pl
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cae.classifiers.features import features_from, head_of
from cae.classifiers.finetuning import StartingNetwork
from cae.classifiers.preprocessing import Preprocessing
from cae.classifiers.target import TargetClassifier, input_channels
from cae.config import ClassifierConfig, Config
from cae.data.types import Batch, ImageSet
from cae.metrics.agreement import confusion_matrix
from cae.metrics.calibration import balanced_scores, class_sums, selection
from cae.training.augmentation import class_preserving
from cae.training.trainer import build_trainer

if TYPE_CHECKING:
    from cae.data import CAEDataModule

SEEN = 1200  # images in training at least: fewer are seen altered too
MOST_VIEWS = 4  # of each
DECAYS = (1e3, 1e2, 10.0, 1.0, 0.1, 0.01)  # of the mean squared weight, of which validation images choose
ITERATIONS = 200


@dataclass(frozen=True, eq=False)
class SplitFeatures:
    """What a network sees in N images: ``features (N, F)``, ``labels (N,)``, and a teacher's ``predictions (N,)``.

    Of training images, and without a teacher, the labels stand for the predictions.
    """

    features: Tensor
    labels: Tensor
    predictions: Tensor


@dataclass(frozen=True, eq=False)
class FittedNetwork:
    """A classifier or an oracle as its training left it.

    Attributes:
        network: from normalised images to logits.
        temperature: that calibrates its logits, which are to be divided by it.
        matrices: ``(K, K)`` images: ``confusion`` by label and prediction; of an oracle also ``agreement`` by the
            teacher's prediction and its own, and ``validation_agreement``, the same of the validation split.
        normalisation: mean and standard deviation per channel of its input; empty for none.
        trainer: that did it.
        input_size: side in pixels at which it sees the images; None for their own.
    """

    network: nn.Module
    temperature: float
    matrices: dict[str, Tensor]
    normalisation: tuple[Sequence[float], Sequence[float]]
    trainer: pl.Trainer
    input_size: int | None = None


class FrozenFeatures(pl.LightningModule):
    """Lightning wiring: loaders 0 to ``views - 1`` show training images, all but the first of them altered.

    Args:
        network: frozen.
        preprocess: from images in [0, 1] to its input.
        options: of the alterations.
        views: how often training images are seen.
        teacher: whose predictions of the images of all further loaders come along; None for the labels.
    """

    def __init__(
        self,
        network: nn.Module,
        preprocess: Preprocessing,
        options: ClassifierConfig,
        views: int,
        teacher: TargetClassifier | None,
    ):
        super().__init__()
        self.network, self.preprocess = network.requires_grad_(False), preprocess
        self.options, self.views = options, views
        self._teacher = (teacher,)  # in a tuple, so that its weights are no part of this module

    def predict_step(self, batch: Batch, batch_idx: int, dataloader_idx: int = 0) -> tuple[Tensor, Tensor, Tensor]:
        """Features, labels and the teacher's predictions of a batch, on the CPU."""
        (teacher,), images = self._teacher, batch.images
        predictions = batch.labels
        if teacher is not None and dataloader_idx >= self.views:
            predictions = teacher.to(images.device).logits(images).argmax(1)
        if 0 < dataloader_idx < self.views:
            images = class_preserving(images, self.options)
        features = features_from("linear", self.network, self.preprocess(images))
        return features.float().cpu(), batch.labels.cpu(), predictions.cpu()


def train_head(
    stage: str,
    config: Config,
    data: CAEDataModule,
    folder: Path,
    sets: Sequence[ImageSet],
    start: StartingNetwork,
    seed: int,
    input_size: int | None = None,
    teacher: TargetClassifier | None = None,
) -> FittedNetwork:
    """Fit the last layer of ``start`` to training images, and count on the test split.

    Args:
        stage: ``classifier`` or ``oracle``.
        config: of the program; ``classifier`` says how training images are altered.
        data: images in [0, 1], for the test split and the loaders.
        folder: of the run.
        sets: images to train on and to choose by, with the labels that are to be learnt.
        start: the trained network, with a last layer for the K classes; it is changed in place.
        seed: of the alterations.
        input_size: side in pixels at which it sees the images; by default what it was trained at, or their own.
        teacher: a classifier whose predictions are compared with.
    """
    pl.seed_everything(seed, workers=True, verbose=False)
    side = input_size or start.size
    size = (side, side) if side else data.image_shape[1:]
    channels = input_channels(start.network) or data.image_shape[0]
    images, held_out = sets
    views = max(1, min(MOST_VIEWS, round(SEEN / len(images))))
    module = FrozenFeatures(
        start.network, Preprocessing(channels, size, start.mean, start.std), config.classifier, views, teacher
    )
    # there is nothing to log, and what was logged before is kept
    trainer = build_trainer(config, folder, stage, resume=True, logger=False, use_distributed_sampler=False)
    data.setup("test")
    shown = [*[images] * views, held_out, data.test]
    batches = trainer.predict(module.eval(), [data.loader(one) for one in shown]) or []
    seen = [SplitFeatures(*map(torch.cat, zip(*found, strict=True))) for found in batches]
    validation, test = seen[-2:]
    features, labels = (torch.cat([getattr(part, name) for part in seen[:views]]) for name in ("features", "labels"))
    classes = len(data.classes)
    weight, bias, temperature = fit_head(features, labels, validation.features, validation.labels, classes)
    _assign(start.network, weight, bias)
    answers, validated = ((part.features @ weight.T + bias).argmax(1) for part in (test, validation))
    matrices = {"confusion": confusion_matrix(test.labels, answers, classes)}
    if teacher is not None:
        matrices["agreement"] = confusion_matrix(test.predictions, answers, classes)
        matrices["validation_agreement"] = confusion_matrix(validation.predictions, validated, classes)
    return FittedNetwork(start.network, temperature, matrices, (start.mean, start.std), trainer, side)


def _assign(network: nn.Module, weight: Tensor, bias: Tensor) -> None:
    head = head_of(network)
    with torch.no_grad():
        head.weight.copy_(weight)
        head.bias.copy_(bias)


def fit_head(
    features: Tensor, labels: Tensor, validation_features: Tensor, validation_labels: Tensor, classes: int
) -> tuple[Tensor, Tensor, float]:
    """Weights, bias and temperature of a multinomial logistic regression, class-balanced, its decay by validation.

    Args:
        features: ``(N, F)``.
        labels: ``(N,)`` class indices.
        validation_features: ``(M, F)``.
        validation_labels: ``(M,)``.
        classes: K.

    Returns:
        weights ``(K, F)`` and bias ``(K,)`` for features as they are, and the temperature in [1, 10) that calibrates
        their logits.
    """
    mean, deviation = features.mean(0), features.std(0, unbiased=False).clamp(min=1e-6)
    inputs, validation = (features - mean) / deviation, (validation_features - mean) / deviation
    found = []
    for decay in DECAYS:
        weight, bias = logistic_regression(inputs, labels, classes, decay)
        accuracy, loss, warmth = balanced_scores(class_sums(validation @ weight.T + bias, validation_labels))
        found.append((float(selection(accuracy, loss, classes)), weight / deviation, bias, float(warmth)))
    _, weight, bias, temperature = min(found, key=lambda one: one[0])  # of equals, the one of the largest decay
    return weight, bias - weight @ mean, temperature


def logistic_regression(inputs: Tensor, labels: Tensor, classes: int, decay: float) -> tuple[Tensor, Tensor]:
    """Weights ``(K, F)`` and bias ``(K,)`` of least balanced cross-entropy and mean squared weight times ``decay``.

    Args:
        inputs: ``(N, F)`` of mean 0 and deviation 1.
        labels: ``(N,)`` class indices; classes without images get what the decay leaves.
        classes: K.
        decay: at least 0.
    """
    weight = inputs.new_zeros(classes, inputs.shape[1], requires_grad=True)
    bias = inputs.new_zeros(classes, requires_grad=True)
    counts = torch.bincount(labels, minlength=classes).to(inputs)
    balance = torch.where(counts > 0, counts.sum() / counts.clamp(min=1) / (counts > 0).sum(), 0)
    optimiser = torch.optim.LBFGS([weight, bias], max_iter=ITERATIONS, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimiser.zero_grad()
        found = F.cross_entropy(inputs @ weight.T + bias, labels, weight=balance) + decay * weight.square().mean()
        found.backward()
        return found

    with torch.enable_grad():
        optimiser.step(loss)
    return weight.detach(), bias.detach()
