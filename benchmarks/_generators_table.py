"""The tables of ``benchmarks/results/generators_*.json`` for ``docs/results``."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

COLUMNS = {
    "found": ("found ↑", "{:.2f}"),
    "oracle": ("oracle, counterfactual ↑", "{:.2f}"),
    "oracle_end": ("oracle, path's end ↑", "{:.2f}"),
    "end_l1": ("mean change ↓", "{:.3f}"),
    "end_changed_share": ("pixels changed ↓", "{:.3f}"),
    "end_cout": ("COUT ↑", "{:.2f}"),
    "end_sfid": ("sFID ↓", "{:.2f}"),
    "end_skid": ("kernel distance ↓", "{:.3f}"),
}
PLACES = {
    "evidence_pointing": ("pointing, evidence ↑", "{:.2f}"),
    "evidence_dice": ("Dice, evidence ↑", "{:.2f}"),
    "raw_pointing": ("pointing, raw ↑", "{:.2f}"),
    "raw_dice": ("Dice, raw ↑", "{:.2f}"),
    "changed_outside": ("changed off the mask ↓", "{:.3f}"),
    "diversity": ("diversity ↑", "{:.3f}"),
    "classifier_passes": ("classifier asked ↓", "{:.0f}"),
    "own_passes": ("own networks ↓", "{:.0f}"),
    "seconds": ("seconds ↓", "{:.2f}"),
    "training_minutes": ("minutes of training ↓", "{:.1f}"),
}
COSTS = ("classifier_passes", "own_passes", "seconds", "training_minutes")


def generators_section(folder: Path) -> str:
    """A section for every data set that was measured; nothing where none was."""
    files = sorted(folder.glob("generators_*.json"))
    return "".join(
        _section(path.stem.removeprefix("generators_"), json.loads(path.read_text(encoding="utf-8"))) for path in files
    )


def _section(data: str, result: Mapping[str, Any]) -> str:
    arms = [*result["arms"], "other originals"]
    text = f"\n## Generators compared: {data}\n\n" + _table(result, arms, COLUMNS) + "\n"
    text += _table(result, arms[:-1], PLACES)
    text += (
        "\nMean, in brackets the 95 % bootstrap interval over images; * where the interval of the paired difference to "
        "ours excludes zero. All images asked for count, found or not; what is measured at the path's end is measured "
        "of the counterfactual where a generator has no path. *Other originals* is the control of the distances.\n\n"
    )
    text += "".join(f"* `{name}`: {words}\n" for name, words in result["arms"].items())
    text += f"* trained generators: {result['settings']['steps']} steps, residual network of width "
    text += f"{result['settings']['width']}\n"
    return text + f"* {result['images']} images, {result['machine']}: `{result['command']}`\n"


def _table(result: Mapping[str, Any], arms: list[str], columns: Mapping[str, tuple[str, str]]) -> str:
    shown = [name for name in columns if any(f"{arm}/{name}" in result["figures"] for arm in arms)]
    text = "| | " + " | ".join(columns[name][0] for name in shown) + " |\n|---|" + "---|" * len(shown) + "\n"
    for arm in arms:
        cells = [_cell(result, f"{arm}/{name}", columns[name][1]) for name in shown]
        text += f"| {arm} | " + " | ".join(cells) + " |\n"
    return text


def _cell(result: Mapping[str, Any], name: str, form: str) -> str:
    value = result["figures"].get(name)
    if value is None:
        return "–"
    interval, difference = result["intervals"].get(name), result["differences"].get(name)
    text = form.format(value)
    if name.rpartition("/")[2] in COSTS:
        return text
    if interval is not None and interval[0] < interval[1]:
        text += f" [{form.format(interval[0])}, {form.format(interval[1])}]"
    return text + (" *" if difference is not None and (difference[1] > 0 or difference[2] < 0) else "")
