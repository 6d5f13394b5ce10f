"""SMOTE: new class codes on the segments between neighbouring codes of one predicted class.

Reference: Chawla et al. 2002, SMOTE: synthetic minority over-sampling technique, arXiv:1106.1813.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

ROWS_AT_ONCE = 1024  # of the matrix of distances


@dataclass(frozen=True, eq=False)
class SmoteSample:
    """New codes ``(n, D)`` between codes ``first (n,)`` and ``second (n,)``, both of the predicted class ``(n,)``.

    ``share (n,)`` in [0, 1) is that of the second: ``codes = codes[first] + share (codes[second] - codes[first])``;
    ``mix`` applies it to whatever else belongs to the codes.
    """

    codes: Tensor
    predictions: Tensor
    first: Tensor
    second: Tensor
    share: Tensor

    def mix(self, values: Tensor) -> Tensor:
        """Values ``(n, …)`` between those of the first and the second, of ``values (N, …)`` of the given codes."""
        share = self.share.to(values).view(-1, *[1] * (values.ndim - 1))
        return torch.lerp(values[self.first], values[self.second], share)


def smote(
    codes: Tensor,
    predictions: Tensor,
    count: int,
    neighbours: int = 5,
    generator: torch.Generator | None = None,
    *,
    scale: Tensor | None = None,
) -> SmoteSample:
    """New codes ``c_a + u (c_b - c_a)``, u ~ U(0, 1), between a random code and a near one of the same class.

    ``a`` is drawn from the codes that share their class with another one, ``b`` from its nearest of that class. If no
    class has two codes, each drawn code stands for itself. Nothing is read back from the device.

    Args:
        codes: ``(N, D)``, N at least 1; gradients pass through the mixture.
        predictions: ``(N,)`` int64, the predicted class of each.
        count: how many to draw.
        neighbours: b is one of so many nearest.
        generator: source of randomness, on any device.
        scale: ``(D,)`` unit of distance along each dimension, by default 1.
    """
    device = codes.device if generator is None else generator.device
    draws = torch.rand(3, count, generator=generator, device=device).to(codes.device)
    ordered = predictions.sort().values
    others = torch.searchsorted(ordered, predictions, right=True) - torch.searchsorted(ordered, predictions) - 1
    # inverse of the cumulative weights; the tiny weight only counts where no code has a neighbour
    cumulative = ((others > 0).float() + 1e-9).cumsum(0)
    first = torch.searchsorted(cumulative, draws[0] * cumulative[-1], right=True).clamp_max(len(codes) - 1)
    points = codes.detach() if scale is None else codes.detach() / scale
    second = _partners(points, predictions, first, draws[1], neighbours)
    mixed = torch.lerp(codes[first], codes[second], draws[2].to(codes)[:, None])
    return SmoteSample(mixed, predictions[first], first, second, draws[2])


def _partners(points: Tensor, predictions: Tensor, first: Tensor, pick: Tensor, neighbours: int) -> Tensor:
    """For each of ``first (n,)`` one of its nearest neighbours of its class, by ``pick`` in [0, 1); itself if alone."""
    points = points.float() if points.dtype in (torch.float16, torch.bfloat16) else points
    found = [first[:0]]
    for rows, picked in zip(first.split(ROWS_AT_ONCE), pick.split(ROWS_AT_ONCE), strict=True):
        usable = predictions[rows][:, None] == predictions[None]
        usable.scatter_(1, rows[:, None], False)
        # the formula by a matrix product loses half of the digits
        distances = torch.cdist(points[rows], points, compute_mode="donot_use_mm_for_euclid_dist")
        nearest = distances.masked_fill(~usable, torch.inf).topk(min(neighbours, len(points)), dim=1, largest=False)
        available = usable.sum(1).clamp_max(neighbours)
        rank = (picked * available).long().minimum((available - 1).clamp_min(0))
        partner = nearest.indices.gather(1, rank[:, None])[:, 0]
        found.append(torch.where(available > 0, partner, rows))
    return torch.cat(found)
