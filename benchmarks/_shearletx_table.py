"""The section of ``docs/results.md`` on ShearletX and its family, from ``benchmarks/results/shearletx_*.json``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

COLUMNS = {
    "kept_at_least": "shown picture keeps 0.9 of the probability (wanted ≥ 0.9)",
    "retained": "probability kept, shown picture",
    "expected_precision": "… under fresh noise",
    "second_view": "… in a second view",
    "kept_l1": "share of magnitude kept",
    "cp_l1_capped": "CP-l1, capped",
    "cp_l1_bright": "CP-l1, as published",
    "cp_entropy_capped": "CP-Entropy, capped",
    "cp_entropy_bright": "CP-Entropy, as published",
    "hallucination_gradient": "invented edges (gradient)",
    "hallucination_shearlet": "invented edges (phase)",
    "retained_largest": "control: as many largest coefficients",
    "retained_shuffled": "control: mask shuffled in its bands",
    "faithfulness": "insertion − deletion",
    "cpu_seconds": "CPU seconds",
}
SPEED = {
    "transform/decimated_ms": "synthesis forward and backward, ours, ms",
    "transform/undecimated_ms": "… on every pixel, ms",
    "transform/complex_control_ms": "… control: complex FFTs on every pixel, ms",
    "transform/times_faster_than_control": "times faster than the control",
    "transform/times_faster_than_published": "times faster than the published code's 435 ms (wanted ≥ 8)",
}


def shearletx_section(folder: Path) -> str:
    """Markdown of what is there; empty if nothing is.

    Args:
        folder: of the result files.
    """
    text = ""
    speed, found = _read(folder / "shearletx_transform.json"), _read(folder / "shearletx_quality.json")
    if speed:
        text += "\n| grey, 256 x 256, one thread, CPU time | |\n|---|---|\n"
        text += "".join(f"| {words} | {_cell(speed, name)} |\n" for name, words in SPEED.items())
        text += f"\n{speed['machine']}: `{speed['command']}`\n"
    if found:
        methods = [name.split("/")[0] for name in found["figures"] if name.endswith("/kept_at_least")]
        text += "\n| median over photographs | " + " | ".join(methods) + " |\n|---|" + "---|" * len(methods) + "\n"
        for name, words in COLUMNS.items():
            text += f"| {words} | " + " | ".join(_cell(found, f"{method}/{name}") for method in methods) + " |\n"
        text += (
            f"\n{found['images']} photographs, {found['machine']}: `{found['command']}`. In brackets: 95 % bootstrap "
            "interval of the median; of the share, Wilson's. The published methods run on transforms of this project.\n"
        )
    return "\n## ShearletX and its family\n" + text if text else ""


def _read(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def _cell(result: dict[str, Any], name: str) -> str:
    value, interval = result["figures"].get(name), result["intervals"].get(name)
    if value is None:
        return ""
    shown = f"{value:.3g}"
    return shown if interval is None else f"{shown} [{interval[0]:.3g}, {interval[1]:.3g}]"
