"""The neighbourhood graph of the class codes: which codes lie beside each other, and the shortest path between two."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from scipy.sparse import coo_matrix, csr_matrix
from scipy.sparse.csgraph import connected_components, dijkstra
from torch import Tensor

CHUNK = 1024  # rows of a distance matrix held at once
TINY = 1e-12  # a sparse matrix reads an edge of weight 0 as no edge


def nearest(queries: Tensor, points: Tensor, count: int, *, exclude_self: bool = False) -> tuple[Tensor, Tensor]:
    """Distances ``(Q, k)``, ascending, and indices ``(Q, k)`` of the nearest points; k is ``count`` or all there are.

    Args:
        queries: ``(Q, D)``.
        points: ``(N, D)``.
        count: number of neighbours.
        exclude_self: ``queries`` are the points themselves, and none is its own neighbour.
    """
    queries, points = queries.double(), points.double()
    count = min(count, len(points) - exclude_self)
    distances, indices = [], []
    for first in range(0, len(queries), CHUNK):
        matrix = _distances(queries[first : first + CHUNK], points)
        if exclude_self:
            matrix.diagonal(first).fill_(torch.inf)
        distance, index = matrix.topk(count, dim=1, largest=False)
        distances.append(distance)
        indices.append(index)
    return torch.cat(distances), torch.cat(indices)


def without_own(index: Tensor, own: Tensor) -> Tensor:
    """Which neighbours to keep so that no query is its own: all but one in every row.

    Args:
        index: ``(Q, k)`` of the nearest points.
        own: ``(Q,)`` index of each query itself among the points.

    Returns:
        ``(Q, k)`` bool. Where a query is not among its nearest, as among many equal codes, the furthest goes.
    """
    itself = index == own[:, None]
    itself[~itself.any(1), -1] = True
    return ~itself


def _distances(queries: Tensor, points: Tensor) -> Tensor:
    # the matrix-product formula loses half of the digits, and gives equal codes a distance above 0
    return torch.cdist(queries, points, compute_mode="donot_use_mm_for_euclid_dist")


@dataclass(frozen=True, eq=False)
class CodeGraph:
    """An undirected, connected graph on ``points (N, D)``: each joined with its nearest neighbours.

    Attributes:
        points: ``(N, D)`` float64.
        edges: ``(E, 2)`` indices, the smaller first.
        weights: ``(E,)`` lengths of the edges, larger in sparse regions if ``density`` > 0.
        bridge: ``(E,)`` bool, edges that only join what were separate components.
        radius: ``(N,)`` distance of each point to its furthest neighbour.
        neighbours: neighbours per point.
        density: weight of sparsity, alpha in ``|a - b| (1 + alpha (r_a + r_b) / (2 median r))``.
        neighbour_distance: median distance between neighbours.
    """

    points: Tensor
    edges: Tensor
    weights: Tensor
    bridge: Tensor
    radius: Tensor
    neighbours: int
    density: float
    neighbour_distance: float

    @classmethod
    def build(cls, points: Tensor, neighbours: int = 10, density: float = 0.0) -> CodeGraph:
        """Union of every point's nearest neighbours; components are joined by their shortest links, as bridges."""
        points = points.double().cpu()
        distance, index = nearest(points, points, neighbours, exclude_self=True)
        edges = _edges(index)
        bridges = _bridges(points, edges)
        radius = distance[:, -1] if distance.shape[1] else torch.zeros(len(points), dtype=torch.float64)
        everything = torch.cat([edges, bridges])
        a, b = everything.unbind(1)
        weights = _weights((points[a] - points[b]).norm(dim=1), radius[a], radius[b], radius.median(), density)
        is_bridge = torch.arange(len(everything)) >= len(edges)
        median = float(distance.median()) if distance.numel() else 0.0
        return cls(points, everything, weights, is_bridge, radius, neighbours, density, median)

    def shortest_path(self, start: Tensor, end: Tensor) -> list[int]:
        """Indices of the points on the shortest path from ``start (D,)`` to ``end (D,)``, any two codes.

        Both are attached by temporary edges to their nearest points, and are not part of what is returned.
        """
        count = len(self.points)
        rows, columns, weights = [self.edges[:, 0]], [self.edges[:, 1]], [self.weights]
        distances, indices = nearest(torch.stack([start, end]).cpu(), self.points, self.neighbours)
        for node, (distance, index) in enumerate(zip(distances, indices, strict=True), start=count):
            rows.append(torch.full_like(index, node))
            columns.append(index)
            median = self.radius.median()
            weights.append(_weights(distance, distance[-1], self.radius[index], median, self.density))
        matrix = _matrix(torch.cat(rows), torch.cat(columns), torch.cat(weights), count + 2)
        previous = dijkstra(matrix, directed=False, indices=count, return_predecessors=True)[1]
        path, node = [], int(previous[count + 1])
        while node != count:
            path.append(node)
            node = int(previous[node])
        return path[::-1]


def _weights(distance: Tensor, radius_a: Tensor, radius_b: Tensor, median: Tensor, density: float) -> Tensor:
    sparsity = (radius_a + radius_b) / (2 * median.clamp_min(TINY))
    return (distance * (1 + density * sparsity)).clamp_min(TINY)


def _edges(index: Tensor) -> Tensor:
    """Unique undirected edges ``(E, 2)`` from neighbour indices ``(N, k)``."""
    rows = torch.arange(len(index))[:, None].expand_as(index)
    pairs = torch.stack([rows.flatten(), index.flatten()], dim=1)
    return torch.unique(pairs.sort(dim=1).values, dim=0)


def _matrix(rows: Tensor, columns: Tensor, weights: Tensor, size: int) -> csr_matrix:
    return coo_matrix((weights.numpy(), (rows.numpy(), columns.numpy())), shape=(size, size)).tocsr()


def _bridges(points: Tensor, edges: Tensor) -> Tensor:
    """Shortest links ``(L, 2)`` that join the components into one: Borůvka's algorithm on the components."""
    matrix = _matrix(edges[:, 0], edges[:, 1], torch.ones(len(edges)), len(points))
    label = torch.from_numpy(connected_components(matrix, directed=False)[1].astype(np.int64))
    bridges: list[tuple[int, int]] = []
    while int(label.max()) > 0:
        for _, a, b in sorted(_links_out(points, label)):
            if label[a] != label[b]:
                bridges.append((min(a, b), max(a, b)))
                label = torch.where(label == label[b], label[a], label)
        label = torch.unique(label, return_inverse=True)[1]
    return torch.tensor(bridges, dtype=torch.int64).reshape(-1, 2)


def _links_out(points: Tensor, label: Tensor) -> set[tuple[float, int, int]]:
    """For every component its shortest link to another one, as (length, index, index)."""
    best: dict[int, tuple[float, int, int]] = {}
    for first in range(0, len(points), CHUNK):
        rows = slice(first, first + CHUNK)
        matrix = _distances(points[rows], points)
        matrix[label[rows, None] == label[None]] = torch.inf
        shortest, other = matrix.min(dim=1)
        links = zip(label[rows].tolist(), shortest.tolist(), other.tolist(), strict=True)
        for index, (component, length, partner) in enumerate(links, start=first):
            link = (length, min(index, partner), max(index, partner))
            best[component] = min(link, best.get(component, link))
    return set(best.values())
