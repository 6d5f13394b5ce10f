"""The table of ``docs/results`` on the sanity tests, from ``benchmarks/results/sanity.json``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

RECIPES = {"ours": "ours", "published": "published recipe (labels)"}
# what is measured, its name, what must be true, and the rule that says so; shown alone where there is none
ROWS = (
    ("maps alike, two trainings for one classifier", "randomised/brightness/correlation_of_seeds", "", ""),
    ("… and one trained to tell dark from bright", "randomised/brightness/correlation", "below",
     "randomised/brightness_maps"),
    ("counterfactuals found for the classifier", "randomised/brightness/found", "≥ 0.5", "randomised/brightness_found"),
    ("… for the one of brightness", "randomised/brightness/found_other", "≥ 0.5", "randomised/brightness_found"),
    ("… for the one of permuted labels", "randomised/permuted/found_other", "", ""),
    ("… for the one of random weights", "randomised/random/found_other", "", ""),
    ("maps alike, … and one trained on permuted labels", "randomised/permuted/correlation", "below",
     "randomised/permuted_maps"),
    ("… and one with random weights", "randomised/random/correlation", "below", "randomised/random_maps"),
    ("its swaps take the donor's class, brightness: excess over a random image's code",
     "randomised/brightness/flips_excess", "not above 0", "randomised/brightness_flips"),
    ("… permuted labels", "randomised/permuted/flips_excess", "not above 0", "randomised/permuted_flips"),
    ("… random weights", "randomised/random/flips_excess", "not above 0", "randomised/random_flips"),
    ("accuracy of the classifier that uses the marker, where the other class has it",
     "shortcut/follower/swapped_accuracy", "< 0.6",
     "shortcut/planted"),
    ("change inside the marker's box, classifier uses it, image has it", "shortcut/follower/removed", "≥ 0.5",
     "shortcut/removed"),
    ("… image lacks it", "shortcut/follower/added", "≥ 0.5", "shortcut/added"),
    ("… classifier does not use it", "shortcut/control/energy", "≤ twice its area", "shortcut/control"),
    ("swaps that take the donor's predicted class, where it is not the label", "labels/classifier",
     "≥ 0.9, 0.5 above next", "labels/follows"),
    ("… the donor's label, by an oracle trained on labels", "labels/oracle", "", ""),
    ("constant classifier: no counterfactual, no map", "guards/constant/not_found", "1", "guards/constant"),
    ("path to the own class code: largest change", "guards/self/largest_change", "0", "guards/self"),
)  # fmt: skip


def sanity_section(folder: Path) -> str:
    """Markdown of what is there; empty if nothing is.

    Args:
        folder: of the result files.
    """
    path = folder / "sanity.json"
    if not path.exists():
        return ""
    found = json.loads(path.read_text(encoding="utf-8"))
    origins = found["origins"]
    recipes = [name for name in RECIPES if name in origins]
    text = "\n## Sanity tests: do explanations follow the classifier?\n\n"
    heads = (f"{RECIPES[name]}, seed {origins[name]['seed']}" for name in recipes)
    text += "| | " + " | ".join(heads) + " | must be |\n|---|" + "---|" * (len(recipes) + 1)
    for words, figure, wanted, rule in ROWS:
        cells = " | ".join(_cell(found, f"{name}/{figure}", f"{name}/{rule}") for name in recipes)
        text += f"\n| {words} | {cells} | {wanted} |"
    text += (
        f"\n\n{found['images']} test images of the lesions data. In brackets: 95 % bootstrap interval over images.\n\n"
    )
    for name in recipes:
        text += f"* **{RECIPES[name]}**: {origins[name]['machine']}: `{origins[name]['command']}`\n"
    return text


def _cell(found: dict[str, Any], figure: str, rule: str) -> str:
    value, interval, passed = found["figures"].get(figure), found["intervals"].get(figure), found["passed"].get(rule)
    if value is None:
        return ""
    shown = f"{value:.3f}" if interval is None else f"{value:.3f} [{interval[0]:.3f}, {interval[1]:.3f}]"
    return shown if passed is None else f"{shown} {'pass' if passed else '**fail**'}"
