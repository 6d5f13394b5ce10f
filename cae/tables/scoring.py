"""What the oracle and the classifier see in results: everything that the metrics of one need, found in batches."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from cae.counterfactuals.path_search import round_to_8_bits
from cae.counterfactuals.result import Counterfactual
from cae.runs.trained_run import TrainedRun
from cae.tables.scored_result import ScoredResult


@torch.no_grad()
def score(run: TrainedRun, results: Sequence[Counterfactual], masks: Sequence[Tensor | None]) -> list[ScoredResult]:
    """Ask the oracle about originals and counterfactuals, and the classifier about the decoder's own images.

    Args:
        run: with which the results were found.
        results: of any status.
        masks: ``(1, H, W)`` bool of each, or None.
    """
    found = [result for result in results if result.counterfactual is not None]
    decoded = iter(_decoded_predictions(run, found))
    edited = iter(_oracle_probabilities(run, [r.counterfactual for r in found if r.counterfactual is not None]))
    features = iter(_features(run, found))
    ends = iter(_oracle_probabilities(run, [result.path_images[-1] for result in found]))
    originals = _oracle_probabilities(run, [result.original for result in results])
    options = run.config.counterfactual

    def probabilities(images: Tensor) -> Tensor:
        return run.classifier.probabilities(images.to(run.device))

    scored = []
    for result, mask, before in zip(results, masks, originals, strict=True):
        seen = (next(edited), next(ends), next(decoded), next(features)) if result.found else ()
        scored.append(ScoredResult(result, probabilities, options.margin, options.batch_size, mask, before, *seen))
    return scored


def boundary_code(result: Counterfactual) -> Tensor:
    """Class code ``(D,)`` at the boundary of a counterfactual that was found, between two points of its path."""
    if result.boundary is None:
        raise ValueError(f"'{result.id}' has no boundary: its status is {result.status}.")
    tau = result.tau
    after = min(max(int((tau < result.boundary).sum()), 1), len(tau) - 1)
    share = (result.boundary - float(tau[after - 1])) / float(tau[after] - tau[after - 1])
    return torch.lerp(result.path_codes[after - 1], result.path_codes[after], share)


def _oracle_probabilities(run: TrainedRun, images: Sequence[Tensor]) -> list[Tensor | None]:
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


def _decoded_predictions(run: TrainedRun, found: Sequence[Counterfactual]) -> list[int]:
    """Classes predicted for G(c, s) at the boundary, without the detail that the original lends."""
    predicted: list[int] = []
    size = run.config.counterfactual.batch_size
    for start in range(0, len(found), size):
        part = found[start : start + size]
        individual = run.cae.encode(torch.stack([r.original for r in part]).to(run.device)).individual_code
        codes = torch.stack([boundary_code(r) for r in part]).to(run.device)
        images = round_to_8_bits(run.cae.decode(codes, individual))
        predicted += run.classifier.probabilities(images).argmax(1).tolist()
    return predicted
