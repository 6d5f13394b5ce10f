"""Opening a run to explain its classifier: without a CAE, and without data where the classifier brings its classes."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from cae.classifiers import TargetClassifier, load_classifier
from cae.classifiers.zoo import brings_classes
from cae.config import Config
from cae.data import CAEDataModule, ImageFiles, ImageSet
from cae.data.selection import evenly_spread
from cae.devices import device_for
from cae.runs.run_folder import RunFolder
from explainers.base import Explainer
from explainers.registry import explainer_class, get_explainer

BACKGROUND = 2000  # training images that samplers may look at, at most


@dataclass(frozen=True, eq=False)
class ClassifierRun:
    """A classifier on its device, the run folder, and the data; None where files are explained by a classifier that
    brings its own classes."""

    config: Config
    folder: RunFolder
    classifier: TargetClassifier
    data: CAEDataModule | None
    device: torch.device

    @cached_property
    def background(self) -> Tensor | None:
        """Images ``(N, C, H, W)`` of ``explain.background``, or of the training split; at most ``BACKGROUND``.

        Spread over all there are; None without either.
        """
        images: ImageSet
        if self.config.explain.background is not None:
            data = self.config.data
            images = ImageFiles(self.config.explain.background, data.image_size, data.channels, data.crop)
        elif self.data is not None:
            images = self.data.train
        else:
            return None
        return evenly_spread(images, BACKGROUND)

    def explainer(self, name: str, **options: Any) -> Explainer:
        """An explainer by its registered name, with all that this run can give it.

        Raises:
            UserError: for an unknown name or option, or if the run lacks what the method needs.
        """
        given: dict[str, Any] = {"background": None, "folder": Path(self.folder.path)}
        wanted = explainer_class(name).resources
        if "background" in wanted:
            given["background"] = self.background
        return get_explainer(name, self.classifier, **{key: given[key] for key in wanted}, **options)


def open_classifier(config: Config, needs_data: bool = True) -> ClassifierRun:
    """Load data and classifier of a run.

    Args:
        config: the program's options.
        needs_data: False where only files are explained; data is then opened only for the names of its classes.

    Raises:
        UserError: if something is missing, unreadable, or does not belong together.
    """
    folder, device = RunFolder(config), device_for(config.trainer.accelerator, config.trainer.devices)
    if config.trainer.threads:
        torch.set_num_threads(config.trainer.threads)
    data = None
    if needs_data or not brings_classes(config.classifier):
        data = CAEDataModule(config.data)
        data.setup()
    size = config.data.image_size
    shape = data.image_shape if data else (config.data.channels, size, size)
    classifier = load_classifier(config.classifier, data.classes if data else None, shape, folder.path)
    classifier.to(device)
    return ClassifierRun(config, folder, classifier, data, device)
