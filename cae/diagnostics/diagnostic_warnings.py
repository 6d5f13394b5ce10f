"""What the diagnostics should make a reader wary of, in words."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence


def diagnostic_warnings(metrics: Mapping[str, float], classes: Sequence[str]) -> list[str]:
    """Sentences about what is wrong with the embedding, by the thresholds of training; empty if nothing is."""
    found: list[str] = []
    for check in (_code_warnings, _class_warnings, _oracle_warnings):
        found += check(metrics, len(classes))
    return found


def _code_warnings(metrics: Mapping[str, float], classes: int) -> list[str]:
    found = []
    ratio, dimensions = metrics.get("cae/participation_ratio", math.inf), metrics.get("cae/class_dim", 0)
    if ratio < 1.5 and dimensions > 2:
        found.append(
            f"the class codes fill {ratio:.2f} of {dimensions:.0f} dimensions: they have collapsed to about a line. "
            "Raise cae.loss.variance and cae.loss.covariance, or lower cae.model.class_dim."
        )
    share = metrics.get("cae/smallest_std_share", 1.0)
    if share < 0.05:
        found.append(
            f"the weakest dimension of the class code varies {share:.1%} as much as the strongest (expected at least "
            "5 %): it is dead. Lower cae.model.class_dim or raise cae.loss.variance."
        )
    leak, limit = (
        metrics.get("cae/individual_probe", 0.0),
        metrics.get("cae/individual_probe_chance", 1 / classes) + 0.10,
    )
    if leak > limit:
        found.append(
            f"the class can be read from the individual code with balanced accuracy {leak:.2f} (expected at most "
            f"{limit:.2f}): class evidence leaks past the class code. Raise cae.loss.leakage or lower "
            "cae.model.individual_channels, which costs detail."
        )
    return found


def _class_warnings(metrics: Mapping[str, float], classes: int) -> list[str]:
    found = []
    kept = metrics.get("cae/reconstruction_consistency", 1.0)
    if kept < 0.95:
        found.append(
            f"only {kept:.1%} of the reconstructions keep the classifier's class (expected at least 95 %). Train "
            "longer or raise cae.loss.reconstruction."
        )
    rate = metrics.get("cae/reassignment", 1.0)
    if rate < 1 / classes:
        found.append(
            f"only {rate:.1%} of the swaps take over the donor's class, less than the {1 / classes:.1%} of a guess. "
            "Train longer or raise cae.loss.coherency."
        )
    return found


def _oracle_warnings(metrics: Mapping[str, float], classes: int) -> list[str]:
    target, oracle = metrics.get("cae/reassignment"), metrics.get("cae/reassignment_oracle")
    if target is None or oracle is None or target - oracle <= 0.20:
        return []
    return [
        f"the classifier follows {target:.1%} of the swaps, an oracle that no training followed only {oracle:.1%}: the "
        "edits may be noise made for the classifier's weights. Lower cae.loss.coherency, switch on cae.robust_views, "
        "or raise cae.loss.adversarial."
    ]
