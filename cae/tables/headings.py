"""Headings of the numbers over explained images, and those of them that the console shows."""

from __future__ import annotations

from cae.tables.metric import ARROWS
from cae.tables.metric_table import METRICS, SET_METRICS

CONSOLE = (
    "counterfactual/found",
    "counterfactual/validity_oracle",
    "counterfactual/validity_oracle_end",
    "counterfactual/oracle_gain",
    "counterfactual/l1",
    "counterfactual/end_l1",
    "counterfactual/end_cout",
    "counterfactual/end_sfid",
    "counterfactual/sfid_originals",
    "localisation/end_dice",
    "localisation/dice_centre",
    "localisation/end_pointing",
    "localisation/mask_share",
    "localisation/outside_median",
    "counterfactual/seconds",
)


def titles() -> dict[str, str]:
    """Heading of every number in ``metrics.json`` that is made here, with an arrow to where it is better."""
    found = {s.name: s.title + ARROWS[s.better or metric.better] for metric in METRICS for s in metric.summaries}
    return found | {metric.name: metric.title + ARROWS[metric.better] for metric in SET_METRICS}


def console_lines() -> list[tuple[str, str]]:
    """Name and words of the numbers that the console shows, in its order."""
    words = {summary.name: summary.line or summary.title for metric in METRICS for summary in metric.summaries}
    words |= {metric.name: metric.line or metric.title for metric in SET_METRICS}
    return [(name, words[name]) for name in CONSOLE]
