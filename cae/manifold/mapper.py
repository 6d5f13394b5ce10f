"""Mapper: the shape of the class codes as a small graph of overlapping clusters.

Reference: Singh, Mémoli and Carlsson 2007, Eurographics Symposium on Point-Based Graphics; the cover follows the
convention of KeplerMapper 2.1. Unlike the published class-association recipe, clusters are found among the codes and
not in a 2-D embedding of them, in which distances mean little.
"""

from __future__ import annotations

import itertools
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from cae.errors import UserError
from cae.files import atomic_path
from cae.manifold.graph import nearest
from cae.manifold.prototypes import medoid

if TYPE_CHECKING:
    import networkx as nx


@dataclass(frozen=True, eq=False)
class MapperNode:
    """A cluster of codes.

    Attributes:
        members: ``(n,)`` indices of its codes.
        probabilities: ``(K,)`` mean of the classifier's probabilities.
        entropy: of that mean, in nats: high where classes meet.
        code: ``(D,)`` mean of the codes.
        medoid: index of the code with the smallest summed distance to the others.
        prediction: most frequent predicted class among the members.
    """

    members: Tensor
    probabilities: Tensor
    entropy: float
    code: Tensor
    medoid: int
    prediction: int


@dataclass(frozen=True, eq=False)
class MapperGraph:
    """Nodes, and edges ``(node, node, number of shared codes)`` between nodes that share some."""

    nodes: tuple[MapperNode, ...]
    edges: tuple[tuple[int, int, int], ...]
    classes: tuple[str, ...]

    def corridors(self) -> list[tuple[int, int]]:
        """Edges whose ends have different majority predictions: where one class passes into another."""
        return [(a, b) for a, b, _ in self.edges if self.nodes[a].prediction != self.nodes[b].prediction]

    def to_networkx(self) -> nx.Graph:
        """The graph with plain numbers and words as attributes, as GraphML wants them."""
        import networkx as nx

        graph = nx.Graph()
        corridors = set(self.corridors())
        for number, node in enumerate(self.nodes):
            pairs = zip(self.classes, node.probabilities.tolist(), strict=True)
            attributes: dict = {f"probability of {name}": probability for name, probability in pairs}
            attributes |= {
                "size": len(node.members),
                "prediction": self.classes[node.prediction],
                "entropy": node.entropy,
            }
            attributes |= {"medoid": node.medoid, "code": " ".join(f"{value:.6g}" for value in node.code.tolist())}
            graph.add_node(number, **attributes)
        for a, b, shared in self.edges:
            graph.add_edge(a, b, shared=shared, corridor=(a, b) in corridors)
        return graph

    def save(self, path: str | Path) -> None:
        """Write GraphML (``.graphml``) or JSON (``.json``, node-link form with the members of each node)."""
        import networkx as nx

        path, graph = Path(path), self.to_networkx()
        if path.suffix not in (".graphml", ".json"):
            raise UserError(f"The Mapper graph is written as .graphml or .json, but the file is {path.name!r}.")
        with atomic_path(path) as temporary:
            if path.suffix == ".graphml":
                nx.write_graphml(graph, temporary)
                return
            for number, node in enumerate(self.nodes):
                graph.nodes[number]["members"] = node.members.tolist()
            content = json.dumps(nx.node_link_data(graph, edges="edges"), ensure_ascii=False)
            temporary.write_text(content, encoding="utf-8")


def principal_lens(points: Tensor, axes: int = 2) -> Tensor:
    """Coordinates ``(N, axes)`` of ``points (N, D)`` on their first principal axes, whose largest entry is positive."""
    centred = points.double() - points.double().mean(0)
    directions = torch.linalg.svd(centred, full_matrices=False)[2][:axes]
    largest = directions.gather(1, directions.abs().argmax(1, keepdim=True))
    return centred @ (directions * largest.sign()).T


def build_mapper(
    points: Tensor,
    lens: Tensor,
    probabilities: Tensor,
    classes: tuple[str, ...],
    *,
    intervals: int = 7,
    overlap: float = 0.49,
    min_samples: int = 5,
) -> MapperGraph:
    """Cluster ``points`` within every cell of a cover of the lens; clusters that share points are joined.

    Args:
        points: ``(N, D)`` codes, in units in which distances mean something.
        lens: ``(N, L)`` or ``(N,)`` values that are covered by overlapping intervals.
        probabilities: ``(N, K)`` of the classifier.
        classes: names of the K classes.
        intervals: of the cover along each axis of the lens. Number k has its centre at ``(k + 1/2) R / n`` and the
            length ``R / (n (1 - overlap))``, R being the range.
        overlap: of neighbouring intervals, in [0, 1).
        min_samples: of DBSCAN, whose radius is the 90 % quantile of the distances to the 5th neighbour.
    """
    points = points.double().cpu()
    lens = lens.double().cpu().reshape(len(points), -1)
    inside = _cover(lens, intervals, overlap)
    radius = float(nearest(points, points, 5, exclude_self=True)[0][:, -1].quantile(0.9))
    members: list[Tensor] = []
    for cell in itertools.product(range(intervals), repeat=lens.shape[1]):
        chosen = torch.stack([inside[axis][k] for axis, k in enumerate(cell)]).all(0).nonzero()[:, 0]
        members += _clusters(points, chosen, radius, min_samples)
    nodes = tuple(_node(points, probabilities, group) for group in members)
    return MapperGraph(nodes, _shared(members, len(points)), classes)


def _cover(lens: Tensor, intervals: int, overlap: float) -> list[Tensor]:
    """For each axis, which values ``(intervals, N)`` lie in which interval."""
    low, high = lens.amin(0), lens.amax(0)
    width = (high - low) / intervals
    centres = low + (torch.arange(intervals, dtype=torch.float64)[:, None] + 0.5) * width  # (n, L)
    half = width / (1 - overlap) / 2
    return [(lens[:, axis] - centres[:, axis, None]).abs() <= half[axis] for axis in range(lens.shape[1])]


def _clusters(points: Tensor, chosen: Tensor, radius: float, min_samples: int) -> list[Tensor]:
    if len(chosen) < min_samples:
        return []
    from sklearn.cluster import DBSCAN  # takes a second, which whoever needs no graph should not wait for

    # all codes equal give a radius of 0, which DBSCAN refuses
    found = DBSCAN(eps=max(radius, 1e-12), min_samples=min_samples).fit_predict(points[chosen].numpy())
    label = torch.from_numpy(found)
    return [chosen[label == number] for number in range(int(label.max()) + 1)]


def _node(points: Tensor, probabilities: Tensor, members: Tensor) -> MapperNode:
    mean = probabilities[members].double().mean(0)
    centre = int(members[medoid(points[members])])
    prediction = int(probabilities[members].argmax(1).bincount(minlength=len(mean)).argmax())
    entropy = float(-(mean * mean.clamp_min(1e-300).log()).sum())
    return MapperNode(members, mean, entropy, points[members].mean(0), centre, prediction)


def _shared(members: list[Tensor], count: int) -> tuple[tuple[int, int, int], ...]:
    belongs = torch.zeros(len(members), count)
    for number, group in enumerate(members):
        belongs[number, group] = 1
    shared = (belongs @ belongs.T).long()
    pairs = shared.triu(diagonal=1).nonzero().tolist()
    return tuple((a, b, int(shared[a, b])) for a, b in pairs)
