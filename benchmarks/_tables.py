"""Make ``docs/results.md`` from the files in ``benchmarks/results``, and from nothing else."""

from __future__ import annotations

import json
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks._explainer_tables import (  # noqa: E402 (runs as a script)
    causal_scores_section,
    causal_section,
    comparison_section,
    cost_section,
    sampler_section,
)
from benchmarks._figures import END_TO_END  # noqa: E402
from benchmarks._multirex_table import multirex_section  # noqa: E402
from benchmarks._quality_table import quality_section, training_cost_section  # noqa: E402
from benchmarks._sanity_table import sanity_section  # noqa: E402
from benchmarks._shearletx_table import shearletx_section  # noqa: E402


def main() -> None:
    """Write the document."""
    files = sorted((ROOT / "benchmarks" / "results").glob("pipeline_*.json"))
    results = {path.stem.removeprefix("pipeline_"): json.loads(path.read_text(encoding="utf-8")) for path in files}
    text = "# Results\n\nMade by `python benchmarks/_tables.py` from `benchmarks/results/*.json`.\n\n"
    text += "## Training and traversal, end to end\n\n" + _table(results)
    text += "\nIn brackets: 95 % bootstrap interval over images for one seed, range over seeds for several.\n\n"
    for name, result in results.items():
        seeds = ", ".join(map(str, result["seeds"]))
        text += (
            f"* **{name}**: {result['images']} test images, seeds {seeds}, {result['machine']}: `{result['command']}`\n"
        )
    folder = ROOT / "benchmarks" / "results"
    text += quality_section(folder) + training_cost_section(folder) + sanity_section(folder)
    text += comparison_section(folder) + cost_section(folder) + sampler_section(folder)
    text += multirex_section(folder) + shearletx_section(folder)
    text += causal_scores_section(folder) + causal_section(folder)
    notes = folder / "notes.md"
    if notes.exists():
        text += "\n" + notes.read_text(encoding="utf-8")
    (ROOT / "docs" / "results.md").write_text(text, encoding="utf-8")
    print("written: docs/results.md")


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
    return shown if interval is None else f"{shown} [{interval[0]:.{digits}f}, {interval[1]:.{digits}f}]"


if __name__ == "__main__":
    main()
