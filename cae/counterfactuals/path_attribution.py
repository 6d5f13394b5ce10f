"""Path-integrated attribution: how much each pixel's change along a path contributed to the classifier's answer.

The path is the generated one, from the image to its counterfactual, so every point of it is a plausible image. The
gradients are taken at the midpoints of its steps: not integrated gradients, whose path is a straight line of pixels.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from cae.classifiers import TargetClassifier

Score = Callable[[Tensor], Tensor]


@dataclass(frozen=True, eq=False)
class PathAttribution:
    """``attribution (C, H, W)`` in units of the score, and the score at both ends of the path."""

    attribution: Tensor
    start: float
    end: float

    @property
    def completeness_error(self) -> float:
        """Sum of the attribution minus the change of the score along the path; 0 where the attribution is complete."""
        return float(self.attribution.double().sum()) - (self.end - self.start)


def class_score(classifier: TargetClassifier, target: int, kind: str = "probability") -> Score:
    """The function of images ``(B, C, H, W)`` that is attributed, with values ``(B,)``.

    Args:
        classifier: the target classifier.
        target: index of the class.
        kind: ``probability`` f_t, or ``margin``: its logit minus the largest other logit.
    """

    def probability(images: Tensor) -> Tensor:
        return classifier.probabilities(images)[:, target]

    def margin(images: Tensor) -> Tensor:
        logits = classifier.logits(images)
        others = torch.arange(logits.shape[1], device=logits.device) != target
        return logits[:, target] - logits[:, others].amax(1)

    scores = {"probability": probability, "margin": margin}
    if kind not in scores:
        raise ValueError(f"`kind` must be one of {', '.join(scores)}, but got {kind!r}.")
    return scores[kind]


def path_attribution_gradient(score: Score, images: Tensor, batch_size: int = 64) -> PathAttribution:
    """White box: ``sum_k (X_{k+1} - X_k) * grad F((X_k + X_{k+1}) / 2)``, which sums to the change of F up to step^2.

    Exact where F is quadratic. The score must be differentiable.

    Args:
        score: F, from images ``(B, C, H, W)`` to ``(B,)``.
        images: ``(n + 1, C, H, W)`` points of the path, from the image to its counterfactual.
        batch_size: images scored at once.
    """
    with torch.inference_mode(False), torch.enable_grad():
        images = images.detach().clone()
        steps, middles = images.diff(dim=0), (images[1:] + images[:-1]) / 2
        attribution = torch.zeros_like(images[0], dtype=torch.float64)
        for step, middle in zip(steps.split(batch_size), middles.split(batch_size), strict=True):
            points = middle.clone().requires_grad_()
            (gradient,) = torch.autograd.grad(score(points).sum(), points)
            attribution += (step.double() * gradient.double()).sum(0)
    start, end = _scores(score, images[[0, -1]], batch_size).tolist()
    return PathAttribution(attribution.to(images.dtype), start, end)


def path_attribution_finite(score: Score, images: Tensor, batch_size: int = 64) -> PathAttribution:
    """Black box: ``sum_k (F_{k+1} - F_k) |X_{k+1} - X_k| / sum |X_{k+1} - X_k|``, whose sum is exact for any F.

    Within one step the pixels share the change of F in proportion to how much they changed. A step that changes no
    pixel has no change of F to share.

    Args:
        score: F, from images ``(B, C, H, W)`` to ``(B,)``; no gradient is asked for.
        images: ``(n + 1, C, H, W)`` points of the path, from the image to its counterfactual.
        batch_size: images scored at once.
    """
    values = _scores(score, images, batch_size)
    sizes = images.detach().double().diff(dim=0).abs()
    totals = sizes.sum((1, 2, 3), keepdim=True)
    shares = torch.where(totals > 0, sizes / totals.clamp_min(torch.finfo(torch.float64).tiny), 0.0)
    attribution = (values.diff().to(shares)[:, None, None, None] * shares).sum(0)
    return PathAttribution(attribution.to(images.dtype), float(values[0]), float(values[-1]))


@torch.no_grad()
def _scores(score: Score, images: Tensor, batch_size: int) -> Tensor:
    return torch.cat([score(chunk).detach().double() for chunk in images.split(batch_size)])
