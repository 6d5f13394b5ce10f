"""The tables of ``docs/results`` on ShearletX and its family, from ``benchmarks/results/shearletx_*.json``."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

Result = dict[str, Any]
PLACES = {"": "CPU", "_gpu": "GPU"}
COLUMNS = {
    "kept_at_least": "shown picture keeps 0.9 of the probability, share of photographs",
    "retained": "probability kept, shown picture",
    "expected_precision": "… under fresh noise",
    "second_view": "… in a second view",
    "second_view_half": "… at least half there, share of photographs",
    "second_network": "… by a second network (Lite1), of its own",
    "second_network_half": "… at least half there, share of photographs",
    "kept_l1": "share of magnitude kept",
    "kept_entropy": "entropy of what is kept, of the image's",
    "kept_pixels": "share of light shown",
    "cp_l1_capped": "CP-l1, capped",
    "cp_entropy_capped": "CP-Entropy, capped",
    "cp_l1_bright": "CP-l1, as published",
    "cp_entropy_bright": "CP-Entropy, as published",
    "cp_wavelet_l1_capped": "CP-l1, capped, of the pictures in wavelets",
    "cp_wavelet_entropy_capped": "CP-Entropy, capped, of the pictures in wavelets",
    "hallucination_gradient": "invented edges (gradient)",
    "hallucination_shearlet": "invented edges (phase)",
    "hallucination_canny": "invented edges (Canny)",
    "retained_shifted": "control: shown picture, two pixels aside",
    "retained_largest": "control: as many largest coefficients",
    "retained_shuffled": "control: mask shuffled in its bands",
    "complement": "control: the rest, on grey",
    "faithfulness": "insertion − deletion",
    "seconds": "seconds",
}
PAIRED = ("retained", "second_network", "cp_l1_capped", "cp_entropy_capped", "cp_l1_bright", "cp_entropy_bright",
          "hallucination_gradient", "hallucination_shearlet")  # fmt: skip
CURVE = {
    "kept_at_least": "keeps 0.9, share", "retained": "probability kept", "second_network_half": "half by Lite1, share",
    "cp_l1_capped": "CP-l1, capped", "cp_entropy_capped": "CP-Entropy, capped",
    "hallucination_gradient": "invented edges", "faithfulness": "insertion − deletion", "steps": "steps made",
}  # fmt: skip
SPEED = {
    "transform/decimated_ms": "synthesis forward and backward, ours, ms",
    "transform/undecimated_ms": "… on every pixel, ms",
    "transform/complex_control_ms": "… control: complex FFTs on every pixel, ms",
    "transform/times_faster_than_control": "times faster than the control",
    "transform/times_faster_than_published": "times faster than the published code's 435 ms",
    "cost/shearletx_4_seconds_per_step": "a step of ours, 4 samples, s",
    "cost/shearletx_published_4_seconds_per_step": "… at published settings on our frame, s",
    "cost/share_of_published_4": "ours, share of the published code's 7.25 s",
    "cost/shearletx_16_seconds_per_step": "a step of ours, 16 samples, s",
    "cost/shearletx_published_16_seconds_per_step": "… at published settings on our frame, s",
    "cost/share_of_published_16": "ours, share of the published code's 28.4 s",
    "cost/default_seconds": "an explanation by our defaults (60 steps, 4 samples), s",
    "cost/default_share_of_published": "… share of the published code's (300 steps, 16 samples)",
    "cost/default_share_of_control": "… share of the published settings on our frame",
    "cost/shearletx_4_state_megabytes": "state per image (float32), MB",
    "cost/shearletx_4_loaded_gigabytes": "memory before the search: libraries and classifier, GB",
    "cost/shearletx_4_peak_gigabytes": "peak memory, 4 samples, GB",
    "cost/shearletx_16_peak_gigabytes": "… 16 samples, GB",
    "cost/shearletx_published_16_peak_gigabytes": "… 16 samples, published settings, GB",
}
MEMORY = {4: 1.2, 16: 2.5}  # GB wanted at most


def shearletx_section(folder: Path) -> str:
    """Markdown of what is there; empty if nothing is.

    Args:
        folder: of the result files.
    """
    text = _speed({key: _read(folder, "transform", key) for key in PLACES}, {
        key: _read(folder, "cost", key) for key in PLACES})  # fmt: skip
    for suffix in PLACES:
        text += _quality(_read(folder, "quality", suffix))
    for suffix in PLACES:
        text += _curve(_read(folder, "steps", suffix))
    text += _goals(folder)
    return "\n## ShearletX and its family\n" + text if text else ""


def _speed(transforms: dict[str, Result], costs: dict[str, Result]) -> str:
    columns = [key for key in PLACES if transforms[key] or costs[key]]
    if not columns:
        return ""
    text = "\n| 256 x 256, one image | " + " | ".join(PLACES[key] for key in columns) + " |\n|---|"
    text += "---|" * len(columns) + "\n"
    for name, words in SPEED.items():
        cells = [_cell((transforms if name.startswith("transform") else costs)[key], name) for key in columns]
        if any(cells):
            text += f"| {words} | " + " | ".join(cells) + " |\n"
    found = [result for key in columns for result in (transforms[key], costs[key]) if result]
    return text + "\n" + "; ".join(f"{result['machine']}: `{result['command']}`" for result in found) + ".\n"


def _quality(found: Result) -> str:
    if not found:
        return ""
    methods = [name.split("/")[0] for name in found["figures"] if name.endswith("/kept_at_least")]
    text = "\n| median over photographs | " + " | ".join(methods) + " |\n|---|" + "---|" * len(methods) + "\n"
    for name, words in COLUMNS.items():
        cells = [_cell(found, f"{method}/{name}") for method in methods]
        if any(cells):
            text += f"| {words} | " + " | ".join(cells) + " |\n"
    others = methods[1:]
    if others:
        text += "\n| ours minus theirs, paired | " + " | ".join(others) + " |\n|---|" + "---|" * len(others) + "\n"
        for name in PAIRED:
            cells = [_cell(found, f"ours_minus/{method}/{name}") for method in others]
            if any(cells):
                text += f"| {COLUMNS[name]} | " + " | ".join(cells) + " |\n"
    return text + (
        f"\n{found['images']} photographs that chose no default but the number of steps, {found['machine']}: "
        f"`{found['command']}`. In brackets: 95 % bootstrap interval of the median; of shares, Wilson's. The published "
        "methods run on transforms of this project.\n"
    )


def _curve(found: Result) -> str:
    if not found:
        return ""
    numbers = sorted({int(name.split("/")[1]) for name in found["figures"] if name.count("/") == 2})
    text = "\n| shearletx, steps at most | " + " | ".join(map(str, numbers)) + " |\n|---|" + "---|" * len(numbers)
    text += "\n"
    for key, words in CURVE.items():
        text += f"| {words} | " + " | ".join(_cell(found, f"steps/{number}/{key}") for number in numbers) + " |\n"
    return text + f"\n{found['images']} photographs, {found['machine']}: `{found['command']}`.\n"


def _goals(folder: Path) -> str:
    """Each goal with what was measured, from the CPU and from the GPU."""
    rows = _speed_goals(_read(folder, "transform", ""), _read(folder, "cost", ""))
    for suffix, place in PLACES.items():
        rows += _quality_goals(_read(folder, "quality", suffix), place)
        rows += _curve_goal(_read(folder, "steps", suffix), place)
    if not rows:
        return ""
    text = "\n| goal | wanted | measured | |\n|---|---|---|---|\n"
    for words, wanted, value, met in rows:
        text += f"| {words} | {wanted} | {value} | {'met' if met else '**missed**'} |\n"
    return text


def _speed_goals(transform: Result, cost: Result) -> list[tuple[str, str, str, bool]]:
    rows = []
    if transform:
        value = transform["figures"]["transform/times_faster_than_published"]
        rows.append(("synthesis, times faster than the published code", "≥ 8", f"{value:.3g}", value >= 8))
    if cost:
        shares = [cost["figures"][f"cost/{name}"] for name in
                  ("share_of_published_4", "share_of_published_16", "default_share_of_published")]  # fmt: skip
        words = "CPU time of an explanation, share of the published code's (4 samples, 16 samples, defaults)"
        rows.append((words, "≤ 0.25", ", ".join(f"{share:.2g}" for share in shares), max(shares) <= 0.25))
        state = cost["figures"]["cost/shearletx_4_state_megabytes"]
        rows.append(("state of a search between its steps", "≤ 48 MB", f"{state:.3g} MB", state <= 48))
        for samples, most in MEMORY.items():
            peak, loaded = (
                cost["figures"][f"cost/shearletx_{samples}_{name}_gigabytes"] for name in ("peak", "loaded")
            )
            words = f"peak memory of the process, {samples} samples, of which the loaded program {loaded:.2f} GB"
            rows.append((words, f"≤ {most} GB", f"{peak:.2f} GB", peak <= most))
    return rows


def _quality_goals(found: Result, place: str) -> list[tuple[str, str, str, bool]]:
    if not found:
        return []
    figures, rows = found["figures"], []
    kept = figures["shearletx/kept_at_least"]
    rows.append((f"{place}: shown picture keeps 0.9, share", "≥ 0.9", _cell(found, "shearletx/kept_at_least"),
                 kept >= 0.9))  # fmt: skip
    rivals = [name for name in ("shearletx_published", "waveletx_published", "cartoonx_published")
              if f"{name}/cp_l1_capped" in figures]  # fmt: skip
    for score, words in (("cp_l1_capped", "CP-l1, capped"), ("cp_entropy_capped", "CP-Entropy, capped"),
                         ("cp_l1_bright", "CP-l1, as published (theirs maximise)"),
                         ("cp_entropy_bright", "CP-Entropy, as published (theirs maximise)")):  # fmt: skip
        mine = figures[f"shearletx/{score}"]
        theirs = [figures[f"{name}/{score}"] for name in rivals]
        rows.append((f"{place}: {words}", _bar(rivals, theirs, "≥"), f"{mine:.3g}", mine >= max(theirs, default=0)))
    for detector in ("gradient", "shearlet", "canny"):
        key = f"hallucination_{detector}"
        if f"waveletx_published/{key}" in figures:
            mine, bar = figures[f"shearletx/{key}"], figures[f"waveletx_published/{key}"]
            words = f"{place}: invented edges ({'phase' if detector == 'shearlet' else detector})"
            rows.append((words, f"≤ {bar:.3g} (published waveletx)", f"{mine:.3g}", mine <= bar))
    for key, words in (("second_network", "probability kept, second network"),
                       ("second_network_half", "half kept there, share")):  # fmt: skip
        if f"waveletx_published/{key}" in figures:
            mine, bar = figures[f"shearletx/{key}"], figures[f"waveletx_published/{key}"]
            rows.append((f"{place}: {words}", f"≥ {bar:.3g} (published waveletx)", f"{mine:.3g}", mine >= bar))
    return rows


def _curve_goal(found: Result, place: str) -> list[tuple[str, str, str, bool]]:
    if not found or "steps/faithfulness_change" not in found["figures"]:
        return []
    high = found["intervals"]["steps/faithfulness_change"][1]
    last = max(int(name.split("/")[1]) for name in found["figures"] if name.count("/") == 2)
    words = f"{place}: insertion − deletion after {last} steps minus after 50, paired"
    return [(words, "no fall beyond its interval", _cell(found, "steps/faithfulness_change"), high >= 0)]


def _bar(names: Sequence[str], values: Sequence[float], sign: str) -> str:
    if not values:
        return ""
    best = max(values)
    return f"{sign} {best:.3g} (published {names[values.index(best)].removesuffix('_published')})"


def _read(folder: Path, part: str, suffix: str) -> Result:
    path = folder / f"shearletx_{part}{suffix}.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def _cell(result: Result, name: str) -> str:
    value, interval = result.get("figures", {}).get(name), result.get("intervals", {}).get(name)
    if value is None:
        return ""
    shown = f"{value:.3g}"
    return shown if interval is None else f"{shown} [{interval[0]:.3g}, {interval[1]:.3g}]"
