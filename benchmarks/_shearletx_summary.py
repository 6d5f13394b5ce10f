"""Medians, shares and paired differences with their intervals, for ``benchmarks/shearletx.py``."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from cae.metrics.statistics import interval, midpoint_median

RESAMPLES = 2000
# shares of photographs: figure, the least value that counts; 1e-4 is rounding between batches
SHARES = {
    "kept_at_least": ("retained", 0.9 * (1 - 1e-4)),
    "second_view_half": ("second_view", 0.5),
    "second_network_half": ("second_network", 0.5),
}


def summary(rows: Sequence[dict[str, dict[str, Any]]], methods: Sequence[str]) -> tuple[dict, dict]:
    """Medians with bootstrap intervals, shares with Wilson's, and medians of paired differences from the first method.

    Args:
        rows: one per photograph: method to figures.
        methods: ours first.
    """
    figures: dict[str, float] = {}
    intervals: dict[str, list[float]] = {}
    for method in methods:
        values = {key: [row[method].get(key) for row in rows] for key in rows[0][method]}
        for name, (key, least) in SHARES.items():
            if key in values:
                hits = sum(value >= least for value in values[key])
                figures[f"{method}/{name}"] = hits / len(rows)
                intervals[f"{method}/{name}"] = wilson(hits, len(rows))
        for key, column in values.items():
            _median(f"{method}/{key}", column, figures, intervals)
            if method != methods[0]:
                ours = [row[methods[0]].get(key) for row in rows]
                pairs = [a - b for a, b in zip(ours, column, strict=True) if a is not None and b is not None]
                _median(f"ours_minus/{method}/{key}", pairs, figures, intervals)
    return figures, intervals


def paired(name: str, pairs: Sequence[float]) -> tuple[dict, dict]:
    """Median of paired differences with its interval."""
    figures: dict[str, float] = {}
    intervals: dict[str, list[float]] = {}
    _median(name, pairs, figures, intervals)
    return figures, intervals


def _median(name: str, column: Sequence[Any], figures: dict[str, float], intervals: dict[str, list[float]]) -> None:
    values = np.array([float(value) for value in column if value is not None])
    if not len(values):
        return
    figures[name] = float(np.median(values))
    intervals[name] = list(interval(values, range(len(values)), midpoint_median, resamples=RESAMPLES))


def wilson(hits: int, count: int, z: float = 1.96) -> list[float]:
    """95 % interval of a share (Wilson 1927)."""
    share = hits / count
    middle = (share + z**2 / (2 * count)) / (1 + z**2 / count)
    half = z / (1 + z**2 / count) * math.sqrt(share * (1 - share) / count + z**2 / (4 * count**2))
    return [max(0.0, middle - half), min(1.0, middle + half)]
