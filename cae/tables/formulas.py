"""Formulas of the metrics: what each column of the index is computed from, None where that is missing."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from torch import Tensor

from cae.metrics.counterfactual import changed_outside, cout
from cae.metrics.realism import feature_similarity
from cae.tables.scored_result import ScoredResult

Formula = Callable[[ScoredResult], Any]
PairMeasure = Callable[[Tensor, Tensor], "Tensor | None"]


def of_result(name: str) -> Formula:
    """An attribute of the result."""
    return lambda scored: getattr(scored.result, name)


def references(scored: ScoredResult) -> str:
    """Ids of the references in one text."""
    return " | ".join(scored.result.reference_ids)


def start_probability(of: str) -> Formula:
    """Probability of the class ``source`` or ``target`` at the start of the path."""
    return lambda scored: scored.result.path_probabilities[0, getattr(scored.result, of)]


def boundary_probability(of: str) -> Formula:
    """Probability of the class ``source`` or ``target`` for the counterfactual."""

    def formula(scored: ScoredResult) -> Tensor | None:
        found = scored.result.boundary_probabilities
        return None if found is None else found[getattr(scored.result, of)]

    return formula


def target_over_source(scored: ScoredResult) -> float | None:
    """Target's probability minus source's at the boundary, minus the margin asked for."""
    result = scored.result
    if result.boundary_probabilities is None:
        return None
    lead = result.boundary_probabilities[result.target] - result.boundary_probabilities[result.source]
    return float(lead) - scored.margin


def target_curve(measure: Callable[[Tensor], Tensor]) -> Formula:
    """A measure of the target's probability ``(G,)`` along the path."""

    def formula(scored: ScoredResult) -> Tensor | None:
        result = scored.result
        return measure(result.path_probabilities[:, result.target]) if result.has_path else None

    return formula


def reconstruction_mae(scored: ScoredResult) -> Tensor:
    """Mean absolute error of the reconstruction."""
    return scored.result.reconstruction_error.mean()


def boundary_change(measure: PairMeasure) -> Formula:
    """A measure of the pair original and counterfactual, ``(1, C, H, W)`` each."""

    def formula(scored: ScoredResult) -> Tensor | None:
        edited = scored.result.counterfactual
        return None if edited is None else measure(scored.result.original[None], edited[None])

    return formula


def end_change(measure: PairMeasure) -> Formula:
    """A measure of the pair original and end of the path, ``(1, C, H, W)`` each."""

    def formula(scored: ScoredResult) -> Tensor | None:
        end = scored.result.end
        return None if end is None else measure(scored.result.original[None], end[None])

    return formula


def boundary_cout(scored: ScoredResult) -> float | None:
    """COUT of the counterfactual."""
    return _cout(scored, scored.result.counterfactual)


def end_cout(scored: ScoredResult) -> float | None:
    """COUT of the end of the path."""
    return _cout(scored, scored.result.end)


def regions(scored: ScoredResult) -> int | None:
    """How many regions the change at the end of the path has."""
    effects = scored.result.region_effects
    return None if effects is None else len(effects)


def regions_kept(scored: ScoredResult) -> int | None:
    """How many of them are evidence."""
    kept = scored.result.regions_kept
    return None if kept is None else int(kept.sum())


def regions_alone(scored: ScoredResult) -> str | None:
    """What each of them does alone, joined by ' | '."""
    effects = scored.result.region_effects
    return None if effects is None else " | ".join(f"{share:.2f}" for share in effects[:, 0].tolist())


def _cout(scored: ScoredResult, edited: Tensor | None) -> float | None:
    if edited is None:
        return None
    result = scored.result
    value = cout(
        scored.probabilities, result.original, edited, result.source, result.target,
        batch_size=scored.batch_size, seed=result.seed,
    ).value  # fmt: skip
    return value if math.isfinite(value) else None


def similarity_of_features(scored: ScoredResult) -> Tensor | None:
    """Cosine of the features of original and counterfactual."""
    features = scored.features
    return None if features is None else feature_similarity(features[:1], features[1:2])


def oracle_class(of: str) -> Formula:
    """Name of the class that the oracle sees in ``oracle_original`` or ``oracle_counterfactual``."""

    def formula(scored: ScoredResult) -> str | None:
        probabilities = getattr(scored, of)
        return None if probabilities is None else scored.result.classes[int(probabilities.argmax())]

    return formula


def oracle_agrees(of: str) -> Formula:
    """Whether the oracle sees the target in ``oracle_counterfactual`` or ``oracle_end``."""

    def formula(scored: ScoredResult) -> bool | None:
        probabilities = getattr(scored, of)
        return None if probabilities is None else int(probabilities.argmax()) == scored.result.target

    return formula


def oracle_gain(scored: ScoredResult) -> Tensor | None:
    """Rise of the oracle's probability of the target from original to counterfactual."""
    if scored.oracle_original is None or scored.oracle_counterfactual is None:
        return None
    target = scored.result.target
    return scored.oracle_counterfactual[target] - scored.oracle_original[target]


def decoded_agrees(scored: ScoredResult) -> bool | None:
    """Whether the decoder's own image at the boundary is classified as the target."""
    return None if scored.decoded_prediction is None else scored.decoded_prediction == scored.result.target


def saliency_agreement(name: str) -> Formula:
    """How the size of the difference agrees with the mask: a field of ``Localisation``."""
    return lambda scored: None if scored.localisation is None else getattr(scored.localisation, name)


def evidence_agreement(name: str) -> Formula:
    """The same of the evidence; 0 where the path changes nothing."""
    return lambda scored: None if scored.end_localisation is None else getattr(scored.end_localisation, name) or 0.0


def outside(scored: ScoredResult) -> Tensor | None:
    """Share of the image that changes along the path off the mask."""
    if scored.mask is None or scored.end_localisation is None:
        return None
    path = scored.result.path_images
    return changed_outside(path[:1], path[-1:], scored.mask[None])
