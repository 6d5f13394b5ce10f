"""The table of counterfactual metrics: a new one is an entry here and a function that computes it.

Columns of the index, numbers of ``metrics.json``, lines of the console and tables of the benchmarks are made from it.
"""

from __future__ import annotations

from cae.metrics.counterfactual import (
    changed_regions,
    changed_share,
    l1_distance,
    l2_distance,
    linf_distance,
    structural_similarity,
)
from cae.metrics.realism import fid, kid
from cae.metrics.smoothness import backtracking, largest_jump, monotone_share
from cae.metrics.statistics import median, percentile_95
from cae.tables import formulas as f
from cae.tables.metric import Metric, SetMetric, Summary

PROBABILITY, LEVELS, SHARE, IMAGES = "probability", "grey levels, white is 1", "share of the pixels", "images"

SEARCH = (
    Metric(
        "found", bool, "whether there is a counterfactual; all further numbers about one are empty without it",
        f.of_result("found"), better="higher", always=True,
        summaries=(
            Summary(
                "counterfactual/found", "explained", "counterfactual found",
                "images whose decision changes to the target, with the margin asked for",
            ),
        ),
    ),
    Metric("reason", str, "the status in words", f.of_result("reason"), always=True),
    Metric(
        "boundary", float, "share of the path, in (0, 1], after which the decision changes", f.of_result("boundary"),
        unit="share of the path",
    ),
    Metric(
        "source_probability", float, "of the source class, for the original (decoded output: for the reconstruction)",
        f.start_probability("source"), unit=PROBABILITY, always=True,
    ),
    Metric(
        "target_probability", float, "of the target class, for the same image", f.start_probability("target"),
        unit=PROBABILITY, always=True,
    ),
    Metric(
        "boundary_source_probability", float, "of the source class, for the counterfactual",
        f.boundary_probability("source"), unit=PROBABILITY,
    ),
    Metric(
        "boundary_target_probability", float, "of the target class, for the counterfactual",
        f.boundary_probability("target"), unit=PROBABILITY,
        summaries=(
            Summary(
                "counterfactual/bkl", "found", "BKL, 1 - probability of the target", of=lambda p: 1 - p, better="lower",
            ),
        ),
    ),
    Metric(
        "margin", float, "by which the target's probability leads for the counterfactual; without one, for the closest "
        "attempt", f.of_result("margin"), unit=PROBABILITY,
    ),
    Metric(
        "overshoot", float, "margin beyond the one asked for", f.of_result("overshoot"), better="lower",
        unit=PROBABILITY,
        summaries=(
            Summary("counterfactual/overshoot_p95", "found", "overshoot, 95th percentile", statistic=percentile_95),
            Summary("counterfactual/overshoot_mean", "found", "overshoot"),
        ),
    ),
    Metric(
        "overshoot_without_bisection", float, "the same at the first point of the grid that reaches the target",
        f.of_result("overshoot_without_bisection"), better="lower", unit=PROBABILITY,
        summaries=(
            Summary("counterfactual/overshoot_without_bisection_mean", "found", "overshoot without bisection"),
        ),
    ),
    Metric(
        "target_over_source", float, "target's probability minus source's for the counterfactual, minus the margin "
        "asked for", f.target_over_source, better="lower", unit=PROBABILITY,
        summaries=(
            Summary(
                "counterfactual/target_over_source_p95", "found",
                "target over source beyond the margin, 95th percentile", statistic=percentile_95,
            ),
        ),
    ),
    Metric(
        "sign_changes", int, "how often the target is reached or lost along the path; 1 for a clean one",
        f.of_result("sign_changes"), always=True,
    ),
    Metric(
        "monotone_share", float, "share of the path's steps in which the target's probability does not fall",
        f.target_curve(monotone_share), better="higher", unit="share of the steps",
        summaries=(Summary("counterfactual/monotone_share", "found", "steps in which the target does not fall"),),
    ),
    Metric(
        "largest_jump", float, "largest change of that probability in one step", f.target_curve(largest_jump),
        better="lower", unit=PROBABILITY,
    ),
    Metric(
        "backtracking", float, "how far that probability moves beyond its change from start to end",
        f.target_curve(backtracking), better="lower", unit=PROBABILITY,
    ),
    Metric(
        "references", str, "ids of the training images that paths led to, joined by ' | '", f.references, always=True,
    ),
    Metric(
        "averaged", int, "number of references whose differences were averaged", f.of_result("averaged"), always=True,
    ),
)  # fmt: skip

