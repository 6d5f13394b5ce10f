"""The table of ``benchmarks/results/pipeline_*.json``: training and traversal, end to end."""

from __future__ import annotations

import json
from pathlib import Path

ROWS = {
    "classifier/test_accuracy": ("classifier: accuracy on test images", ""),
    "oracle/agreement": ("oracle: agreement with the classifier", ""),
    "cae/reassignment": ("reassignment, classifier", "≥ 0.95 lesions, ≥ 0.90 others"),
    "cae/reassignment_oracle": ("reassignment, oracle", "≥ 0.90 lesions, ≥ 0.80 others"),
    "cae/reassignment_residual": ("the same for residual swaps, classifier", ""),
    "cae/reassignment_residual_oracle": ("the same for residual swaps, oracle", ""),
    "cae/reconstruction_mae": ("mean absolute reconstruction error", "≤ 0.03 lesions"),
    "cae/reconstruction_consistency": ("reconstructions that keep the class", "≥ 0.97 lesions"),
    "cae/participation_ratio": ("participation ratio of the class codes", "≥ 1.5 lesions"),
    "cae/participation_ratio_edits": ("participation ratio of the edits", ""),
    "cae/class_probe": ("class read from the class code", ""),
    "cae/individual_probe": ("class read from the individual code (leakage)", ""),
    "counterfactual/found": ("counterfactual found", "≥ 0.97 lesions"),
    "counterfactual/validity_oracle": ("… and the oracle agrees at the boundary", ""),
    "counterfactual/validity_oracle_end": ("… or at the end of the path", ""),
    "counterfactual/target_over_source_p95": (
        "target over source beyond the margin, 95th percentile",
        "≤ 0.02 lesions",
    ),
    "counterfactual/end_cout": ("COUT of the path's end", "≥ 0.6 lesions"),
    "counterfactual/cout": ("… of the boundary image", ""),
    "towards_empty/localisation/end_dice": (
        "towards healthy, of images in which a lesion is seen: Dice of the evidence (Otsu) and the lesion mask",
        "≥ 0.75",
    ),
    "towards_empty/localisation/end_dice_best": ("… at the best threshold of each image", "≥ 0.85"),
    "towards_empty/localisation/end_pointing": ("… pointing game", "≥ 0.97"),
    "towards_empty/localisation/outside_median": (
        "… pixels changed more than 5 pixels off the lesion, median",
        "≤ 0.02",
    ),
    "localisation/end_dice": ("towards the runner-up, all images with a lesion: Dice (Otsu)", ""),
    "localisation/end_pointing": ("… pointing game", ""),
    "seconds/cae_training": ("seconds of CAE training", "≤ 360 lesions, ≤ 900 others"),
}


def end_to_end_section(folder: Path) -> str:
    """Markdown of every data set's figures beside what is wanted; empty if nothing is there.

    Args:
        folder: of the result files.
    """
    files = sorted(folder.glob("pipeline_*.json"))
    results = {path.stem.removeprefix("pipeline_"): json.loads(path.read_text(encoding="utf-8")) for path in files}
    if not results:
        return ""
    text = "\n" + _table(results)
    text += "\nIn brackets: 95 % bootstrap interval over images for one seed, range over seeds for several.\n\n"
    for name, result in results.items():
        seeds = ", ".join(map(str, result["seeds"]))
        text += f"* **{name}**: {result['images']} test images, seeds {seeds}, {result['machine']}: "
        text += f"`{result['command']}`\n"
    return text


def _table(results: dict[str, dict]) -> str:
    lines = ["| figure | " + " | ".join(results) + " | wanted |", "|---|" + "---|" * (len(results) + 1)]
    for figure, (words, wanted) in ROWS.items():
        cells = [_cell(result, figure) for result in results.values()]
        if any(cells):
            lines.append(f"| {words} | " + " | ".join(cells) + f" | {wanted} |")
    return "\n".join(lines) + "\n"


def _cell(result: dict, figure: str) -> str:
    value, interval = result["figures"].get(figure), result["intervals"].get(figure)
    if value is None:
        return ""
    digits = 0 if figure.startswith("seconds") else 3
    shown = f"{value:.{digits}f}"
    return shown if interval is None else f"{shown} [{interval[0]:.{digits}f}, {interval[1]:.{digits}f}]"
