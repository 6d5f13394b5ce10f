"""The neighbourhood graph of codes: neighbours, bridges, shortest paths."""

from __future__ import annotations

import math

import networkx as nx
import pytest
import torch
from manifolds import half_circle, random_manifold

from cae.config import ManifoldConfig
from cae.manifold.code_paths import path_length
from cae.manifold.graph import CodeGraph, nearest, without_own


def test_the_shortest_path_follows_a_half_circle():
    points = half_circle()
    graph = CodeGraph.build(points, neighbours=2)
    path = points[graph.shortest_path(points[0], points[-1])]
    length = path_length(torch.cat([points[:1], path, points[-1:]]), torch.ones(2))
    assert length / 2 == pytest.approx(math.pi / 2, rel=1e-3)
    assert not torch.any(graph.bridge)


def test_two_far_blobs_are_joined_by_their_one_shortest_link():
    generator = torch.Generator().manual_seed(0)
    blob = torch.rand(30, 2, generator=generator, dtype=torch.float64)
    points = torch.cat([blob, blob + torch.tensor([100.0, 0.0])])
    graph = CodeGraph.build(points, neighbours=3)
    assert int(graph.bridge.sum()) == 1
    a, b = graph.edges[graph.bridge][0].tolist()
    apart = torch.cdist(points[:30], points[30:])
    assert apart[a, b - 30] == apart.min()
    joined = nx.Graph(graph.edges.tolist())
    assert nx.is_connected(joined)
    path = graph.shortest_path(points[0], points[31])
    assert {a, b} <= set(path)


def test_many_components_are_joined_like_a_minimum_spanning_tree():
    points = torch.tensor([[0.0], [0.1], [1.0], [1.1], [3.0], [3.1], [3.2], [7.0], [7.1]], dtype=torch.float64)
    graph = CodeGraph.build(points, neighbours=1)
    assert sorted(graph.edges[graph.bridge].tolist()) == [[1, 2], [3, 4], [6, 7]]


def test_edges_are_the_union_of_neighbours_and_density_lengthens_sparse_ones():
    points = torch.tensor([[0.0], [1.0], [2.0], [6.0]], dtype=torch.float64)
    graph = CodeGraph.build(points, neighbours=1, density=0.0)
    assert set(map(tuple, graph.edges.tolist())) == {(0, 1), (1, 2), (2, 3)}
    dense = CodeGraph.build(points, neighbours=1, density=1.0)
    plain = dict(zip(map(tuple, graph.edges.tolist()), graph.weights.tolist(), strict=True))
    longer = dict(zip(map(tuple, dense.edges.tolist()), dense.weights.tolist(), strict=True))
    assert plain[(2, 3)] == pytest.approx(4.0)
    assert longer[(0, 1)] == pytest.approx(1.0 * (1 + (1 + 1) / 2))  # radii 1, 1, median 1
    assert longer[(2, 3)] == pytest.approx(4.0 * (1 + (1 + 4) / 2))


def test_equal_codes_do_not_break_the_graph():
    points = torch.zeros(12, 2, dtype=torch.float64)
    graph = CodeGraph.build(points, neighbours=3)
    assert nx.is_connected(nx.Graph(graph.edges.tolist()))
    graph.shortest_path(points[0], points[5])
    alone = CodeGraph.build(points[:1], neighbours=3)
    assert alone.shortest_path(points[0], points[0] + 1) == [0]


def test_neighbours_equal_a_brute_force_search():
    points = torch.randn(1500, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    distance, index = nearest(points, points, 3, exclude_self=True)
    full = (points[:50, None] - points[None]).norm(dim=2)
    full[torch.arange(50), torch.arange(50)] = torch.inf
    expected = full.sort(dim=1)
    assert torch.allclose(distance[:50], expected.values[:, :3])
    assert torch.equal(index[:50], expected.indices[:, :3])
    assert not torch.any(index == torch.arange(1500)[:, None])


def test_graph_uses_a_seeded_subset_of_the_codes():
    manifold = random_manifold(200, config=ManifoldConfig(max_codes=50, neighbours=3), seed=1)
    assert len(manifold.graph.points) == 50
    assert torch.equal(manifold.subset, random_manifold(200, config=ManifoldConfig(max_codes=50), seed=1).subset)
    assert len(manifold.subset.unique()) == 50


def test_a_query_is_taken_out_of_its_own_neighbours_or_the_furthest_where_it_is_not_among_them():
    index = torch.tensor([[4, 0, 2], [1, 3, 5]])
    kept = without_own(index, torch.tensor([0, 9]))
    assert kept.tolist() == [[True, False, True], [True, True, False]]
