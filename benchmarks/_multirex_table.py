"""The tables of ``benchmarks/results/multirex.json`` and ``multirex_adaptive.json`` for ``docs/results``."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

COLUMNS = {
    "images": ("photographs", "{:.0f}"),
    "explanations": ("disjoint explanations, mean", "{:.2f}"),
    "two_or_more": ("two or more", "{:.0%}"),
    "evaluations": ("evaluations, median", "{:.0f}"),
    "certified": ("certified minimal", "{:.0%}"),
    "certified_at_16_pixels": ("… at 16 px or finer", "{:.0%}"),
    "verified_alone": ("hold alone", "{:.0%}"),
}
ADAPTIVE = {
    "explained": ("photographs", "{:.0f}"),
    "explanations": ("disjoint explanations, mean", "{:.2f}"),
    "two_or_more": ("two or more", "{:.0%}"),
    "two_or_more_at_first": ("… by 500 evaluations", "{:.0%}"),
    "evaluations": ("evaluations, median", "{:.0f}"),
    "evaluations_mean": ("… mean", "{:.0f}"),
    "went_on": ("more than 500 spent", "{:.0%}"),
    "ran_out": ("ran out with fewer", "{:.0%}"),
    "certified": ("certified minimal", "{:.0%}"),
    "certified_at_16_pixels": ("… at 16 px or finer", "{:.0%}"),
    "verified_alone": ("hold alone", "{:.0%}"),
}
NETWORKS = {"lite0": "EfficientNet-Lite0", "lite1": "EfficientNet-Lite1"}
JUDGED = {
    "found": "two found",
    "judged": "fewer found, judged",
    "missed/superpixels": "of these two shown by superpixels",
    "missed/cells": "… by cells",
    "known": "two known to exist",
}


def adaptive_section(folder: Path) -> str:
    """What the default budget finds, by network and threshold; nothing where the benchmark has not run."""
    path = folder / "multirex_adaptive.json"
    if not path.exists():
        return ""
    result = json.loads(path.read_text(encoding="utf-8"))
    figures, intervals = result["figures"], result["intervals"]
    text = "\n## MultiReX: the default budget, on photographs that chose nothing\n\n"
    settings = [name.removesuffix("/explained") for name in figures if name.endswith("/explained") and figures[name]]
    rows = [[*_setting_words(setting), *_cells(setting, ADAPTIVE, figures, intervals)] for setting in settings]
    text += _table(["network", "threshold", *(words for words, _ in ADAPTIVE.values())], rows)
    text += f"\n{figures['photographs_right']} of {figures['photographs']} photographs are classified right by Lite0; "
    text += "the others are explained for the class that is seen. In brackets: 95 % intervals, by bootstrap over "
    text += "photographs, of shares by Clopper and Pearson. Their order was fixed; the time ended the runs.\n\n"
    rows = []
    for setting in settings:
        share = _cell(f"{setting}/found_where_two_exist", "{:.0%}", figures, intervals)
        rows.append([*_setting_words(setting), *(str(figures[f"{setting}/{key}"]) for key in JUDGED), share])
    text += _table(["network", "threshold", *JUDGED.values(), "share found of the last"], rows)
    text += "\nWanted: found on at least 96 % of those where two exist, by a median of at most 511 evaluations.\n\n"
    for setting, names in result["ran_out"].items():
        if names:
            shown = ", ".join(map(_photograph, names))
            network, threshold = setting.split("/")
            text += f"Ran out with fewer than two ({NETWORKS[network]}, {threshold.replace('_', ' ')}): {shown}.\n\n"
    return text + f"* seed {result['seeds'][0]}, {result['machine']}: `{result['command']}`\n"


def _setting_words(setting: str) -> list[str]:
    network, threshold = setting.split("/")
    return [NETWORKS[network], threshold.partition("_")[2]]


def _photograph(name: str) -> str:
    return name.partition("_")[2].replace("_", " ") or name


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [f"| {' | '.join(cells)} |" for cells in (head, *rows)]
    return "\n".join([lines[0], "|---" * len(head) + "|", *lines[1:], ""])


def _cells(
    setting: str,
    columns: Mapping[str, tuple[str, str]],
    figures: dict[str, Any],
    intervals: dict[str, list[float]],
) -> list[str]:
    return [_cell(f"{setting}/{name}", shape, figures, intervals) for name, (_, shape) in columns.items()]


def multirex_section(folder: Path) -> str:
    """The section, or nothing where the benchmark has not run."""
    path = folder / "multirex.json"
    if not path.exists():
        return ""
    result = json.loads(path.read_text(encoding="utf-8"))
    figures, intervals = result["figures"], result["intervals"]
    text = "\n## MultiReX: disjoint explanations of photographs\n\n"
    text += _settings(figures, intervals, ("all", "held_out", "development"))
    text += (
        "\nIn brackets: 95 % bootstrap interval over photographs. Wanted: two or more on at least 96 %, at most 511 "
    )
    text += "evaluations, at most 10 % of the time beyond the classifier, everything certified.\n\n"
    if len({name.split("/")[2] for name in figures if name.startswith("curve/threshold_")}) > 1:
        text += "The same photographs under rising budgets:\n\n" + _settings(figures, intervals, ("curve",)) + "\n"
    text += _pairs(figures) + _times(figures) + _official(figures) + _beside(result.get("beside_official", {}))
    text += f"* seed {result['seeds'][0]}, {result['machine']}: `{result['command']}`\n"
    return text + adaptive_section(folder)


def _settings(figures: dict[str, Any], intervals: dict[str, Any], groups: tuple[str, ...]) -> str:
    """A table with one row for each threshold, budget and group of photographs."""
    found = {name.rsplit("/", 1)[0] for name in figures if "/threshold_" in name and name.split("/")[0] in groups}
    rows = []
    for setting in sorted(found, key=lambda name: (*_order(name), groups.index(name.split("/")[0]))):
        threshold, budget = _order(setting)
        group = setting.split("/")[0].replace("_", " ")
        rows.append([f"{threshold:g}", str(budget), group, *_cells(setting, COLUMNS, figures, intervals)])
    return _table(["threshold", "budget", "", *(words for words, _ in COLUMNS.values())], rows)


def _order(setting: str) -> tuple[float, int]:
    threshold, budget = (part.split("_")[1] for part in setting.split("/")[1:])
    return float(threshold), int(budget)


def _cell(name: str, shape: str, figures: dict[str, Any], intervals: dict[str, list[float]]) -> str:
    value = figures.get(name)
    if value is None:
        return ""
    low_high = intervals.get(name)
    shown = shape.format(value)
    return shown if low_high is None else f"{shown} [{shape.format(low_high[0])}, {shape.format(low_high[1])}]"


def _pairs(figures: dict[str, Any]) -> str:
    text = ""
    for name in sorted({name.split("/")[1] for name in figures if name.endswith("/searched")}):
        searched, exist, found, elsewhere = (
            figures[f"pairs/{name}/{key}"] for key in ("searched", "exist", "found", "found_elsewhere")
        )
        if not searched:
            continue
        text += (
            f"Threshold {name.removeprefix('threshold_')}: an exhaustive search over the 510 sets of cells of a 3 x 3 "
            f"grid shows on {exist} of {searched} photographs that two disjoint explanations exist; MultiReX (budget "
            f"500) finds two or more on {found} of these, and on {elsewhere} where the coarse search shows none.\n\n"
        )
    return text


def _times(figures: dict[str, Any]) -> str:
    if "timed/torch/time_beyond_forward_passes" not in figures:
        return ""
    plain, fast = (figures[f"timed/{runtime}/time_beyond_forward_passes"] for runtime in ("torch", "onnx"))
    seconds, faster = (figures[f"timed/{runtime}/seconds"] for runtime in ("torch", "onnx"))
    return (
        f"Time beyond the classifier (threshold 0.5, budget 500, one thread, photographs: {figures['timed/images']}): "
        f"{plain:.1%} of {seconds:.0f} s by PyTorch, {fast:.1%} "
        f"of {faster:.0f} s by ONNX Runtime (`classifier.runtime=onnx`).\n\n"
    )


def _official(figures: dict[str, Any]) -> str:
    if not figures.get("official/ran"):
        return "The official tool was not run beside it.\n\n"
    return (
        f"Beside the official tool (rex-xai 0.4.1) on {figures['official/images']} held-out photographs: "
        f"{figures['official/explanations_ours']:.2f} disjoint explanations against "
        f"{figures['official/explanations']:.2f}, {figures['official/evaluations_ours']:.0f} evaluations against "
        f"{figures['official/evaluations']:.0f} (medians), never fewer on "
        f"{figures['official/never_fewer_ours']:.0%}.\n\n"
    )


def _beside(rows: dict[str, dict[str, Any]]) -> str:
    """One line for each photograph that both methods explained."""
    if not rows:
        return ""
    text = "| held-out photograph | ours | official | evaluations, ours | official |\n|---|---|---|---|---|\n"
    for name, row in rows.items():
        keys = ("explanations_ours", "explanations", "evaluations_ours", "evaluations")
        text += f"| {_photograph(name)} | " + " | ".join(str(row[key]) for key in keys) + " |\n"
    return text + "\n"
