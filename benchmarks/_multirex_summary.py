"""Figures of ``benchmarks/multirex_adaptive.py`` from the runs of one network; nothing is explained here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import mean, median
from typing import Any

import numpy as np

from cae.metrics.statistics import binomial_interval, interval, midpoint_median

RESAMPLES = 2000
FIRST_BUDGET = 500
ENOUGH = 2
FOUND_ENOUGH = "found_where_two_exist"
JUDGES = ("superpixels", "cells")
Results = Mapping[str, Mapping[str, Any]]
Bounds = tuple[float, float]


def network_figures(
    results: Results, thresholds: Sequence[str]
) -> tuple[dict[str, Any], dict[str, Bounds], dict[str, list[str]]]:
    """Figures, their 95 % intervals, and the photographs whose budget ended with fewer than two, by threshold.

    Where the time ended first, figures are over the photographs that were explained.

    Args:
        results: of each photograph, by name: its run by threshold, and under ``pairs`` what each judge found.
        thresholds: as the runs are named.
    """
    figures: dict[str, Any] = {}
    intervals: dict[str, Bounds] = {}
    ran_out: dict[str, list[str]] = {}
    for threshold in thresholds:
        name = f"threshold_{threshold}"
        runs = {photograph: result[threshold] for photograph, result in results.items() if threshold in result}
        figures[f"{name}/explained"] = len(runs)
        ran_out[name] = [photograph for photograph, run in runs.items() if run["ran_out"]]
        if runs:
            _masks(name, list(runs.values()), figures)
            _counts(name, list(runs.values()), figures, intervals)
        _where_two_exist(name, threshold, results, figures, intervals)
    return figures, intervals, ran_out


def _masks(name: str, runs: Sequence[Mapping[str, Any]], figures: dict[str, Any]) -> None:
    """What holds of the masks that were returned."""
    finest = [side for run in runs for side in run["finest"]]
    held = [float(holds) for run in runs for holds in run["holds"]]
    figures[f"{name}/masks"] = len(finest)
    figures[f"{name}/certified"] = mean(float(side is not None) for side in finest) if finest else None
    figures[f"{name}/certified_at_16_pixels"] = mean(float((side or 99) <= 16) for side in finest) if finest else None
    figures[f"{name}/verified_alone"] = mean(held) if held else None
    figures[f"{name}/disjoint"] = mean(float(run["disjoint"]) for run in runs)


def _counts(
    name: str, runs: Sequence[Mapping[str, Any]], figures: dict[str, Any], intervals: dict[str, Bounds]
) -> None:
    """Numbers of explanations and evaluations."""
    counts, evaluations = [run["count"] for run in runs], [run["evaluations"] for run in runs]
    images = range(len(runs))
    figures[f"{name}/explanations"] = mean(counts)
    intervals[f"{name}/explanations"] = interval(np.array(counts), images, resamples=RESAMPLES)
    figures[f"{name}/evaluations"] = median(evaluations)
    intervals[f"{name}/evaluations"] = interval(np.array(evaluations), images, midpoint_median, resamples=RESAMPLES)
    figures[f"{name}/evaluations_mean"] = mean(evaluations)
    shares = {
        "two_or_more": [run["count"] >= ENOUGH for run in runs],
        # the first search found enough exactly where no more was spent
        "two_or_more_at_first": [run["count"] >= ENOUGH and run["evaluations"] <= FIRST_BUDGET for run in runs],
        "went_on": [run["evaluations"] > FIRST_BUDGET for run in runs],
        "ran_out": [run["ran_out"] for run in runs],
    }
    for key, values in shares.items():
        _share(f"{name}/{key}", sum(values), len(values), figures, intervals)


def _where_two_exist(
    name: str, threshold: str, results: Results, figures: dict[str, Any], intervals: dict[str, Bounds]
) -> None:
    """How often two are found where two are known to exist: found and checked, or shown by a judge."""
    runs = {photograph: result for photograph, result in results.items() if threshold in result}
    found = [photograph for photograph, result in runs.items() if result[threshold]["count"] >= ENOUGH]
    judged = [
        photograph for photograph, result in runs.items() if photograph not in found and "pairs" in result
    ]  # the others found fewer and are not judged yet
    shown = {
        judge: [photograph for photograph in judged if runs[photograph]["pairs"][judge][threshold]] for judge in JUDGES
    }
    known = len(found) + len(set().union(*shown.values()))
    figures[f"{name}/found"], figures[f"{name}/judged"], figures[f"{name}/known"] = len(found), len(judged), known
    for judge, photographs in shown.items():
        figures[f"{name}/missed/{judge}"] = len(photographs)
    if known and len(found) + len(judged) == len(runs):
        _share(f"{name}/{FOUND_ENOUGH}", len(found), known, figures, intervals)


def _share(key: str, successes: int, trials: int, figures: dict[str, Any], intervals: dict[str, Bounds]) -> None:
    figures[key] = successes / trials
    intervals[key] = binomial_interval(successes, trials)
