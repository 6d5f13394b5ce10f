"""Figures over many explained images, each with the number it was taken over and a 95 % bootstrap interval."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch

from cae.metrics.realism import fid, kid, sfid
from cae.metrics.statistics import Statistic, interval, mean, median, percentile_95
from cae.tables.index import Index, IndexRow


def summarise(rows: Sequence[IndexRow], seed: int = 0) -> dict[str, float]:
    """The figures of ``metrics.json`` for explained images.

    Rates are over all images to be explained, those without a counterfactual counting as failures (images that have
    the target's verdict already are left out); figures of the end of the path are over all paths walked; everything
    else is over counterfactuals found, localisation over those of images whose mask shows something. A figure over no
    image is left out.

    Args:
        rows: of the index; several of one image are resampled together.
        seed: of the bootstrap.

    Returns:
        name to number, with ``<name>_low`` and ``<name>_high`` for the interval.
    """
    explained = [row for row in rows if row.status != "already_target"]
    found = [row for row in explained if row.found]
    with_mask = [row for row in found if row.mask_share is not None]
    walked = [row for row in explained if row.end_l1 is not None]
    metrics: dict[str, float] = {
        "counterfactual/images": len({row.id for row in rows}),
        "counterfactual/explained": len(explained),
        "counterfactual/found_count": len(found),
        **{f"counterfactual/{name}": sum(row.status == name for row in rows) for name in _FAILURES},
        "localisation/images": len({row.id for row in with_mask}),
        "localisation/end_images": len({row.id for row in walked if row.end_dice is not None}),
    }
    judged = explained if any(row.oracle_source is not None for row in explained) else []
    for name, part, value, statistic in (
        ("counterfactual/found", explained, lambda row: row.found, mean),
        ("counterfactual/validity_oracle", judged, lambda row: row.oracle_agrees is True, mean),
        ("counterfactual/validity_oracle_end", judged, lambda row: row.oracle_end_agrees is True, mean),
        ("counterfactual/validity_decoded", explained, lambda row: row.decoded_agrees is True, mean),
        ("counterfactual/bkl", found, _bkl, mean),
        *((f"counterfactual/{name}", found, _column(column), statistic) for name, column, statistic in _FOUND),
        *((f"counterfactual/{name}", walked, _column(name), mean) for name in _END),
        *((f"localisation/{name}", with_mask, _column(name), mean) for name in _LOCALISATION),
        *((f"localisation/{name}", walked, _column(name), mean) for name in _END_LOCALISATION),
        ("localisation/outside_median", walked, _column("outside"), median),
    ):
        metrics |= _figure(name, part, value, statistic, seed)
    return metrics


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
    originals, edited, ends = torch.stack([three for _, three in known]).unbind(1)
    images = torch.tensor([image for image, _ in known])
    half, width = len(images.unique()) // 2, originals.shape[1]
    metrics: dict[str, float] = {"counterfactual/feature_pairs": len(known), "counterfactual/features": width}
    for name, distance, least in (("sfid", fid, width + 1), ("skid", kid, 2)):
        if half >= least:
            metrics[f"counterfactual/{name}"] = sfid(originals, edited, images, seed, distance)
            metrics[f"counterfactual/end_{name}"] = sfid(originals, ends, images, seed, distance)
            metrics[f"counterfactual/{name}_originals"] = sfid(originals, originals, images, seed, distance)
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


_FAILURES = ("already_target", "not_found", "reconstruction_flip")
_FOUND: tuple[tuple[str, str, Statistic], ...] = (
    ("overshoot_p95", "overshoot", percentile_95),
    ("overshoot_mean", "overshoot", mean),
    ("overshoot_without_bisection_mean", "overshoot_without_bisection", mean),
    ("target_over_source_p95", "target_over_source", percentile_95),
    ("oracle_gain", "oracle_gain", mean),
    ("cout", "cout", mean),
    ("l1", "l1", mean),
    ("l2", "l2", mean),
    ("linf", "linf", mean),
    ("sparsity", "sparsity", mean),
    ("regions", "regions", mean),
    ("ssim", "ssim", mean),
    ("feature_similarity", "feature_similarity", mean),
    ("diversity", "diversity", mean),
    ("monotone_share", "monotone_share", mean),
    ("classifier_evaluations", "classifier_evaluations", mean),
    ("seconds", "seconds", mean),
)
_END = ("end_cout", "end_l1", "end_sparsity")
_END_LOCALISATION = ("end_dice", "end_dice_best", "end_pointing", "end_energy", "outside")
_LOCALISATION = ("dice", "dice_best", "dice_area", "dice_centre", "pointing", "energy", "mask_share")


def _column(name: str) -> Callable[[IndexRow], float | None]:
    return lambda row: getattr(row, name)


def _bkl(row: IndexRow) -> float | None:
    """``1 - f_t`` of one counterfactual, as ``quality.bkl`` has it."""
    return None if row.boundary_target_probability is None else 1 - row.boundary_target_probability


def _figure(
    name: str, rows: Sequence[IndexRow], value: Callable[[IndexRow], float | None], statistic: Statistic, seed: int
) -> dict[str, float]:
    """A figure over the rows that have it, with its interval."""
    pairs = [(row.id, number) for row in rows if (number := value(row)) is not None]
    if not pairs:
        return {}
    values = np.array([float(number) for _, number in pairs])
    low, high = interval(values, [id for id, _ in pairs], statistic, seed)
    return {name: statistic(values, np.ones(len(values))), f"{name}_low": low, f"{name}_high": high}
