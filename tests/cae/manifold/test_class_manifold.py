"""The class manifold: references, prototypes, graph, Mapper and resampling, with exact answers."""

from __future__ import annotations

import json
import math
from types import SimpleNamespace

import networkx as nx
import numpy as np
import pytest
import torch

from cae.config import ManifoldConfig
from cae.data.types import Batch
from cae.errors import UserError
from cae.manifold.class_manifold import ClassManifold
from cae.manifold.code_paths import Polylines, path_length
from cae.manifold.graph import CodeGraph, nearest
from cae.manifold.mapper import build_mapper, principal_lens
from cae.manifold.prototypes import farthest_points, k_medoids, medoid


def half_circle(count: int = 200) -> torch.Tensor:
    angle = torch.linspace(0, math.pi, count, dtype=torch.float64)
    return torch.stack([angle.cos(), angle.sin()], dim=1)


def manifold_of(codes, bright, **options) -> ClassManifold:
    """A manifold of two classes with the given probabilities of the second."""
    codes, bright = torch.as_tensor(codes, dtype=torch.float32), torch.as_tensor(bright, dtype=torch.float32)
    probabilities = torch.stack([1 - bright, bright], dim=1)
    ids = tuple(f"image {number}" for number in range(len(codes)))
    return ClassManifold(codes, probabilities, (bright > 0.5).long(), ids, ("dark", "bright"), **options)


def random_manifold(count: int = 60, seed: int = 0, **options) -> ClassManifold:
    generator = torch.Generator().manual_seed(seed)
    codes = torch.randn(count, 3, generator=generator) * torch.tensor([1.0, 5.0, 0.1])
    return manifold_of(codes, torch.rand(count, generator=generator), **options)


