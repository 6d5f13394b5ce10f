"""Options of a tiny run for the sanity tests."""

from __future__ import annotations

from pathlib import Path

from tiny_training import tiny_config

from cae.config import Config

LESIONS = (
    "name=toy", "data.batch_size=12", "data.lesions.train=96", "data.lesions.val=24", "data.lesions.test=36",
    "classifier.width=4", "classifier.epochs=6", "oracle.width=4", "oracle.epochs=1", "cae.max_steps=8",
    "cae.validate_every=8", "cae.validation_pairs=24", "counterfactual.steps=3", "counterfactual.bisections=1",
    "sanity.images=12",
)  # fmt: skip


def config_in(folder: Path, *overrides: str) -> Config:
    return tiny_config(*LESIONS, f"runs={folder}", *overrides)
