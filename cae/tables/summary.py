"""Figures over many explained images, each with the number it was taken over and a 95 % bootstrap interval."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from cae.metrics.realism import sfid
from cae.metrics.statistics import interval
from cae.tables.index import Index, IndexRow
from cae.tables.metric import Summary
from cae.tables.metric_table import METRICS, SET_METRICS

_FAILURES = ("already_target", "not_found", "reconstruction_flip")


def summarise(rows: Sequence[IndexRow], seed: int = 0) -> dict[str, float]:
    """The figures of ``metrics.json`` for explained images, as ``cae.tables.metric_table`` lists them.

    Rates are over all images to be explained, those without a counterfactual counting as failures (images of the
    target class already are left out); figures of the end of the path are over all paths; everything else is over
    counterfactuals found, localisation over those of images whose mask shows something. A figure over no image is left
    out.

    Args:
        rows: of the index; several of one image are resampled together.
        seed: of the bootstrap.

    Returns:
        name to number, with ``<name>_low`` and ``<name>_high`` for the interval.
    """
    parts = _populations(rows)
    ends = [row for row in parts["with_path"] if row.end_dice is not None]
    metrics: dict[str, float] = {
        "counterfactual/images": len({row.id for row in rows}),
        "counterfactual/explained": len(parts["explained"]),
        "counterfactual/found_count": len(parts["found"]),
        **{f"counterfactual/{name}": sum(row.status == name for row in rows) for name in _FAILURES},
        "localisation/images": len({row.id for row in parts["with_mask"]}),
        "localisation/end_images": len({row.id for row in ends}),
    }
    for metric in METRICS:
        for summary in metric.summaries:
            values = [(row.id, getattr(row, metric.name)) for row in parts[summary.over]]
            metrics |= _figure(summary, values, seed)
    return metrics


def _populations(rows: Sequence[IndexRow]) -> dict[str, list[IndexRow]]:
    """The rows that each kind of summary is over."""
    explained = [row for row in rows if row.status != "already_target"]
    found = [row for row in explained if row.found]
    return {
        "explained": explained,
        "with_oracle": [row for row in explained if row.oracle_source is not None],
        "found": found,
        "with_mask": [row for row in found if row.mask_share is not None],
        "with_path": [row for row in explained if row.end_l1 is not None],
    }


def _figure(summary: Summary, values: Sequence[tuple[str, Any]], seed: int) -> dict[str, float]:
    """A figure over the values that there are, by id of the image, with its interval."""
    pairs = [
        (id, summary.absent if value is None else float(summary.of(value)))
        for id, value in values
        if value is not None or summary.absent is not None
    ]
    if not pairs:
        return {}
    numbers = np.array([number for _, number in pairs])
    low, high = interval(numbers, [id for id, _ in pairs], summary.statistic, seed)
    value = float(summary.statistic(numbers, np.ones(len(numbers))))
    return {summary.name: value, f"{summary.name}_low": low, f"{summary.name}_high": high}


def summarise_features(index: Index, seed: int = 0) -> dict[str, float]:
    """Distances between counterfactuals and originals as sets, in the classifier's features.

    ``sfid`` and ``skid`` compare the counterfactuals of one half of the images with the originals of the other, by the
    Fréchet distance and, for few images, by the kernel distance; ``end_…`` the ends of the paths, and ``…_originals``
    the halves of the originals, which is the least that can be expected. At the boundary the classifier sees half of
    either class, as in no original, and in all of these sets the classes' shares are others than in the originals: only
    runs with the same targets can be compared. Sets too small for one of them go without it.

    Args:
        index: of explained images.
        seed: of the halves.

    Returns:
        name to number, as in ``metrics.json``, with the number of counterfactuals and of features; empty without any.
    """
    known = [(row.image, three) for row in index.rows if row.found and (three := index.features(row)) is not None]
    if not known:
        return {}
    features = torch.stack([three for _, three in known])
    images = torch.tensor([image for image, _ in known])
    half, width = len(images.unique()) // 2, features.shape[2]
    metrics: dict[str, float] = {"counterfactual/feature_pairs": len(known), "counterfactual/features": width}
    for metric in SET_METRICS:
        if half >= metric.least(width):
            metrics[metric.name] = sfid(features[:, 0], features[:, metric.of], images, seed, metric.distance)
    return metrics


def table(metrics: Mapping[str, float], lines: Sequence[tuple[str, str]]) -> str:
    """Some figures as aligned text, each with its interval and what it means; absent ones are left out."""
    text = []
    for name, words in lines:
        if name in metrics:
            bounds = metrics.get(f"{name}_low"), metrics.get(f"{name}_high")
            between = "" if bounds[0] is None or bounds[1] is None else f"{bounds[0]:.3f} to {bounds[1]:.3f}"
            text.append(f"  {metrics[name]:8.3f}  {between:<17}  {words}")
    return "\n".join(text)
