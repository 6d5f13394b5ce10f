"""Tables of the ablation of counterfactuals, and of what a training step costs, for ``docs/results``."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks._figures import ABLATION
from benchmarks._step_table import step_section

WANTED = {
    "cae/reassignment": "≥ 0.98",
    "cae/reassignment_oracle": "≥ 0.95",
    "counterfactual/found": "≥ 0.99",
    "towards_empty/localisation/end_dice": "≥ 0.75",
    "towards_empty/localisation/end_dice_best": "≥ 0.85",
    "towards_empty/localisation/end_pointing": "≥ 0.97",
    "towards_empty/localisation/outside_median": "≤ 0.02",
    "counterfactual/end_cout": "≥ 0.6",
    "cae/participation_ratio": "≥ 1.8",
}
PRECISIONS = ("32-true", "bf16-mixed")  # of training_cost.py
PIXELS = {"gpu": ", 128 × 128", "gpu256": ", 256 × 256"}  # the sizes of counterfactual_quality.py
WORDS = {  # of arms, where those of an older result file are not today's
    "published_verdicts": "the same on the classifier's predictions",
    "without_grafts": "ours without patch swaps in the warm-up",
}
OTHERS = {
    "gradcam": "Grad-CAM",
    "integrated_gradients": "Integrated Gradients",
    "smoothgrad": "SmoothGrad",
    "occlusion": "Occlusion",
    "rise": "RISE",
    "lime": "LIME",
    "pmi": "PMI",
    "ig": "information gain",
    "random": "random",
}


def quality_section(folder: Path) -> str:
    """One table for each data set that the ablation has run on; empty where it has not."""
    text = ""
    for path in sorted(folder.glob("counterfactual_quality_*.json")):
        result = json.loads(path.read_text(encoding="utf-8"))
        data, _, size = path.stem.removeprefix("counterfactual_quality_").partition("_")
        text += f"\n## Counterfactuals, ablation: {data}{PIXELS.get(size, '')}\n\n{_table(result)}"
        text += (
            f"\nMean over seeds, in brackets their range.{_where(result)}\n\n* {result['images']} test images each,"
            f" {_seeds(result)}, {result['machine']}: `{result['command']}`\n"
        )
    return text


def _where(result: Mapping[str, Any]) -> str:
    """What the columns of localisation are of; empty where there are none."""
    images = result["figures"].get("ours/towards_empty/localisation/end_images")
    if images is None:
        return ""
    return (
        " Localisation: evidence of the path to `healthy`, against the lesion's mask, over images with a lesion in"
        f" which the classifier sees one ({images:.0f} a seed on average; other explainers: the same images, for"
        " their prediction); changed outside: by more than 0.05, outside the lesion widened by 5 pixels. The runner-up"
        " is often the other kind of lesion, and drawing that is part of the change."
    )


def _seeds(result: Mapping[str, Any]) -> str:
    """Which seeds, and which arms have fewer."""
    fewer = {
        name: seeds for name, seeds in result["seeds_of"].items() if seeds != result["seeds"] and name in result["arms"]
    }
    text = "seeds " + ", ".join(map(str, result["seeds"]))
    if fewer:
        text += " (" + "; ".join(f"{name}: {', '.join(map(str, seeds))}" for name, seeds in fewer.items()) + ")"
    return text


def _table(result: Mapping[str, Any]) -> str:
    names = {
        **result["arms"],
        **{key: WORDS[key] for key in WORDS if key in result["arms"]},
        **{name: words for name, words in OTHERS.items() if _has(result, name)},
    }
    columns = [key for key in ABLATION if any(f"{name}/{key}" in result["figures"] for name in names)]
    lines = [
        "| arm | " + " | ".join(ABLATION[key] for key in columns) + " |",
        "|---" * (len(columns) + 1) + "|",
    ]
    for name, words in names.items():
        lines.append(f"| {words} | " + " | ".join(_cell(result, f"{name}/{key}") for key in columns) + " |")
    if "lesions" in result["command"]:
        lines.append("| *wanted of ours* | " + " | ".join(WANTED.get(key, "") for key in columns) + " |")
    return "\n".join(lines) + "\n"


def _has(result: Mapping[str, Any], name: str) -> bool:
    return any(key.startswith(f"{name}/") for key in result["figures"])


def _cell(result: Mapping[str, Any], key: str) -> str:
    value = result["figures"].get(key)
    if value is None:
        return ""
    low, high = result["intervals"].get(key, (value, value))
    digits = 0 if "seconds" in key else (4 if "outside" in key else 3)
    shown = f"{value:.{digits}f}"
    return shown if low == high else f"{shown} [{low:.{digits}f}, {high:.{digits}f}]"


def training_cost_section(folder: Path) -> str:
    """What a training step costs at each size, counted and, where there was a GPU, measured; empty if neither."""
    text = _counted_cost(folder / "training_cost.json") + _measured_cost(folder / "training_cost_measured.json")
    return (text and f"\n## What a training step costs\n{text}") + step_section(folder)


def _counted_cost(path: Path) -> str:
    if not path.exists():
        return ""
    result = json.loads(path.read_text(encoding="utf-8"))
    assumed = result["assumed"]
    rows = {
        "parameters": "parameters of encoders and decoder, millions",
        "batch": "images in a step",
        "steps": "steps",
        "operations_per_step": "operations of one step, billions",
        "activations_gib": "kept for the backward pass in float32, GiB",
        "state_gib": "weights, gradients, averages, optimiser, GiB",
        "gpu_minutes_estimated": "minutes of training on one H100, estimated",
    }
    units = {"parameters": 1e-6, "operations_per_step": 1e-9}
    figures = {key: value * units.get(key.split("/")[1], 1) for key, value in result["figures"].items()}
    return (
        f"\n{_cost_table(figures, rows)}\nCounted on a CPU, not timed; the minutes assume {assumed['share']:.0%} of"
        f" {assumed['peak'] / 1e12:.0f} trillion operations a second. `{result['command']}`\n"
    )


def _measured_cost(path: Path) -> str:
    if not path.exists():
        return ""
    result = json.loads(path.read_text(encoding="utf-8"))
    rows = {
        "milliseconds": "milliseconds of a step, median",
        "images_per_second": "images a second",
        "swaps_per_second": "swaps a second",
        "peak_gib": "peak memory, GiB",
        "training_minutes": "minutes of the recipe's steps",
    }
    wide = {f"{precision}/{key}": f"{words}, {precision}" for precision in PRECISIONS for key, words in rows.items()}
    return (
        f"\n{_cost_table(result['figures'], wide)}\nMeasured: {result['machine']}, whole steps of all networks with"
        f" Adam, on data that is there already. `{result['command']}`\n"
    )


def _cost_table(figures: Mapping[str, float], rows: Mapping[str, str]) -> str:
    """A column for each size, ``size/row`` being the keys."""
    sizes = list(dict.fromkeys(key.split("/")[0] for key in figures))
    lines = ["| | " + " | ".join(f"{size} × {size}" for size in sizes) + " |", "|---" * (len(sizes) + 1) + "|"]
    for key, words in rows.items():
        values = [figures[f"{size}/{key}"] for size in sizes]
        lines.append(
            f"| {words} | " + " | ".join(f"{value:.3g}" if value < 1000 else f"{value:.0f}" for value in values) + " |"
        )
    return "\n".join(lines) + "\n"
