"""From counterfactuals to rows of the index: what the oracle says, how small the change is, where it lies."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from cae.counterfactuals.path_search import round_to_8_bits
from cae.counterfactuals.result import Counterfactual
from cae.data import Sample
from cae.metrics.counterfactual import (
    changed_outside,
    changed_regions,
    changed_share,
    cout,
    l1_distance,
    l2_distance,
    linf_distance,
    structural_similarity,
)
from cae.metrics.localisation import Localisation, localise
from cae.metrics.realism import feature_similarity
from cae.metrics.smoothness import backtracking, largest_jump, monotone_share
from cae.runs.trained_run import TrainedRun
from cae.tables.index import IndexRow


@dataclass(frozen=True, eq=False)
class OracleScores:
    """What others see in one result: the oracle's answers ``(K,)``, and the classifier's verdict on the decoded image.

    ``features (3, F)`` are the classifier's of the original, the counterfactual and the end of the path. All are None
    where there is no oracle, or no counterfactual (for ``original``: no oracle).
    """

    original: Tensor | None = None
    counterfactual: Tensor | None = None
    end: Tensor | None = None
    decoded: int | None = None
    features: Tensor | None = None


@dataclass(frozen=True)
class Files:
    """Pictures of one result, relative to the index; None where not written."""

    strip: str | None = None
    gif: str | None = None


@torch.no_grad()
def opinions(run: TrainedRun, results: Sequence[Counterfactual]) -> list[OracleScores]:
    """Ask the oracle about originals and counterfactuals, and the classifier about the decoder's own images."""
    found = [result for result in results if result.counterfactual is not None]
    decoded = iter(_decoded_verdicts(run, found))
    edited = iter(_oracle_answers(run, [r.counterfactual for r in found if r.counterfactual is not None]))
    features = iter(_features(run, found))
    ends = iter(_oracle_answers(run, [result.path_images[-1] for result in found]))
    originals = _oracle_answers(run, [result.original for result in results])
    return [
        OracleScores(before, next(edited), next(ends), next(decoded), next(features))
        if result.found
        else OracleScores(before)
        for result, before in zip(results, originals, strict=True)
    ]


def boundary_code(result: Counterfactual) -> Tensor:
    """Class code ``(D,)`` at the boundary of a counterfactual that was found, between two points of its path."""
    if result.boundary is None:
        raise ValueError(f"'{result.id}' has no boundary: its status is {result.status}.")
    tau = result.tau
    after = min(max(int((tau < result.boundary).sum()), 1), len(tau) - 1)
    share = (result.boundary - float(tau[after - 1])) / float(tau[after] - tau[after - 1])
    return torch.lerp(result.path_codes[after - 1], result.path_codes[after], share)


def index_row(
    run: TrainedRun, result: Counterfactual, sample: Sample, place: int, opinion: OracleScores, files: Files
) -> IndexRow:
    """The row of one result."""
    source, target = result.source, result.target
    classes, answers, reached = result.classes, result.path_probabilities, result.boundary_probabilities
    margin = run.config.counterfactual.margin
    walked = len(result.tau) > 1
    curve = answers[:, target]
    where, similar = _localised(result, sample), opinion.features
    return IndexRow(
        image=place,
        id=result.id,
        label=run.classes[sample.label] if sample.label >= 0 else None,
        source=result.source_class,
        target=result.target_class,
        status=result.status,
        found=result.found,
        reason=result.reason,
        boundary=result.boundary,
        source_probability=float(answers[0, source]),
        target_probability=float(answers[0, target]),
        boundary_source_probability=None if reached is None else float(reached[source]),
        boundary_target_probability=None if reached is None else float(reached[target]),
        margin=result.margin,
        overshoot=result.overshoot,
        overshoot_without_bisection=result.overshoot_without_bisection,
        target_over_source=None if reached is None else float(reached[target] - reached[source]) - margin,
        sign_changes=result.sign_changes,
        monotone_share=float(monotone_share(curve)) if walked else None,
        largest_jump=float(largest_jump(curve)) if walked else None,
        backtracking=float(backtracking(curve)) if walked else None,
        references=" | ".join(result.reference_ids),
        averaged=result.averaged,
        reconstruction_mae=float(result.reconstruction_error.mean()),
        **_change(run, result),
        **_end_change(run, result),
        feature_similarity=None if similar is None else float(feature_similarity(similar[:1], similar[1:2])),
        diversity=result.diversity,
        oracle_source=_verdict(classes, opinion.original),
        oracle=_verdict(classes, opinion.counterfactual),
        oracle_agrees=_sees(opinion.counterfactual, target),
        oracle_gain=_gain(opinion, target),
        oracle_end_agrees=_sees(opinion.end, target),
        decoded_agrees=None if opinion.decoded is None else opinion.decoded == target,
        dice=where.dice if where else None,
        dice_best=where.dice_best if where else None,
        dice_area=where.dice_area if where else None,
        dice_centre=where.dice_centre if where else None,
        pointing=where.pointing if where else None,
        energy=where.energy if where else None,
        **_end_localised(result, sample),
        mask_share=where.mask_share if where else None,
        classifier_evaluations=result.classifier_evaluations,
        decoder_evaluations=result.decoder_evaluations,
        seconds=result.seconds,
        strip=files.strip,
        gif=files.gif,
    )


