"""The class manifold: how it is built and kept, references, prototypes and paths, with exact results."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from manifolds import half_circle, manifold_of, random_manifold

from cae.config import ManifoldConfig
from cae.data.types import Batch
from cae.errors import UserError
from cae.manifold.class_manifold import ClassManifold
from cae.manifold.code_paths import path_length


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
    assert torch.equal(manifold.predictions, (images.mean((1, 2, 3)) > 0.5).long())
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


@pytest.mark.parametrize("kind", ["line", "graph"])
def test_paths_start_and_end_exactly_and_have_equal_steps(kind):
    manifold = random_manifold(config=ManifoldConfig(neighbours=3))
    generator = torch.Generator().manual_seed(5)
    code, reference = torch.randn(2, 3, generator=generator)
    path = manifold.path(code, reference, kind, 21)
    assert path.shape == (21, 3)
    assert torch.equal(path[0], code)
    assert torch.equal(path[-1], reference)
    vertices = manifold.polylines(code[None], reference[None], kind).vertices[0]
    fine = manifold.path(code, reference, kind, 4001)
    assert path_length(fine, manifold.std) == pytest.approx(path_length(vertices, manifold.std), rel=1e-3)
    steps = (manifold.standardised(fine).diff(dim=0)).norm(dim=1)
    assert float(steps.median()) == pytest.approx(path_length(vertices, manifold.std) / 4000, rel=1e-3)


def test_the_gap_of_a_path_through_the_codes_is_small_and_that_of_the_line_across_is_large():
    codes = half_circle().float()
    manifold = manifold_of(codes, torch.linspace(0, 1, 200), config=ManifoldConfig(neighbours=2))
    line, graph = (manifold.path(codes[0], codes[-1], kind) for kind in ("line", "graph"))
    assert manifold.gap(graph) < 1 < 20 < manifold.gap(line)
    # in standard deviations the half circle is a half ellipse
    vertices = manifold.polylines(codes[:1], codes[-1:], "graph").vertices[0]
    assert path_length(vertices, manifold.std) == pytest.approx(path_length(codes, manifold.std), rel=1e-3)
