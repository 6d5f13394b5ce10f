"""Opening a run to explain its classifier: without a CAE, and without data where the classifier brings its classes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from cae.classifiers import TargetClassifier, brings_classes, load_classifier
from cae.config import Config
from cae.data import CAEDataModule
from cae.devices import device_for
from cae.errors import UserError
from cae.runs.run_config import run_config
from cae.runs.run_folder import RunFolder


@dataclass(frozen=True, eq=False)
class ClassifierRun:
    """A run of which the classifier is opened: frozen, in evaluation mode, on ``device``.

    ``data`` is None where files are explained by a classifier that brings its own classes.
    """

    config: Config
    folder: RunFolder
    data: CAEDataModule | None
    classifier: TargetClassifier
    device: torch.device

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes, in label order."""
        return self.classifier.classes

    def require_data(self) -> CAEDataModule:
        """The data.

        Raises:
            UserError: if there is none.
        """
        if self.data is None:
            raise UserError("this needs a data set, and none is open: set data.source.")
        return self.data


def open_classifier(
    run: Config | str | Path, *overrides: str, needs_data: bool = True, trust_programs: bool = False
) -> ClassifierRun:
    """Load data and classifier of a run.

    Args:
        run: its folder, its name, or a configuration; see ``run_config``.
        overrides: ``key=value`` settings of this call.
        needs_data: False where only files are explained; data is then opened only for the names of its classes.
        trust_programs: let the folder name a classifier that is a program.

    Raises:
        UserError: if something is missing, unreadable, or does not belong together.
    """
    config = run_config(run, overrides, trust_programs)
    device = device_for(config.trainer.accelerator, config.trainer.devices)
    if config.trainer.threads:
        torch.set_num_threads(config.trainer.threads)
    data, shape = None, (config.data.channels, *config.data.sides)
    if needs_data or not brings_classes(config.classifier):
        data = CAEDataModule(config.data)
        data.setup()
    folder = RunFolder(config)
    classifier = load_classifier(config.classifier, data.classes if data else None, shape, folder.path)
    return ClassifierRun(config, folder, data, classifier.to(device), device)
