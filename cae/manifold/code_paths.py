"""Paths in the space of class codes: polylines, parametrised by arc length."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Polylines:
    """A batch of polylines: ``vertices (B, M, D)`` and ``position (B, M)``, the share of its length up to every vertex.

    Shorter ones are padded by repeating their last vertex. Arithmetic is in float64, so that halving a step of the
    path again and again does not meet the resolution of float32.
    """

    vertices: Tensor
    position: Tensor

    @classmethod
    def through(cls, paths: Sequence[Tensor], scale: Tensor) -> Polylines:
        """Polylines through the given points.

        Args:
            paths: ``(M_b, D)`` points of each polyline, one at least; a single point is a path of length 0.
            scale: ``(D,)`` unit of length along each dimension (the standard deviation of the training codes).
        """
        longest = max(2, max(len(path) for path in paths))
        padded = [torch.cat([path, path[-1:].expand(longest - len(path), -1)]) for path in paths]
        vertices = torch.stack(padded).double().cpu()
        steps = (vertices.diff(dim=1) / scale.double().cpu()).norm(dim=2)
        length = torch.cat([torch.zeros(len(paths), 1, dtype=torch.float64), steps.cumsum(1)], dim=1)
        total = length[:, -1:]
        return cls(vertices, torch.where(total > 0, length / total.clamp_min(torch.finfo(torch.float64).tiny), 0.0))

    def at(self, tau: Tensor) -> Tensor:
        """Points ``(B, T, D)`` at the shares ``tau (B, T)`` of the length, in [0, 1]; exact at 0 and 1."""
        tau = tau.to(self.position)
        segment = torch.searchsorted(self.position, tau.contiguous(), right=True) - 1
        segment = segment.clamp(0, self.position.shape[1] - 2)
        start, end = self.position.gather(1, segment), self.position.gather(1, segment + 1)
        # a segment of length 0 has equal ends: any weight gives the same point
        weight = torch.where(end > start, (tau - start) / (end - start).clamp_min(torch.finfo(tau.dtype).tiny), 0.0)
        index = segment[..., None].expand(-1, -1, self.vertices.shape[2])
        return torch.lerp(self.vertices.gather(1, index), self.vertices.gather(1, index + 1), weight[..., None])

    def __getitem__(self, rows: Tensor) -> Polylines:
        return Polylines(self.vertices[rows], self.position[rows])


def path_length(points: Tensor, scale: Tensor) -> float:
    """Length of the polyline through ``points (M, D)``, in units of ``scale (D,)``."""
    return float((points.double().diff(dim=0) / scale.double()).norm(dim=1).sum())
