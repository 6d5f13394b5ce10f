"""Typical and borderline codes of a class: pure functions on codes."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Prototypes:
    """What stands for a class; all but the mean are indices of codes, hence real images.

    Attributes:
        mean: ``(D,)`` mean of the codes, weighted by the class's probability.
        medoid: the code with the smallest summed distance to the others.
        medoids: the centres of up to three clusters.
        boundary: the codes with the smallest margin of the class over the runner-up, smallest first.
    """

    mean: Tensor
    medoid: int
    medoids: tuple[int, ...]
    boundary: tuple[int, ...]


def class_prototypes(
    codes: Tensor,
    points: Tensor,
    probabilities: Tensor,
    members: Tensor,
    target: int,
    clusters: int = 3,
    boundary: int = 5,
) -> Prototypes:
    """Prototypes of a class.

    Args:
        codes: ``(N, D)``.
        points: ``(N, D)`` the codes in units in which distances mean something.
        probabilities: ``(N, K)`` of the classifier.
        members: ``(n,)`` indices of the codes of the class, one at least.
        target: index of the class.
        clusters: number of k-medoids.
        boundary: number of boundary prototypes.
    """
    own = probabilities[members]
    weights = own[:, target, None]
    mean = (weights * codes[members]).sum(0) / weights.sum()
    centres = k_medoids(points[members], clusters)
    others = own.clone()
    others[:, target] = -torch.inf
    margin = own[:, target] - others.amax(1)
    closest = members[margin.argsort(stable=True)[:boundary]]
    centre = int(members[medoid(points[members])])
    return Prototypes(mean, centre, tuple(members[centres].tolist()), tuple(closest.tolist()))


def medoid(points: Tensor) -> int:
    """Index of the point with the smallest summed distance to ``points (N, D)``, the first of equal ones."""
    # in chunks, so that a class of thousands needs no matrix of all its distances
    sums = [torch.cdist(chunk, points).sum(1) for chunk in points.split(1024)]
    return int(torch.cat(sums).argmin())


def k_medoids(points: Tensor, clusters: int, rounds: int = 100) -> Tensor:
    """Indices ``(k,)`` of cluster centres, each the medoid of the points nearest to it; k is at most N.

    Starts from the medoid of all and the points furthest from it, so it needs no seed.

    Reference: Park and Jun 2009, A simple and fast algorithm for K-medoids clustering.
    """
    centres = farthest_points(points, medoid(points), min(clusters, len(points)))
    for _ in range(rounds):
        owner = torch.cdist(points, points[centres]).argmin(1)
        groups = [(owner == number).nonzero()[:, 0] for number in range(len(centres))]
        # equal points can leave a centre without any: it stays where it is
        pairs = zip(groups, centres, strict=True)
        updated = torch.stack([group[medoid(points[group])] if len(group) else old for group, old in pairs])
        if torch.equal(updated, centres):
            break
        centres = updated
    return centres


def farthest_points(points: Tensor, start: int, count: int) -> Tensor:
    """Indices ``(n,)``: ``start``, then always the point furthest from all taken so far, the first of equal ones.

    Reference: Gonzalez 1985, Clustering to minimize the maximum intercluster distance.
    """
    chosen = [start]
    distance = (points - points[start]).norm(dim=1)
    distance[start] = -1.0  # never twice, even where all points are equal
    while len(chosen) < min(count, len(points)):
        chosen.append(int(distance.argmax()))
        distance = torch.minimum(distance, (points - points[chosen[-1]]).norm(dim=1))
        distance[chosen] = -1.0
    return torch.tensor(chosen, dtype=torch.int64)
