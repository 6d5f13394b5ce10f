"""The Mapper graph: shape, nodes, lens, and the files that it writes."""

from __future__ import annotations

import json
import math

import networkx as nx
import numpy as np
import pytest
import torch
from manifolds import random_manifold

from cae.errors import UserError
from cae.manifold.mapper import build_mapper, principal_lens


def test_mapper_of_a_circle_is_a_circle(tmp_path):
    angle = torch.arange(200, dtype=torch.float64) * (2 * math.pi / 200)
    points = torch.stack([angle.cos(), angle.sin()], dim=1)
    bright = (points[:, 0] > 0).float()
    probabilities = torch.stack([1 - bright, bright], dim=1)
    mapper = build_mapper(points, points[:, 0], probabilities, ("left", "right"), intervals=4, overlap=0.3)
    assert len(mapper.nodes) == 6
    assert len(mapper.edges) == 6
    graph = mapper.to_networkx()
    assert len(nx.cycle_basis(graph)) == 1
    assert len(mapper.corridors()) == 2
    assert sorted(torch.cat([node.members for node in mapper.nodes]).unique().tolist()) == list(range(200))
    mapper.save(tmp_path / "mapper.graphml")
    assert nx.read_graphml(tmp_path / "mapper.graphml").number_of_edges() == 6
    mapper.save(tmp_path / "mapper.json")
    content = json.loads((tmp_path / "mapper.json").read_text())
    assert content["nodes"][0]["size"] == len(content["nodes"][0]["members"])
    with pytest.raises(UserError, match="graphml"):
        mapper.save(tmp_path / "mapper.png")


def test_mapper_nodes_describe_their_members():
    manifold = random_manifold(300)
    for lens in ("pca2", "prob"):
        mapper = manifold.mapper(lens, target=1)
        assert mapper.nodes
        for node in mapper.nodes:
            mean = manifold.probabilities[node.members].double().mean(0)
            assert torch.allclose(node.probabilities, mean)
            assert node.entropy == pytest.approx(float(-(mean * mean.log()).sum()))
            assert node.medoid in node.members.tolist()


def test_principal_lens_is_the_first_two_axes():
    generator = torch.Generator().manual_seed(0)
    points = torch.randn(500, 3, generator=generator, dtype=torch.float64) * torch.tensor([1.0, 9.0, 3.0])
    lens = principal_lens(points)
    assert abs(np.corrcoef(lens[:, 0], points[:, 1])[0, 1]) > 0.99
    assert abs(np.corrcoef(lens[:, 1], points[:, 2])[0, 1]) > 0.99