CHANGE = (
    Metric(
        "reconstruction_mae", float, "mean absolute error of the reconstruction", f.reconstruction_mae, better="lower",
        unit=LEVELS, always=True,
    ),
    Metric(
        "l1", float, "mean absolute change from the original to the counterfactual", f.boundary_change(l1_distance),
        better="lower", unit=LEVELS,
        summaries=(Summary("counterfactual/l1", "found", "mean absolute change at the boundary"),),
    ),
    Metric(
        "l2", float, "root of the mean squared change", f.boundary_change(l2_distance), better="lower", unit=LEVELS,
        summaries=(Summary("counterfactual/l2", "found", "root of the mean squared change at the boundary"),),
    ),
    Metric(
        "linf", float, "largest absolute change", f.boundary_change(linf_distance), better="lower", unit=LEVELS,
        summaries=(Summary("counterfactual/linf", "found", "largest change at the boundary"),),
    ),
    Metric(
        "changed_share", float, "pixels that change by more than 0.05", f.boundary_change(changed_share),
        better="lower", unit=SHARE,
        summaries=(Summary("counterfactual/changed_share", "found", "pixels changed at the boundary"),),
    ),
    Metric(
        "regions", int, "number of connected regions of the pixels that changed_share counts",
        f.boundary_change(changed_regions), better="lower",
        summaries=(Summary("counterfactual/regions", "found", "regions changed at the boundary"),),
    ),
    Metric(
        "ssim", float, "structural similarity with the original, 1 for the same image; empty for sides below 11 pixels",
        f.boundary_change(structural_similarity), better="higher",
        summaries=(Summary("counterfactual/ssim", "found", "SSIM of original and counterfactual"),),
    ),
    Metric(
        "feature_similarity", float, "cosine of the classifier's features of the original and of the counterfactual",
        f.similarity_of_features, better="higher",
        summaries=(Summary("counterfactual/feature_similarity", "found", "similarity in the classifier's features"),),
    ),
    Metric(
        "diversity", float, "mean absolute difference between the counterfactuals towards several references",
        f.of_result("diversity"), better="higher", unit=LEVELS,
        summaries=(Summary("counterfactual/diversity", "found", "difference between several counterfactuals"),),
    ),
    Metric(
        "cout", float, "COUT in [-1, 1]: how soon the classifier follows as pixels are copied, most changed first",
        f.boundary_cout, better="higher",
        summaries=(Summary("counterfactual/cout", "found", "COUT of the counterfactual"),),
    ),
    Metric(
        "end_l1", float, "l1 of the image at the end of the path; empty, as all of the end, where there is no path",
        f.end_change(l1_distance), better="lower", unit=LEVELS,
        summaries=(Summary("counterfactual/end_l1", "with_path", "mean absolute change at the end of the path"),),
    ),
    Metric(
        "end_changed_share", float, "changed_share of it", f.end_change(changed_share), better="lower", unit=SHARE,
        summaries=(Summary("counterfactual/end_changed_share", "with_path", "pixels changed at the end of the path"),),
    ),
    Metric(
        "end_cout", float, "cout of it; the counterfactual is barely over the boundary, so that its own is near 0",
        f.end_cout, better="higher",
        summaries=(
            Summary(
                "counterfactual/end_cout", "with_path", "COUT of the path's end",
                "COUT there, from -1 to 1: how few pixels carry the change",
            ),
        ),
    ),
)  # fmt: skip