def test_codes_are_built_in_the_order_of_the_loader():
    cae = SimpleNamespace(encode=lambda images: SimpleNamespace(class_code=images.mean((2, 3))))
    classifier = SimpleNamespace(
        classes=("dark", "bright"),
        probabilities=lambda images: torch.stack([1 - images.mean((1, 2, 3)), images.mean((1, 2, 3))], dim=1),
        fingerprint=lambda: "abc",
    )
    images = torch.rand(5, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    labels = torch.tensor([0, 1, 1, 0, 1])
    loader = [Batch(images[:3], labels[:3], ["a", "b", "c"]), Batch(images[3:], labels[3:], ["d", "e"])]
    manifold = ClassManifold.build(cae, classifier, loader)
    assert manifold.ids == ("a", "b", "c", "d", "e")
    assert torch.equal(manifold.codes, images.mean((2, 3)))
    assert torch.equal(manifold.verdicts, (images.mean((1, 2, 3)) > 0.5).long())
    assert torch.equal(manifold.labels, labels)
    assert manifold.fingerprints == {"classifier": "abc"}
    with pytest.raises(UserError, match="empty"):
        ClassManifold.build(cae, classifier, [])


def test_saving_and_loading_are_inverses(tmp_path):
    manifold = random_manifold(seed=3, config=ManifoldConfig(neighbours=4, density=1.0), fingerprints={"cae": "é1"})
    manifold.save(tmp_path / "manifold.safetensors")
    loaded = ClassManifold.load(tmp_path / "manifold.safetensors")
    for name in ("codes", "probabilities", "labels"):
        assert torch.equal(getattr(loaded, name), getattr(manifold, name))
    for name in ("ids", "classes", "config", "seed", "fingerprints"):
        assert getattr(loaded, name) == getattr(manifold, name)
    assert list(tmp_path.iterdir()) == [tmp_path / "manifold.safetensors"]


def test_unreadable_or_missing_file_is_explained(tmp_path):
    with pytest.raises(UserError, match=r"train\.py cae"):
        ClassManifold.load(tmp_path / "none.safetensors")
    (tmp_path / "bad.safetensors").write_bytes(b"no tensors here")
    with pytest.raises(UserError, match="not a class manifold"):
        ClassManifold.load(tmp_path / "bad.safetensors")


def test_inconsistent_parts_are_refused_all_at_once():
    with pytest.raises(UserError) as caught:
        ClassManifold(torch.full((3, 2), torch.nan), torch.ones(3, 3), torch.zeros(2), ("a", "b", "c"), ("x", "y"))
    assert len(caught.value.problems) == 3


def test_dimension_that_does_not_vary_does_not_blow_up_distances():
    manifold = manifold_of([[0.0, 1.0], [2.0, 1.0]], [0.1, 0.9])
    assert torch.allclose(manifold.std, torch.tensor([1.0, 1.0]))
    assert torch.equal(manifold_of([[1.0], [1.0]], [0.1, 0.9]).std, torch.ones(1))


def test_references_come_from_confident_codes_of_the_class():
    manifold = manifold_of([[0.0], [1.0], [2.0], [3.0], [4.0]], [0.1, 0.6, 0.9, 0.85, 0.95])
    nearby = manifold.references(torch.tensor([0.0]), 1, "nearest", 2)
    assert nearby.indices.tolist() == [2, 3]  # 1 is nearer, but at 0.6
    assert torch.equal(nearby.codes, manifold.codes[nearby.indices])
    assert manifold.references(torch.tensor([0.0]), 1, "diverse", 2).indices.tolist() == [2, 4]
    many = manifold.references(torch.tensor([0.0]), 1, "nearest", 9)
    assert many.indices.tolist() == [1, 2, 3, 4]
    unsure = manifold_of([[0.0], [1.0], [2.0], [3.0]], [0.1, 0.55, 0.6, 0.7])
    assert unsure.references(torch.tensor([0.0]), 1, "nearest", 1).indices.tolist() == [3]  # the most confident


def test_nearest_reference_is_measured_in_standard_deviations():
    # without scaling the second would be nearer: 3 against 4
    codes = [[0.0, 0.0], [4.0, 0.0], [0.0, 3.0], [40.0, 0.0], [-40.0, 0.0]]
    manifold = manifold_of(codes, [0.1, 0.9, 0.9, 0.1, 0.1])
    assert manifold.references(torch.zeros(2), 1).indices.tolist() == [1]


def test_class_without_a_training_image_has_no_reference():
    manifold = manifold_of([[0.0], [1.0]], [0.1, 0.2])
    assert len(manifold.references(torch.zeros(1), 1, "nearest", 3)) == 0
    assert manifold.missing == ("bright",)
    assert manifold.prototypes(1) is None


def test_prototypes_are_the_weighted_mean_and_real_images():
    manifold = manifold_of([[-9.0], [0.0], [1.0], [2.0], [9.0]], [0.0, 0.6, 0.9, 1.0, 0.8])
    prototypes = manifold.prototypes(1)
    expected = (0.6 * 0 + 0.9 * 1 + 1.0 * 2 + 0.8 * 9) / 3.3
    assert prototypes.mean.item() == pytest.approx(expected, rel=1e-6)
    assert prototypes.medoid in (2, 3)
    assert prototypes.boundary == (1, 4, 2, 3)
    assert len(set(prototypes.medoids)) == 3
    reference = manifold.references(torch.tensor([-9.0]), 1, "prototype", 2)
    assert reference.indices.tolist() == [-1, 2]
    assert reference.codes[0].item() == pytest.approx(expected, rel=1e-6)
    central = manifold.references(torch.tensor([-9.0]), 1, "medoid", 3).indices.tolist()
    assert central[0] == prototypes.medoid
    assert len(set(central)) == 3


def test_random_references_are_seeded():
    manifold = random_manifold()
    drawn = [
        manifold.references(manifold.codes[0], 1, "random", 3, seed=seed).indices.tolist() for seed in (0, 0, 1, 2, 3)
    ]
    assert drawn[0] == drawn[1]
    assert len({tuple(indices) for indices in drawn}) > 1
    with pytest.raises(ValueError, match="nearest, prototype"):
        manifold.references(manifold.codes[0], 1, "closest")


def test_medoids_find_the_centres_of_three_blobs():
    centres = torch.tensor([[0.0, 0.0], [10.0, 0.0], [0.0, 10.0]], dtype=torch.float64)
    offsets = torch.tensor([[0.0, 0.0], [1.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [0.0, -1.0]], dtype=torch.float64)
    points = (centres[:, None] + offsets).reshape(-1, 2)
    assert sorted(k_medoids(points, 3).tolist()) == [0, 5, 10]
    assert k_medoids(points[:2], 3).tolist() == [0, 1]
    assert medoid(points[:5]) == 0
    assert len(set(farthest_points(torch.zeros(4, 2), 2, 4).tolist())) == 4


def test_graph_walks_along_a_half_circle():
    points = half_circle()
    graph = CodeGraph.build(points, neighbours=2)
    way = points[graph.shortest_path(points[0], points[-1])]
    length = path_length(torch.cat([points[:1], way, points[-1:]]), torch.ones(2))
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
    way = graph.shortest_path(points[0], points[31])
    assert {a, b} <= set(way)


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


@pytest.mark.parametrize("kind", ["line", "graph"])
def test_paths_start_and_end_exactly_and_have_equal_steps(kind):
    manifold = random_manifold(config=ManifoldConfig(neighbours=3))
    generator = torch.Generator().manual_seed(5)
    code, reference = torch.randn(2, 3, generator=generator)
    path = manifold.path(code, reference, kind, 21)
    assert path.shape == (21, 3)
    assert torch.equal(path[0], code)
    assert torch.equal(path[-1], reference)
    vertices = manifold.routes(code[None], reference[None], kind).vertices[0]
    fine = manifold.path(code, reference, kind, 4001)
    assert path_length(fine, manifold.std) == pytest.approx(path_length(vertices, manifold.std), rel=1e-3)
    steps = (manifold.standardised(fine).diff(dim=0)).norm(dim=1)
    assert float(steps.median()) == pytest.approx(path_length(vertices, manifold.std) / 4000, rel=1e-3)


def test_polylines_are_walked_by_arc_length():
    corner = torch.tensor([[0.0, 0.0], [1.0, 0.0], [1.0, 3.0]])
    lines = Polylines.through([corner, corner[:1], corner[[0, 0, 1]]], torch.ones(2))
    points = lines.at(torch.tensor([0.0, 0.25, 0.5, 1.0]).expand(3, -1))
    expected = torch.tensor([[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [1.0, 3.0]], dtype=torch.float64)
    assert torch.allclose(points[0], expected)
    assert torch.equal(points[1], torch.zeros(4, 2, dtype=torch.float64))
    assert torch.allclose(points[2, :, 0], torch.tensor([0.0, 0.25, 0.5, 1.0], dtype=torch.float64))


def test_path_report_compares_the_graph_with_the_line():
    codes = half_circle().float()
    manifold = manifold_of(codes, torch.linspace(0, 1, 200), config=ManifoldConfig(neighbours=2))
    report = manifold.path_report(codes[0], codes[-1])
    # in standard deviations the half circle is a half ellipse
    straight = path_length(codes[[0, -1]], manifold.std)
    assert report.length_ratio == pytest.approx(path_length(codes, manifold.std) / straight, rel=1e-3)
    assert report.graph_gap < 1 < 20 < report.line_gap
    assert math.isnan(manifold.path_report(codes[0], codes[0]).length_ratio)


def test_graph_uses_a_seeded_subset_of_the_codes():
    manifold = random_manifold(200, config=ManifoldConfig(max_codes=50, neighbours=3), seed=1)
    assert len(manifold.graph.points) == 50
    assert torch.equal(manifold.subset, random_manifold(200, config=ManifoldConfig(max_codes=50), seed=1).subset)
    assert len(manifold.subset.unique()) == 50


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
            answers = manifold.probabilities[node.members].double().mean(0)
            assert torch.allclose(node.probabilities, answers)
            assert node.entropy == pytest.approx(float(-(answers * answers.log()).sum()))
            assert node.medoid in node.members.tolist()


def test_principal_lens_is_the_first_two_axes():
    generator = torch.Generator().manual_seed(0)
    points = torch.randn(500, 3, generator=generator, dtype=torch.float64) * torch.tensor([1.0, 9.0, 3.0])
    lens = principal_lens(points)
    assert abs(np.corrcoef(lens[:, 0], points[:, 1])[0, 1]) > 0.99
    assert abs(np.corrcoef(lens[:, 1], points[:, 2])[0, 1]) > 0.99


def test_smote_draws_from_segments_between_neighbours_of_one_verdict():
    manifold = random_manifold(80)
    sample = manifold.smote(500, generator=torch.Generator().manual_seed(0))
    first, second = manifold.codes[sample.first], manifold.codes[sample.second]
    assert torch.equal(manifold.verdicts[sample.first], manifold.verdicts[sample.second])
    assert torch.equal(sample.predictions, manifold.verdicts[sample.first])
    assert torch.all(sample.first != sample.second)
    assert torch.allclose(sample.codes, first + sample.share[:, None] * (second - first), atol=1e-5)
    assert 0 <= float(sample.share.min()) <= float(sample.share.max()) <= 1
    points = manifold.standardised(manifold.codes)
    for a, b in zip(sample.first[:50].tolist(), sample.second[:50].tolist(), strict=True):
        same = (manifold.verdicts == manifold.verdicts[a]).nonzero()[:, 0]
        distance = (points[same] - points[a]).norm(dim=1)
        assert b in same[distance.argsort()[1:6]].tolist()
