"""The outcome of a search as the ``extras`` of an explanation.

Keys, one dict per image; K explanations, N candidates:

* ``status``: ``ok``; ``background_sufficient`` (the fill alone has the class, so nothing can be explained);
  ``target_not_top1`` and ``none_found``; ``budget`` (no mask could be certified in time: one sufficient mask is given
  all the same, the full image if nothing less was found).
* ``masks`` (K, H, W) bool, the explanations, smallest first; ``count`` K; ``pixels``, ``sizes`` (share of the image).
* ``confidences``, ``relative_confidences`` (over the full image's), ``margins`` to the ``runner_up`` class: of each
  explanation alone. ``complement_confidences``: of the image with the explanation hidden; None where the budget ended.
* ``certificates``: for each explanation ``finest`` (tile side in pixels), ``levels``, ``tests``, ``closest``. With
  status ``ok`` each has one; at twice or four times the coarsest of ``tiles`` where the budget was short.
* ``candidates`` (N, H, W) bool, all sufficient masks found; ``candidate_confidences``; ``dice`` (N, N).
* ``separation_exact``: no larger compatible set of the candidates exists.
* ``evaluations`` by stage, with ``total`` (the image itself included); ``cache_hits``; ``budget``.
* ``front``: (pixels, confidence) of the best masks of each size that were judged.
* ``map``: ``evidence`` or ``responsibility``. ``contrastive`` and ``curve`` where asked for.
"""

from __future__ import annotations

from typing import Any, Protocol

import torch
from torch import Tensor

from explainers.multirex.contrastive import Contrast, contrastive, growth
from explainers.multirex.disjoint_sets import dice_matrix, separate
from explainers.multirex.evaluation_budget import EvaluationBudget
from explainers.multirex.extraction import Candidate
from explainers.multirex.search import SearchResult
from explainers.multirex.sufficiency import BudgetSpent, MaskScore, Request, Search


class Hunting(Protocol):
    """What a search of one image must offer to be recorded."""

    ledger: EvaluationBudget
    shape: tuple[int, int]
    ranking: Tensor | None
    side: int

    def run(self) -> Search[SearchResult]:
        """Search."""


def extras_of(
    hunt: Hunting, whole: float, *, contrastive: bool, curve: bool
) -> Search[tuple[SearchResult, dict[str, Any]]]:
    """Run a search and record what it found; ``whole`` is the probability of the target on the full image."""
    catch = yield from hunt.run()
    complements = yield from _complements(catch.chosen)
    extras = _record(hunt, catch, whole, complements)
    ranking = catch.attribution
    if contrastive and catch.chosen and ranking is not None:
        hunt.ledger.stage = "contrastive"
        extras["contrastive"] = _plain_contrast((yield from _contrast(hunt, catch, ranking)))
    if curve and ranking is not None:
        hunt.ledger.stage = "curve"
        extras["curve"] = []
        for candidate in catch.chosen:
            extras["curve"].append((yield from growth(candidate, ranking, whole)))
    ledger = hunt.ledger
    extras["evaluations"] = {**ledger.by_stage, "image": 1, "total": ledger.spent + 1}
    extras["cache_hits"], extras["budget"] = ledger.hits, ledger.budget + 1
    extras["front"] = [[pixels, confidence] for pixels, confidence in ledger.front()]
    return catch, extras


def _contrast(hunt: Hunting, catch: SearchResult, ranking: Tensor) -> Search[Contrast]:
    others = [c for c in catch.pool if all(c is not one for one in catch.chosen)]
    pool = catch.chosen + sorted(others, key=Candidate.order)
    return (yield from contrastive(pool, ranking, hunt.ledger.criterion.target, hunt.side))


def _complements(chosen: list[Candidate]) -> Search[list[MaskScore | None]]:
    found: list[MaskScore | None] = []
    for candidate in chosen:
        try:
            found += yield Request(~candidate.mask[None])
        except BudgetSpent:
            found.append(None)
    return found


def _record(hunt: Hunting, catch: SearchResult, whole: float, complements: list[MaskScore | None]) -> dict[str, Any]:
    verdicts = [candidate.verdict for candidate in catch.chosen]
    masks = _stacked([candidate.mask for candidate in catch.chosen], hunt.shape)
    candidates = _stacked([candidate.mask for candidate in catch.pool], hunt.shape)
    pixels = [candidate.pixels for candidate in catch.chosen]
    return {
        "status": catch.status,
        "masks": masks,
        "count": len(verdicts),
        "pixels": pixels,
        "sizes": [count / (hunt.shape[0] * hunt.shape[1]) for count in pixels],
        "confidences": [verdict.probability for verdict in verdicts],
        "relative_confidences": [verdict.probability / max(whole, 1e-12) for verdict in verdicts],
        "margins": [verdict.probability - verdict.rival for verdict in verdicts],
        "runner_up": [verdict.runner_up for verdict in verdicts],
        "complement_confidences": [None if verdict is None else verdict.probability for verdict in complements],
        "certificates": [candidate.certificate.plain() for candidate in catch.chosen],
        "candidates": candidates,
        "candidate_confidences": [candidate.verdict.probability for candidate in catch.pool],
        "dice": dice_matrix(candidates),
        "separation_exact": catch.separation.exact,
        "map": "evidence" if hunt.ranking is None else "responsibility",
    }


def _stacked(masks: list[Tensor], shape: tuple[int, int]) -> Tensor:
    return torch.stack(masks) if masks else torch.zeros((0, *shape), dtype=torch.bool)


def _plain_contrast(found: Contrast) -> dict[str, Any]:
    plain: dict[str, Any] = {"status": found.status, "finest": found.finest}
    if found.mask is not None and found.verdict is not None and found.complement is not None:
        plain |= {
            "mask": found.mask,
            "confidence": found.verdict.probability,
            "complement_class": found.complement.top,
            "complement_confidence": found.complement.probability,
        }
    return plain


def select(extras: dict[str, Any], overlap: float) -> Tensor:
    """The largest compatible set ``(n, H, W)`` of an image's candidates for another overlap, without any evaluation."""
    found = separate(extras["candidates"], extras["candidate_confidences"], overlap)
    return extras["candidates"][list(found.chosen)]