ORACLE = (
    Metric("end_regions", int, "regions of the change at the end of the path", f.regions),
    Metric(
        "end_regions_kept", int, "those that are evidence: they move the classifier alone, or are missed where all "
        "others are changed", f.regions_kept,
    ),
    Metric(
        "end_regions_alone", str, "by how much each alone, the strongest first, brings the target nearer, as a share "
        "of what all do; joined by ' | '", f.regions_alone,
    ),
    Metric(
        "oracle_source", str, "class that the oracle sees in the original; empty without an oracle",
        f.oracle_class("oracle_original"),
    ),
    Metric(
        "oracle", str, "class that the oracle sees in the counterfactual", f.oracle_class("oracle_counterfactual"),
    ),
    Metric(
        "oracle_agrees", bool, "whether that is the target; at the classifier's boundary, which is not the oracle's, "
        "even a true change convinces the oracle only sometimes: hence the next two",
        f.oracle_agrees("oracle_counterfactual"), better="higher",
        summaries=(
            Summary(
                "counterfactual/validity_oracle", "with_oracle", "found, and the oracle agrees at the boundary",
                "... and the oracle, which no training followed, sees the target too", absent=0.0,
            ),
        ),
    ),
    Metric(
        "oracle_gain", float, "by how much the oracle's probability of the target rises from original to "
        "counterfactual", f.oracle_gain, better="higher", unit=PROBABILITY,
        summaries=(
            Summary(
                "counterfactual/oracle_gain", "found", "by how much the oracle's probability of the target rises",
            ),
        ),
    ),
    Metric(
        "oracle_end_agrees", bool, "whether the oracle sees the target at the end of the path",
        f.oracle_agrees("oracle_end"), better="higher",
        summaries=(
            Summary(
                "counterfactual/validity_oracle_end", "with_oracle",
                "found, and the oracle agrees at the end of the path",
                "... or sees it at the end of the path, well beyond the boundary", absent=0.0,
            ),
        ),
    ),
    Metric(
        "decoded_agrees", bool, "whether the classifier sees the target in the decoder's own image at the boundary",
        f.decoded_agrees, better="higher",
        summaries=(
            Summary(
                "counterfactual/validity_decoded", "explained", "found, and the decoder's image is classified alike",
                absent=0.0,
            ),
        ),
    ),
)  # fmt: skip

