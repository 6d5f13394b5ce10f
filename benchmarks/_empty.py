"""The search towards a class with nothing to show, where the evidence is to lie in the lesion's mask."""

from __future__ import annotations

from pathlib import Path

from cae.files import read_json

EMPTY = {"lesions": "healthy"}  # class without a mask, by data set
FOLDER = "towards_empty"  # of the explanations, and before the names of their figures


def towards_empty(data: str) -> list[str]:
    """The options of that search, beside those of the run."""
    return [f"counterfactual.target={EMPTY[data]}", f"traverse.folder={FOLDER}"]


def metrics_of(run: Path) -> dict[str, float]:
    """Figures of a run folder, and those of the search towards the empty class; empty where there are none yet."""
    second = read_json(run / "explanations" / FOLDER / "metrics.json")
    return read_json(run / "metrics.json") | {f"{FOLDER}/{name}": value for name, value in second.items()}
