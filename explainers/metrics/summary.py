"""A table over a set of images: means with intervals, paired differences to the control, and what is separated."""

from __future__ import annotations

from collections.abc import Collection, Hashable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from cae.metrics.statistics import BCA_RESAMPLES, Bootstrap, fisher_z, holm, sign_flip_p
from explainers.metrics.catalogue import CONTROL, LOCATED, PLANNED, Metric, describe

LEAST_IMAGES = 30  # below, no p values
LEAST_TO_MARK = 6  # below, no sign-flip test could reach 5 %, whatever a bootstrap interval says

Results = Mapping[str, Mapping[str, Mapping[str, float | None]]]  # image id to method to metric to value


@dataclass(frozen=True)
class Figure:
    """One metric of one method over a set of images.

    Attributes:
        metric: name.
        method: name.
        mean: over the images that define it; None where none does.
        low: lower end of its 95 % interval.
        high: upper end.
        count: images that define it.
        undefined: images that do not.
        difference: mean paired difference to the control, method minus control; in Fisher's z for correlations. None
            where they share no image, and for the control itself.
        difference_low: lower end of its 95 % interval.
        difference_high: upper end.
        won: share of images on which the method is better than the control, ties as halves; None without a direction.
        p: of the difference, by sign flips, Holm-adjusted over the planned comparisons; None for others and below 30
            images.
        best: whether the intervals of the differences to every other method exclude zero, to this one's favour; never
            below 6 shared images.
    """

    metric: str
    method: str
    mean: float | None
    low: float | None
    high: float | None
    count: int
    undefined: int
    difference: float | None = None
    difference_low: float | None = None
    difference_high: float | None = None
    won: float | None = None
    p: float | None = None
    best: bool = False

    def as_dict(self) -> dict[str, Any]:
        """Flat, fit for JSON and CSV."""
        return asdict(self)


def summarise(
    results: Results,
    metrics: Sequence[str] | None = None,
    control: str = CONTROL,
    groups: Mapping[str, Hashable] | None = None,
    planned: Collection[str] = PLANNED,
    resamples: int = BCA_RESAMPLES,
    seed: int = 0,
) -> list[Figure]:
    """Summarise the values of many images; average over seeds beforehand, per image.

    Args:
        results: image id to method to metric to value, None where undefined. Missing methods count as undefined.
        metrics: names to summarise, in order; all that occur by default.
        control: the method that the others are compared with.
        groups: image id to patient; images of one group are resampled together.
        planned: metrics whose differences to the control get p values.
        resamples: of the bootstrap.
        seed: of all resampling.

    Returns:
        one figure per metric and method, metrics first.
    """
    if not results:
        return []
    ids = list(results)
    methods = list(dict.fromkeys(method for image in results.values() for method in image))
    names = list(metrics or dict.fromkeys(n for image in results.values() for row in image.values() for n in row))
    labels = [groups[image] if groups else image for image in ids]
    bootstrap = Bootstrap(labels, resamples, seed)
    figures: list[Figure] = []
    for name in names:
        columns = {method: _column(results, ids, method, name) for method in methods}
        metric = describe(name)
        if metric.correlation:
            columns = {method: fisher_z(column) for method, column in columns.items()}
        best = _best(columns, metric, bootstrap)
        for method, column in columns.items():
            figure = _figure(name, method, metric, column, bootstrap)
            if method != control and control in columns:
                difference = column - columns[control]
                figure = replace(figure, **_against(difference, metric, bootstrap))
                if name in planned and (~np.isnan(difference)).sum() >= LEAST_IMAGES:
                    figure = replace(figure, p=sign_flip_p(difference, labels, seed))
            figures.append(replace(figure, best=method == best))
    return _corrected(figures)


def _column(results: Results, ids: Sequence[str], method: str, metric: str) -> np.ndarray:
    """Values ``(N,)`` of one metric of one method, NaN where undefined."""
    found = [results[image].get(method, {}).get(metric) for image in ids]
    return np.array([np.nan if value is None else value for value in found], dtype=float)


def _figure(name: str, method: str, metric: Metric, column: np.ndarray, bootstrap: Bootstrap) -> Figure:
    """Mean and interval of one column; that of Fisher's z is turned back into a correlation."""
    count = int((~np.isnan(column)).sum())
    interval = bootstrap.mean(column)
    if interval is None:
        return Figure(name, method, None, None, None, count, len(column) - count)
    ends = np.array([interval.mean, interval.low, interval.high])
    mean, low, high = (np.tanh(ends) if metric.correlation else ends).tolist()
    return Figure(name, method, mean, low, high, count, len(column) - count)


def _against(difference: np.ndarray, metric: Metric, bootstrap: Bootstrap) -> dict[str, Any]:
    """The fields of a figure that compare with the control, from paired differences ``(N,)``."""
    interval = bootstrap.mean(difference)
    if interval is None:
        return {}
    sign = {"high": 1, "low": -1, None: 0}[metric.better]
    return {
        "difference": interval.mean,
        "difference_low": interval.low,
        "difference_high": interval.high,
        "won": share_won(sign * difference) if sign else None,
    }


def share_won(differences: np.ndarray) -> float:
    """Share of the defined ``differences (N,)`` that are positive, ties as halves."""
    defined = differences[~np.isnan(differences)]
    return float(((defined > 0) + (defined == 0) / 2).mean())


def _best(columns: Mapping[str, np.ndarray], metric: Metric, bootstrap: Bootstrap) -> str | None:
    """The method whose differences to every other are to its favour with all of their intervals; None where none is."""
    means = {method: np.nanmean(column) for method, column in columns.items() if not np.isnan(column).all()}
    if metric.better is None or len(means) < 2:
        return None
    sign = 1 if metric.better == "high" else -1
    first = max(means, key=lambda method: sign * means[method])
    differences = [sign * (columns[first] - columns[other]) for other in means if other != first]
    if any((~np.isnan(difference)).sum() < LEAST_TO_MARK for difference in differences):
        return None
    intervals = [bootstrap.mean(difference) for difference in differences]
    return first if all(interval is not None and interval.low > 0 for interval in intervals) else None


def _corrected(figures: Sequence[Figure]) -> list[Figure]:
    """The figures with their p values adjusted together."""
    adjusted = iter(holm([figure.p for figure in figures if figure.p is not None]))
    return [figure if figure.p is None else replace(figure, p=next(adjusted)) for figure in figures]


def localisation_words(counts: Iterable[tuple[str, int]], images: int) -> str:
    """Over how many images localisation is measured, or why it is not.

    Args:
        counts: metrics, and by how many images each is defined for one of the methods.
        images: all that were explained.
    """
    names, most = " and ".join(f"`{name}`" for name in LOCATED), dict[str, int]()
    for metric, count in counts:
        most[metric] = max(count, most.get(metric, 0))
    known, marked = most.get("mask_share", 0), max(most.get(name, 0) for name in LOCATED)
    if marked:
        return f"{names} are measured where a mask marks something: on {marked} of {images} images."
    if known:
        return f"No {names}: the masks of all {known} images that have one are empty."
    return f"No {names}: none of the images has a mask of where its evidence is."