LOCALISATION = (
    Metric(
        "dice", float, "overlap of the size of the change, above Otsu's threshold, with the mask; empty where no mask "
        "shows anything", f.saliency_agreement("dice"), better="higher",
        summaries=(Summary("localisation/dice", "with_mask", "Dice at the boundary (Otsu)"),),
    ),
    Metric(
        "dice_best", float, "the same at the best threshold, which nobody knows: an upper bound",
        f.saliency_agreement("dice_best"), better="higher",
        summaries=(Summary("localisation/dice_best", "with_mask", "Dice at the boundary (best threshold)"),),
    ),
    Metric(
        "dice_area", float, "the same for as many top pixels as the mask has", f.saliency_agreement("dice_area"),
        better="higher", summaries=(Summary("localisation/dice_area", "with_mask", "Dice at the mask's area"),),
    ),
    Metric(
        "dice_centre", float, "what a map of the image's centre scores in dice_area",
        f.saliency_agreement("dice_centre"),
        summaries=(
            Summary(
                "localisation/dice_centre", "with_mask", "Dice of a map of the centre (control)",
                "    control: a map of the centre, at the mask's area",
            ),
        ),
    ),
    Metric(
        "pointing", float, "whether the largest change lies in the mask (a share where several are largest)",
        f.saliency_agreement("pointing"), better="higher",
        summaries=(Summary("localisation/pointing", "with_mask", "pointing at the boundary"),),
    ),
    Metric(
        "energy", float, "share of the change that lies in the mask", f.saliency_agreement("energy"), better="higher",
        summaries=(Summary("localisation/energy", "with_mask", "change in the mask at the boundary"),),
    ),
    Metric(
        "end_dice", float, "dice of the evidence, which is the change at the end of the path; also where none was "
        "found, and 0 where the path changes nothing, as all four of the end", f.evidence_agreement("dice"),
        better="higher",
        summaries=(
            Summary(
                "localisation/end_dice", "with_path", "Dice (Otsu)",
                "Dice of the evidence (change at the path's end, Otsu's threshold) and the mask",
            ),
        ),
    ),
    Metric(
        "end_dice_best", float, "dice_best of the evidence", f.evidence_agreement("dice_best"), better="higher",
        summaries=(Summary("localisation/end_dice_best", "with_path", "Dice (best threshold)"),),
    ),
    Metric(
        "end_pointing", float, "pointing of the evidence", f.evidence_agreement("pointing"), better="higher",
        summaries=(
            Summary("localisation/end_pointing", "with_path", "pointing", "largest evidence inside the mask"),
        ),
    ),
    Metric(
        "end_energy", float, "energy of the evidence", f.evidence_agreement("energy"), better="higher",
        summaries=(Summary("localisation/end_energy", "with_path", "evidence in the mask"),),
    ),
    Metric(
        "outside", float, "pixels that, at the end of the path, have changed by more than 0.05 and are more than 5 "
        "pixels off the mask", f.outside, better="lower", unit=SHARE,
        summaries=(
            Summary("localisation/outside", "with_path", "changed outside"),
            Summary(
                "localisation/outside_median", "with_path", "changed outside, median",
                "pixels changed at the path's end more than 5 pixels off the mask, median", statistic=median,
            ),
        ),
    ),
    Metric(
        "mask_share", float, "share of the image in the mask: what a random map scores in pointing, energy and "
        "dice_area", f.saliency_agreement("mask_share"), unit=SHARE,
        summaries=(
            Summary(
                "localisation/mask_share", "with_mask", "share of the image in the mask (control)",
                "    control: a random map",
            ),
        ),
    ),
)  # fmt: skip

COST = (
    Metric(
        "classifier_evaluations", int, "images classified in the search", f.of_result("classifier_evaluations"),
        better="lower", unit=IMAGES, always=True,
        summaries=(Summary("counterfactual/classifier_evaluations", "found", "images classified in one search"),),
    ),
    Metric(
        "decoder_evaluations", int, "images decoded in the search", f.of_result("decoder_evaluations"), better="lower",
        unit=IMAGES, always=True,
    ),
    Metric(
        "seconds", float, "of the search, pictures and scores left out", f.of_result("seconds"), better="lower",
        unit="seconds", always=True,
        summaries=(Summary("counterfactual/seconds", "found", "seconds of search for one image"),),
    ),
)  # fmt: skip

METRICS: tuple[Metric, ...] = (*SEARCH, *CHANGE, *ORACLE, *LOCALISATION, *COST)


def _more_than(width: int) -> int:
    return width + 1


def _two(width: int) -> int:
    return 2


SET_METRICS = (
    SetMetric("counterfactual/sfid", 1, fid, _more_than, "sFID of the counterfactuals", better="lower"),
    SetMetric(
        "counterfactual/end_sfid", 2, fid, _more_than, "sFID of the paths' ends",
        "sFID there: how far from other images, in the classifier's features", better="lower",
    ),
    SetMetric(
        "counterfactual/sfid_originals", 0, fid, _more_than, "sFID of other originals (control)",
        "    control: the same for other originals",
    ),
    SetMetric("counterfactual/skid", 1, kid, _two, "sKID of the counterfactuals", better="lower"),
    SetMetric("counterfactual/end_skid", 2, kid, _two, "sKID of the paths' ends", better="lower"),
    SetMetric("counterfactual/skid_originals", 0, kid, _two, "sKID of other originals (control)"),
)  # fmt: skip
