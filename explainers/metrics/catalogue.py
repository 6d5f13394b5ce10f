"""Every metric by name: which direction is better, what it says in words, and its range."""

from __future__ import annotations

from math import inf
from typing import Literal, NamedTuple

Better = Literal["high", "low"]
CONTROL = "random order"


class Metric(NamedTuple):
    """What a number means.

    Attributes:
        better: the direction that is good; None where the number only describes.
        words: what it says.
        range: smallest and largest value.
        correlation: averaged after Fisher's z.
        against_random: printed with the mean of random orders and the difference to it.
    """

    better: Better | None
    words: str
    range: tuple[float, float]
    correlation: bool = False
    against_random: bool = False


def _removal(better: Better, words: str, range: tuple[float, float]) -> Metric:
    """A metric of removal, which scattered removal of anything moves: it needs the random orders beside it."""
    return Metric(better, words, range, against_random=True)


SHARE, SIGNED, POSITIVE, ANY = (0.0, 1.0), (-1.0, 1.0), (0.0, inf), (-inf, inf)

METRICS: dict[str, Metric] = {
    # faithfulness by removal
    "deletion_auc": _removal("low", "area under the score as cells are greyed out, most relevant first", SHARE),
    "insertion_auc": _removal("high", "area under the score as they are put back into the blurred image", SHARE),
    "ins_minus_del": _removal("high", "insertion minus deletion", SIGNED),
    "deletion_norm": _removal("low", "deletion on the scale from the image's score (1) to the greyed one's (0)", ANY),
    "deletion_infill": _removal("low", "deletion where removed cells are filled in from the rest", SHARE),
    "deletion_auc_pixels": _removal("low", "deletion of single pixels, which scattered grey destroys", SHARE),
    "insertion_auc_pixels": _removal("high", "insertion of single pixels", SHARE),
    "ins_minus_del_pixels": _removal("high", "insertion minus deletion of single pixels", SIGNED),
    "aopc_morf": _removal("high", "mean drop over the first 30 % of cells, most relevant first", SIGNED),
    "aopc_lerf": _removal("low", "the same, least relevant first", SIGNED),
    "abpc": _removal("high", "aopc_morf minus aopc_lerf", SIGNED),
    "comprehensiveness": _removal("high", "mean drop without the top 1, 5, 10, 20, 50 % of cells", SIGNED),
    "sufficiency_eraser": _removal("low", "mean drop with these cells alone", SIGNED),
    "road": _removal("high", "gap of least and most relevant pixels imputed, halved, in probability", (-0.5, 0.5)),
    "road_morf": _removal("low", "probability with the most relevant 10..90 % of pixels imputed", SHARE),
    "road_lerf": _removal("high", "probability with the least relevant 10..90 % of pixels imputed", SHARE),
    "road_accuracy": _removal("high", "the same gap, of the share of kept predictions", (-0.5, 0.5)),
    "road_accuracy_morf": _removal("low", "share of kept predictions with the most relevant pixels imputed", SHARE),
    "road_accuracy_lerf": _removal("high", "share of kept predictions with the least relevant pixels imputed", SHARE),
    "irof": _removal("high", "area over the score as superpixels take the mean colour", (-inf, 1.0)),
    # faithfulness by correlation or error
    "faithfulness_corr": Metric("high", "correlation of map sums and drops, 50 sets of 10 % of cells", SIGNED, True),
    "sensitivity_n": Metric("high", "the same over sets of 1 to 75 %", SIGNED, True),
    "infidelity": Metric("low", "squared gap of the best-scaled map's sums and drops over 50 patches", POSITIVE),
    "infidelity_raw": Metric("low", "the same without scaling; depends on the units of the map", POSITIVE),
    "completeness_gap": Metric("low", "relative gap of the map's sum and the score difference it claims", POSITIVE),
    # localisation
    "pointing": Metric("high", "share of the largest values inside the mask", SHARE),
    "pointing_tolerant": Metric("high", "the same, 15 pixels at 224 around the mask allowed", SHARE),
    "energy_pointing": Metric("high", "share of the positive mass inside the mask", SHARE),
    "iou_area": Metric("high", "overlap with the mask of as many top pixels", SHARE),
    "iou_top20": Metric("high", "overlap with the mask of the top 20 % of pixels", SHARE),
    "iou_otsu": Metric("high", "overlap with the mask of pixels above Otsu's threshold", SHARE),
    "dice_otsu": Metric("high", "Dice with the mask of pixels above Otsu's threshold", SHARE),
    "iou_auc": Metric("high", "mean overlap over thresholds at 1..99 % of the area", SHARE),
    "iou_oracle": Metric("high", "overlap at the threshold that suits the mask; no method knows it", SHARE),
    "auprc": Metric("high", "average precision of pixels against the mask", SHARE),
    "auroc": Metric("high", "ROC area of pixels against the mask; chance is 0.5", SHARE),
    "rank_accuracy": Metric("high", "share inside the mask of as many top pixels", SHARE),
    "ehr": Metric("high", "effective heat ratio; also rewards flat hot maps", SHARE),
    "ehr_count": Metric("high", "the same, counting pixels", SHARE),
    "mask_share": Metric(None, "share of the image in the mask: chance of most localisation metrics", SHARE),
    # robustness and sanity
    "sensitivity_max": Metric("low", "largest relative change of the map under noise of 0.02", POSITIVE),
    "seed_change": Metric("low", "relative change of the map with another seed", POSITIVE),
    "mprt": Metric("low", "rank correlation with maps of re-initialised classifiers, mean of stages", SIGNED, True),
    "mprt_abs": Metric("low", "the same of absolute values", SIGNED, True),
    "mprt_ssim": Metric("low", "structural similarity with these maps", SIGNED, True),
    "mprt_last": Metric("low", "rank correlation with the map of the wholly re-initialised classifier", SIGNED, True),
    "mprt_abs_last": Metric("low", "the same of absolute values", SIGNED, True),
    "mprt_ssim_last": Metric("low", "structural similarity with that map", SIGNED, True),
    "random_logit": Metric("low", "rank correlation with the map of another class", SIGNED, True),
    # complexity and conditions of the measurement
    "gini": Metric(None, "Gini coefficient of absolute values: 0 even, 1 concentrated", SHARE),
    "entropy": Metric(None, "entropy of absolute values, in nats", POSITIVE),
    "effective_area": Metric(None, "share of the image over which the map spreads", SHARE),
    "tie_share_cells": Metric(None, "share of cells whose value another cell has already", SHARE),
    "tie_share_pixels": Metric(None, "share of pixels whose value another pixel has already", SHARE),
    "insertion_start": Metric(None, "score that insertion starts from, as a share; above 0.5 it tells little",
                              POSITIVE),
    # counterfactuals
    "valid": Metric("high", "share of counterfactuals that the classifier gives to the target", SHARE),
    "cout": Metric("high", "area between target and source as pixels are copied, most changed first", SIGNED),
    "l1": Metric("low", "mean absolute edit", SHARE),
    "l2": Metric("low", "root mean square edit", SHARE),
    "linf": Metric("low", "largest edit", SHARE),
    "changed_share": Metric("low", "share of pixels edited by more than 0.05", SHARE),
    "changed_regions": Metric(None, "number of connected regions of these pixels", POSITIVE),
    # cost
    "metric_evaluations": Metric(None, "images scored to measure this row", POSITIVE),
    "evaluations": Metric("low", "images scored by the classifier to explain one image", POSITIVE),
    "seconds": Metric("low", "wall time to explain one image", POSITIVE),
}  # fmt: skip

# planned before anything was measured: each removal metric as its excess over random orders
PLANNED = ("deletion_auc_excess", "insertion_auc_excess", "deletion_infill_excess", "comprehensiveness_excess",
           "road_excess", "mprt", "evaluations")  # fmt: skip
LOCATED = ("pointing", "auprc")  # what a mask is needed for
HEADLINE = (*PLANNED[:-1], *LOCATED, "evaluations")  # what the main table shows
AGAINST_RANDOM = tuple(name for name, metric in METRICS.items() if metric.against_random)


def describe(name: str) -> Metric:
    """A metric by name, also with the suffix ``_excess`` or ``_range``; unknown names have no direction."""
    base, _, suffix = name.rpartition("_")
    if suffix == "excess" and base in METRICS:
        return Metric("high", f"{base}, how much better than random orders", ANY)
    if suffix == "range" and base in METRICS:
        return Metric(None, f"{base}, from smallest to largest over three orders of tied units", POSITIVE)
    return METRICS.get(name, Metric(None, name.replace("_", " "), ANY))