def _change(run: TrainedRun, result: Counterfactual) -> dict[str, Any]:
    """Size of the change, and how soon the classifier follows it."""
    if result.counterfactual is None:
        return dict.fromkeys(("l1", "l2", "linf", "sparsity", "regions", "ssim", "cout"))
    original, edited = result.original[None], result.counterfactual[None]
    similarity = structural_similarity(original, edited)
    return {
        "l1": float(l1_distance(original, edited)),
        "l2": float(l2_distance(original, edited)),
        "linf": float(linf_distance(original, edited)),
        "sparsity": float(changed_share(original, edited)),
        "regions": int(changed_regions(original, edited)),
        "ssim": None if similarity is None else float(similarity),
        "cout": _cout(run, result, result.counterfactual),
    }


def _end_change(run: TrainedRun, result: Counterfactual) -> dict[str, Any]:
    """The same of the image at the end of the path."""
    if len(result.tau) == 1:
        return dict.fromkeys(("end_l1", "end_sparsity", "end_cout"))
    original, end = result.original[None], result.path_images[-1][None]
    return {
        "end_l1": float(l1_distance(original, end)),
        "end_sparsity": float(changed_share(original, end)),
        "end_cout": _cout(run, result, end[0]),
    }


def _cout(run: TrainedRun, result: Counterfactual, edited: Tensor) -> float | None:
    curves = cout(
        lambda images: run.classifier.probabilities(images.to(run.device)), result.original, edited, result.source,
        result.target, batch_size=run.config.counterfactual.batch_size, seed=result.seed,
    )  # fmt: skip
    return curves.value if math.isfinite(curves.value) else None


def _localised(result: Counterfactual, sample: Sample) -> Localisation | None:
    if result.saliency is None or sample.mask is None:
        return None
    return localise(result.saliency[0], sample.mask[0])


def _end_localised(result: Counterfactual, sample: Sample) -> dict[str, Any]:
    """Where the evidence lies, and how much of the image changes elsewhere."""
    names = ("end_dice", "end_dice_best", "end_pointing", "end_energy", "outside")
    evidence, mask = result.evidence, sample.mask
    where = None if evidence is None or mask is None else localise(evidence[0], mask[0])
    if where is None or mask is None:
        return dict.fromkeys(names)
    found = (where.dice, where.dice_best, where.pointing, where.energy)
    path = result.path_images
    outside = float(changed_outside(path[:1], path[-1:], mask[None]))
    return dict(zip(names, (*(value or 0.0 for value in found), outside), strict=True))


def _verdict(classes: Sequence[str], answer: Tensor | None) -> str | None:
    return None if answer is None else classes[int(answer.argmax())]


def _sees(answer: Tensor | None, target: int) -> bool | None:
    return None if answer is None else int(answer.argmax()) == target


def _gain(opinion: OracleScores, target: int) -> float | None:
    if opinion.original is None or opinion.counterfactual is None:
        return None
    return float(opinion.counterfactual[target] - opinion.original[target])


def _oracle_answers(run: TrainedRun, images: Sequence[Tensor]) -> list[Tensor | None]:
    """The oracle's probabilities ``(K,)`` for each image; None for each without an oracle."""
    if run.oracle is None or not images:
        return [None] * len(images)
    parts = torch.stack(list(images)).split(run.config.counterfactual.batch_size)
    return list(torch.cat([run.oracle.probabilities(part.to(run.device)).cpu() for part in parts]))


def _features(run: TrainedRun, found: Sequence[Counterfactual]) -> list[Tensor]:
    """The classifier's features ``(3, F)`` of each original, its counterfactual and the end of its path."""
    triples = [(r.original, r.counterfactual, r.path_images[-1]) for r in found if r.counterfactual is not None]
    if not triples:
        return []
    parts = torch.stack([image for triple in triples for image in triple]).split(run.config.counterfactual.batch_size)
    features = torch.cat([run.classifier.features(part.to(run.device)).float().cpu() for part in parts])
    return list(features.unflatten(0, (len(triples), 3)))


def _decoded_verdicts(run: TrainedRun, found: Sequence[Counterfactual]) -> list[int]:
    """The classifier's verdicts on G(c, s) at the boundary, without the detail that the original lends."""
    verdicts: list[int] = []
    size = run.config.counterfactual.batch_size
    for start in range(0, len(found), size):
        part = found[start : start + size]
        individual = run.cae.encode(torch.stack([r.original for r in part]).to(run.device)).individual_code
        codes = torch.stack([boundary_code(r) for r in part]).to(run.device)
        images = round_to_8_bits(run.cae.decode(codes, individual))
        verdicts += run.classifier.probabilities(images).argmax(1).tolist()
    return verdicts
