"""Sections of ``docs/results.md`` on comparisons of explainers and on causal scores."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

COMPARED = {
    "deletion_auc_excess": "cell deletion, better than random",
    "insertion_auc_excess": "cell insertion, better than random",
    "deletion_infill_excess": "deletion with in-fill, better than random",
    "comprehensiveness_excess": "comprehensiveness, better than random",
    "pointing": "pointing game",
    "auprc": "AUPRC of the mask",
    "iou_area": "IoU at the mask's area",
    "evaluations": "evaluations",
}


def comparison_section(folder: Path) -> str:
    """One table for each ``explanations_*.json``."""
    text = ""
    for path in sorted(folder.glob("explanations_*.json")):
        result = json.loads(path.read_text(encoding="utf-8"))
        figures = result["figures"]
        methods = list(dict.fromkeys(name.partition("/")[0] for name in figures))
        shown = [metric for metric in COMPARED if any(f"{method}/{metric}" in figures for method in methods)]
        text += f"\n## Explainers compared: {path.stem.removeprefix('explanations_')}\n\n"
        text += "| method | " + " | ".join(COMPARED[metric] for metric in shown) + " |\n|---|" + "---|" * len(shown)
        for method in methods:
            cells = [_interval(result, f"{method}/{metric}", metric == "evaluations") for metric in shown]
            text += f"\n| {method} | " + " | ".join(cells) + " |"
        text += "\n\nIn brackets: 95 % bootstrap interval over images.\n\n" + _source(result)
    return text


def causal_section(folder: Path) -> str:
    """The accuracy of the neural causation coefficient, and the scores of mask sources."""
    path = folder / "caes_pairs.json"
    if not path.exists():
        return ""
    result = json.loads(path.read_text(encoding="utf-8"))
    figures = result["figures"]
    names = [name for name in figures if name.startswith("synthetic/") and not name.endswith("/pairs")]
    text = "\n## Neural causation coefficient: direction told\n\n"
    text += "| networks | held-out synthetic pairs | Tübingen pairs |\n|---|---|---|"
    for name in names:
        label = name.partition("/")[2]
        text += (
            f"\n| {label.replace('_', ' ')} | {_interval(result, name)} | {_interval(result, f'tuebingen/{label}')} |"
        )
    return (
        text + "\n\nIn brackets: binomial 95 % interval; for the mean, the range over networks.\n\n" + _source(result)
    )


def _interval(result: dict[str, Any], name: str, whole: bool = False) -> str:
    value, interval = result["figures"].get(name), result["intervals"].get(name)
    if value is None:
        return "–"
    if whole:
        return f"{value:.0f}"
    return f"{value:.3f}" + (f" [{interval[0]:.3f}, {interval[1]:.3f}]" if interval else "")


def _source(result: dict[str, Any]) -> str:
    images = f"{result['images']} images, " if result["images"] else ""
    return f"* {images}{result['machine']}: `{result['command']}`\n"
