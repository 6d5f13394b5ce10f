"""The diagnostics of an embedding, measured once and then read, as long as models and options stay the same."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from cae.classifiers import TargetClassifier
from cae.classifiers.identity import state_digest
from cae.config import Config
from cae.data import CAEDataModule
from cae.data.selection import changed_work, images_identity
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
    kept, of = read_json(path), _identity(cae, classifier, oracle, data, config)
    known, metrics = kept.get("of"), kept.get("metrics")
    if not (isinstance(known, dict) and isinstance(metrics, dict)) or changed_work(known, of):
        metrics = diagnose(cae, classifier, oracle, manifold, data, config, progress=config.logging.progress)
        write_json(path, {"of": of, "metrics": metrics})
    update_json(folder / "metrics.json", metrics)
    return metrics


def _identity(
    cae: Any, classifier: TargetClassifier, oracle: TargetClassifier | None, data: CAEDataModule, config: Config
) -> dict[str, Any]:
    """Everything that the figures depend on, as plain values."""
    return {
        "seed": config.seed,
        **images_identity(config.data, data, data.test),
        "manifold": dataclasses.asdict(config.manifold),
        "cae": state_digest(cae),
        "classifier": classifier.fingerprint(),
        "oracle": None if oracle is None else oracle.fingerprint(),
    }
