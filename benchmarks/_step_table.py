"""Long table of what a training step takes, beside a former commit: time, operations, and where the time goes."""

from __future__ import annotations

import json
from pathlib import Path

ROWS = {
    "milliseconds": ("milliseconds of a step, by the clock", 1.0),
    "processor_ms": ("milliseconds of a step, of the processor", 1.0),
    "images_per_second": ("images a second", 1.0),
    "kernels": ("kernels (CPU: innermost operations)", 1.0),
    "operations": ("operations, billions", 1e-9),
    "share_of_convolution_rate": ("of this machine's convolution rate", 1.0),
    "peak_gib": ("peak memory, GiB", 1.0),
}


def step_section(folder: Path) -> str:
    """The measured steps of each set of cases that there is a file of; empty without any."""
    names = ("training_step", "training_step_published", "training_step_gpu")
    return "".join(_measured(folder / f"{name}.json") for name in names if (folder / f"{name}.json").exists())


def _measured(path: Path) -> str:
    result = json.loads(path.read_text(encoding="utf-8"))
    figures: dict[str, float] = result["figures"]
    cases = list(dict.fromkeys(key.split("/")[0] for key in figures if "/" in key))
    versions = [name for name in ("former", "present") if f"{cases[0]}/{name}/milliseconds" in figures]
    columns = [(case, version) for case in cases for version in versions]
    head = [f"{case}, {version}" if len(versions) > 1 else case for case, version in columns]
    lines = [f"| | {' | '.join(head)} |", "|---" * (len(columns) + 1) + "|"]
    for row, (words, unit) in (ROWS | _parts(figures)).items():
        values = [figures.get(f"{case}/{version}/{row}") for case, version in columns]
        if any(value is not None for value in values):
            lines.append(f"| {words} | " + " | ".join(_shown(value, unit) for value in values) + " |")
    speedups = [f"{case}: {figures[f'{case}/speedup']:.2f}" for case in cases if f"{case}/speedup" in figures]
    against = f" Steps of the present code in the time of one of the former: {', '.join(speedups)}." if speedups else ""
    return (
        f"\n## Training steps, timed\n\n{chr(10).join(lines)}\n\n{result['machine']}; whole steps of all networks, "
        f"medians, both versions in turns.{against} `{result['command']}`\n"
    )


def _parts(figures: dict[str, float]) -> dict[str, tuple[str, float]]:
    """Rows of where the time goes, in per cent."""
    found = [key.split("/share/")[1] for key in figures if "/share/" in key]
    return {f"share/{group}": (f"{group}, % of the time", 100.0) for group in dict.fromkeys(found)}


def _shown(value: float | None, unit: float) -> str:
    if value is None:
        return ""
    value *= unit
    return f"{value:.3g}" if value < 1000 else f"{value:.0f}"
