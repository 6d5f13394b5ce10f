"""The diagnostics of an embedding, measured once and then read, as long as models and options stay the same."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from cae.classifiers import TargetClassifier
from cae.classifiers.identity import state_digest
from cae.config import Config
from cae.continuing import same_work
from cae.data import CAEDataModule
from cae.data.selection import image_options
from cae.diagnostics.diagnose import diagnose
from cae.files import read_json, update_json, write_json
from cae.manifold.class_manifold import ClassManifold


def cached_diagnostics(
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
    if same_work(known.get("of"), of) and isinstance(known.get("metrics"), dict):
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
