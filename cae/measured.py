"""The diagnostics of an embedding, measured once: whoever asks again with the same models and options reads them."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from cae.classifiers import TargetClassifier
from cae.classifiers.target import state_digest
from cae.config import Config, DataConfig
from cae.data import CAEDataModule
from cae.diagnostics import diagnose
from cae.files import read_json, update_json, write_json
from cae.manifold import ClassManifold

NO_MATTER = {"batch_size", "workers", "cache", "flip"}  # options of the data that change no image of a split
OF_FILES = ("image_size", "channels", "crop")  # those that change images given as files


def image_options(config: DataConfig, files: bool = False) -> dict[str, Any]:
    """The options that images of a split, or given as files, depend on, by name."""
    values = dataclasses.asdict(config)
    names = OF_FILES if files else sorted(set(values) - NO_MATTER)
    return {name: values[name] for name in names}


def measured(
    cae: Any,
    classifier: TargetClassifier,
    oracle: TargetClassifier | None,
    manifold: ClassManifold,
    data: CAEDataModule,
    config: Config,
    folder: Path,
) -> dict[str, float]:
    """What ``diagnose`` finds; kept in ``diagnostics.json`` of the run, and put into its ``metrics.json``."""
    path = folder / "diagnostics.json"
    known, of = read_json(path), _identity(cae, classifier, oracle, config)
    if known.get("of") == of:
        metrics = known["metrics"]
    else:
        metrics = diagnose(cae, classifier, oracle, manifold, data, config, progress=config.logging.progress)
        write_json(path, {"of": of, "metrics": metrics})
    update_json(folder / "metrics.json", metrics)
    return metrics


def _identity(cae: Any, classifier: TargetClassifier, oracle: TargetClassifier | None, config: Config) -> dict:
    """Everything that the figures depend on, as plain values."""
    return {
        "seed": config.seed,
        "data": image_options(config.data),
        "manifold": dataclasses.asdict(config.manifold),
        "cae": state_digest(cae),
        "classifier": classifier.fingerprint(),
        "oracle": None if oracle is None else oracle.fingerprint(),
    }
