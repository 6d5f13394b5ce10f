"""Where an oracle trained from nothing follows the classifier badly: a network that comes trained, tried beside it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from cae.classifiers.finetuning import starting_network
from cae.classifiers.imagenet import LITE0
from cae.classifiers.target import TargetClassifier
from cae.config import ClassifierConfig, Config, OracleConfig
from cae.data.types import ImageSet
from cae.errors import UserError
from cae.metrics.agreement import accuracy
from cae.training.class_balance import SpreadOver
from cae.training.linear_head import FittedNetwork, train_head
from cae.training.trainer import say

if TYPE_CHECKING:
    from cae.data import CAEDataModule

WANTED = 0.9  # agreement on validation images from which on nothing else is tried
MOST_IMAGES = 4000  # of the training split that the frozen network looks at: minutes of two processor cores


def better_oracle(
    oracle: FittedNetwork,
    config: Config,
    data: CAEDataModule,
    folder: Path,
    classifier: TargetClassifier,
    sets: Sequence[ImageSet],
) -> tuple[FittedNetwork, OracleConfig]:
    """The oracle, or a last layer on frozen features of EfficientNet-Lite0, and the options that name the one kept.

    The frozen network is tried where the oracle agrees with less than ``WANTED`` of the classifier's predictions of
    validation images, and kept where it agrees with more of them. A classifier of the same weights gets none: what
    fools the one would fool the other. ``sets`` are the training and the validation images, labelled by the classifier.
    """
    options, agreement = config.oracle, accuracy(oracle.matrices["validation_agreement"])
    if agreement >= WANTED or LITE0 in (options.model, config.classifier.model):
        return oracle, options
    words = f"the oracle agrees with the classifier on {agreement:.1%} of the validation images"
    try:
        start = starting_network(ClassifierConfig(model=LITE0, finetune=True), len(data.classes))
    except UserError as error:
        say(f"note: {words}; a frozen network that comes trained may do better, but {error}")
        return oracle, options
    train, val = sets
    looked_at = [SpreadOver(train, MOST_IMAGES), val]
    frozen = train_head("oracle", config, data, folder, looked_at, start, options.seed, teacher=classifier)
    found = accuracy(frozen.matrices["validation_agreement"])
    kept, which = (frozen, "it") if found > agreement else (oracle, "the former")
    say(f"note: {words}; a last layer on the frozen features of {LITE0} on {found:.1%}: {which} is kept as the oracle.")
    return kept, replace(options, model=LITE0, freeze=True) if kept is frozen else options
