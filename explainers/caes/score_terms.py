"""The terms of a causal explanation score, as functions of averages over images.

What Villegas-Jimenez et al. 2023 (arXiv:2309.01921) published of their causal explanation score (CaES) names the idea:
the causal relation between features from the object's area and the classifier's output. Its equations are not public.
The object and context ratios are those of Lopez-Paz et al. 2017 (arXiv:1605.08179, section 5); every other term is
defined here, and carries a name of its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from cae.metrics.log_odds import log_odds
from cae.metrics.statistics import spearman

Contributions = dict[str, Tensor]  # what each image adds to the terms, (N, F) or (N, 1), or averages of that
TermValues = dict[str, Tensor]  # name of a term to values (B,)
LOGITS_AT_ONCE = 20_000_000  # numbers in one block of changed logits

SCORE_TERMS = {
    "necessity": "evidence that goes with the object: mean log-odds of the image minus those without the object",
    "necessity_gain": "necessity beyond that of displaced copies of the same mask: what area and shape do not explain",
    "sufficiency": "evidence that the object alone brings: mean log-odds of the object alone minus those of the fill",
    "flip_rate": "share of images whose class changes when the object is removed",
    "keep_rate": "share of images whose class stays when the context is removed",
    "caes_do": "drop of evidence by features that react to the object, one at a time, minus that by the others",
    "s_o": "object-feature ratio, mean over the features: reaction to the removal of the object",
    "s_c": "context-feature ratio, mean over the features: reaction to the removal of the context",
    "caes_obj": "causal score (1 - NCC) of the features that react most to the object",
    "caes_rank": "rank correlation of the anticausal score (NCC) and the object ratio over the features",
    "caes_lp": "object ratio of the most anticausal features minus that of the most causal ones",
    "caes_lp_context": "context ratio of the most anticausal features minus that of the most causal ones",
    "ncc_known_direction": "share of influential features that the NCC calls causes of the logit, as they are",
}
INTERVENTIONAL = ("necessity", "necessity_gain", "sufficiency", "flip_rate", "keep_rate", "caes_do")
OF_NCC = ("caes_obj", "caes_rank", "caes_lp", "caes_lp_context", "ncc_known_direction")


@dataclass(frozen=True, eq=False)
class Head:
    """A linear head, logits ``f W^T + d`` of features ``f (N, F)``: ``weight (K, F)``, ``bias (K,)``."""

    weight: Tensor
    bias: Tensor

    def logits(self, features: Tensor) -> Tensor:
        """``(N, K)``."""
        return features @ self.weight.T + self.bias

    def contrast(self, target: int) -> Tensor:
        """How much each feature speaks for a class against the mean of the others, ``(F,)``.

        Log-odds depend on differences of logits alone, so that a weight by itself has no meaning.
        """
        others = [k for k in range(len(self.weight)) if k != target]
        return self.weight[target] - self.weight[others].mean(0)


@dataclass(frozen=True, eq=False)
class Responses:
    """What a classifier makes of N images: ``features (N, F)``, ``evidence (N,)`` (log-odds of the class under study)
    and ``predictions (N,)``, the top class."""

    features: Tensor
    evidence: Tensor
    predictions: Tensor


def logit_effects(features: Tensor, changed: Tensor, weight: Tensor) -> Tensor:
    """Drop of a linear score ``f . weight (F,)`` when one feature alone changes, ``(N, F)``; exact, and additive."""
    return weight * (features - changed)


def do_effects(features: Tensor, changed: Tensor, head: Head, target: int) -> Tensor:
    """Drop of the log-odds of a class when feature l alone is set to its value in ``changed``, ``(N, F)``; exact.

    Each intervention moves the logits by one column of the head: no image is scored again.

    Args:
        features: ``(N, F)``.
        changed: ``(N, F)``, such as the features without the object.
        head: the linear head.
        target: class.
    """
    if len(head.weight) == 2:  # the log-odds are linear themselves
        return logit_effects(features, changed, head.contrast(target))
    logits = head.logits(features)
    before = log_odds(logits, target)[:, None]
    rows = max(1, LOGITS_AT_ONCE // (features.shape[1] * len(head.weight)))
    parts = []
    for z, c, step in zip(logits.split(rows), before.split(rows), (changed - features).split(rows), strict=True):
        parts.append(c - log_odds(z[:, None] + step[:, :, None] * head.weight.T, target))
    return torch.cat(parts)


def contributions(
    base: Responses, removed: Responses, alone: Responses, blank: Tensor, head: Head | None, target: int
) -> Contributions:
    """What each image contributes to the terms.

    Args:
        base: responses to the N images.
        removed: to the images without the object, ``x^c``.
        alone: to the object alone, ``x^o``.
        blank: ``(N,)`` evidence of the fill alone.
        head: the linear head, where there is one.
        target: class under study.

    Returns:
        ``object``, ``context``, ``scale`` and (with a head) ``do``, each ``(N, F)``; ``necessity``, ``sufficiency``,
        ``flip`` and ``keep``, each ``(N, 1)``. The crossing is as published: a feature belongs to the object as far as
        it reacts when the object is removed.
    """
    found = {
        "object": (removed.features - base.features).abs(),
        "context": (alone.features - base.features).abs(),
        "scale": base.features.abs(),
        "necessity": (base.evidence - removed.evidence)[:, None],
        "sufficiency": (alone.evidence - blank)[:, None],
        "flip": (removed.predictions != base.predictions).float()[:, None],
        "keep": (alone.predictions == base.predictions).float()[:, None],
    }
    if head is not None:
        found["do"] = do_effects(base.features, removed.features, head, target)
    return found


def averages(each: Mapping[str, Tensor], weights: Tensor | None = None) -> Contributions:
    """Averages over the images, ``(1, F)``; for ``weights (B, N)``, counts of each image in B resamples, ``(B, F)``."""
    if weights is None:
        return {name: values.mean(0, keepdim=True) for name, values in each.items()}
    total = weights.sum(1, keepdim=True)
    return {name: weights @ values / total for name, values in each.items()}


def feature_ratios(means: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
    """Object- and context-feature ratios ``s_o`` and ``s_c``, ``(B, F)`` each.

    Reference: Lopez-Paz et al. 2017, arXiv:1605.08179, section 5.
    """
    return means["object"] / means["scale"], means["context"] / means["scale"]


def score_terms(means: Mapping[str, Tensor], anticausal: Tensor | None, top: float) -> TermValues:
    """Every term that depends on the masks, ``(B,)`` each.

    Args:
        means: averages of the contributions, ``(B, F)``; ``gain`` among them where displaced copies were looked at.
        anticausal: ``(F,)`` or ``(B, F)`` scores in [0, 1], 1 = "the evidence causes the feature"; NaN where a feature
            has none; None to leave out the terms that need them.
        top: share of the features that count as the top, at least one of them.
    """
    s_o, s_c = feature_ratios(means)
    found = {
        "necessity": means["necessity"][:, 0],
        "sufficiency": means["sufficiency"][:, 0],
        "flip_rate": means["flip"][:, 0],
        "keep_rate": means["keep"][:, 0],
        "s_o": s_o.mean(1),
        "s_c": s_c.mean(1),
    }
    if "gain" in means:
        found["necessity_gain"] = means["gain"][:, 0]
    if "do" in means:
        found["caes_do"] = interventional_score(means["do"], s_o, top)
    if anticausal is not None:
        scored = anticausal.reshape(-1, s_o.shape[1]).isfinite().all(0)
        a, s_o, s_c = anticausal[..., scored], s_o[:, scored], s_c[:, scored]
        found |= causation_terms(a.expand(max(len(s_o), len(a) if a.ndim > 1 else 1), -1), s_o, s_c, top)
    return found


def interventional_score(do: Tensor, s_o: Tensor, top: float) -> Tensor:
    """``caes_do (B,)``: mean effect of the top features by object ratio minus that of the others, each ``(B, F)``."""
    number = top_count(s_o.shape[1], top)
    chosen = torch.zeros_like(s_o).scatter_(1, s_o.topk(number, dim=1).indices, 1.0)
    others = s_o.shape[1] - number
    return (do * chosen).sum(1) / number - (do * (1 - chosen)).sum(1) / max(1, others)


def causation_terms(a: Tensor, s_o: Tensor, s_c: Tensor, top: float) -> TermValues:
    """The terms of the neural causation coefficient, ``(B,)`` each, of ``a``, ``s_o``, ``s_c (B, F)``."""
    s_o, s_c = s_o.expand_as(a), s_c.expand_as(a)
    number = top_count(a.shape[1], top)
    anticausal, causal = a.topk(number, dim=1).indices, (-a).topk(number, dim=1).indices
    objects = s_o.topk(number, dim=1).indices
    return {
        "caes_obj": 1 - a.gather(1, objects).mean(1),
        "caes_rank": spearman(a, s_o).to(a),
        "caes_lp": s_o.gather(1, anticausal).mean(1) - s_o.gather(1, causal).mean(1),
        "caes_lp_context": s_c.gather(1, anticausal).mean(1) - s_c.gather(1, causal).mean(1),
    }


def known_direction(features: Tensor, anticausal: Tensor, contrast: Tensor) -> float:
    """Share of the influential features that the coefficient calls causes of the logit, which they are.

    Influential are those whose ``|weight| * standard deviation`` exceeds the median; ``features (N, F)``.
    """
    influence = contrast.abs() * features.std(0)
    chosen = (influence > influence.median()) & anticausal.isfinite()
    return float((1 - anticausal[chosen] > 0.5).float().mean())


def top_count(features: int, top: float) -> int:
    """How many features are the top ``top`` (a share) of them, at least one."""
    return max(1, min(features, round(top * features)))
