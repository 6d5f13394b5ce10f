"""The table of ``benchmarks/results/pipeline_*.json``: training and traversal, end to end."""

from __future__ import annotations

import json
from pathlib import Path

from benchmarks._figures import END_TO_END


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
    text += "\nIn brackets: 95 % bootstrap interval over images for one seed, range over seeds for several. What the "
    text += "oracle says is left out of seeds whose oracle agrees with less than 75 % of the classifier's answers; the "
    text += "lower of both is then the classifier's.\n\n"
    for name, result in results.items():
        seeds = ", ".join(map(str, result["seeds"]))
        text += f"* **{name}**: {result['images']} test images, seeds {seeds}, {result['machine']}: "
        text += f"`{result['command']}`\n"
    return text


def _table(results: dict[str, dict]) -> str:
    lines = ["| figure | " + " | ".join(results) + " | wanted |", "|---|" + "---|" * (len(results) + 1)]
    for figure, (words, wanted) in END_TO_END.items():
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
    if interval is not None:
        shown += f" [{interval[0]:.{digits}f}, {interval[1]:.{digits}f}]"
    seeds = result.get("seeds_of", {}).get(figure)
    return shown if seeds is None else f"{shown} ({len(seeds)} of {len(result['seeds'])} seeds)"
