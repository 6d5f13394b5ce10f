"""Axes of the class code and routes through it, on toy worlds whose answers are known."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from cae.config import CounterfactualConfig, ManifoldConfig
from cae.counterfactuals.path_comparison import compare_paths
from cae.manifold.class_manifold import ClassManifold
from cae.manifold.latent_directions import (
    LatentShift,
    class_axes,
    edit_axes,
    find_edit_axes,
    measure_class_axes,
    measure_edit_axes,
)
from cae.models.cae import Codes

CLASSES = ("a", "b", "c")
CORNERS = torch.tensor([[0.1, 0.1], [0.9, 0.1], [0.1, 0.6]])


class TwoOfThree:
    """Class code: three numbers, of which two are the grey values of the halves of an image; the third does nothing."""

    def encode(self, images: Tensor) -> Codes:
        halves = torch.stack([images[:, 0, :2].mean((1, 2)), images[:, 0, 2:].mean((1, 2))], 1)
        return Codes(torch.cat([halves, images[:, 0, :1, 0] * 0 + 0.5], 1), images[:, :, :1])

    def decode(self, class_code: Tensor, individual_code: Tensor) -> Tensor:
        rows = class_code[:, [0, 0, 1, 1]]
        return rows[:, None, :, None].expand(-1, 1, 4, 4)


class Corners:
    """Three classes by the nearest of three points in the plane of the two grey values."""

    classes, differentiable, evaluations = CLASSES, True, 0

    def features(self, images: Tensor) -> Tensor:
        return torch.stack([images[:, 0, :2].mean((1, 2)), images[:, 0, 2:].mean((1, 2))], 1)

    def probabilities(self, images: Tensor) -> Tensor:
        distance = (self.features(images)[:, None] - CORNERS[None]).square().sum(2)
        return (-60 * distance).softmax(1)


def world(count: int = 90, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % 3
    halves = CORNERS[labels] + 0.03 * torch.randn(count, 2, generator=generator)
    return halves[:, [0, 0, 1, 1]][:, None, :, None].expand(-1, 1, 4, 4).clamp(0, 1).contiguous(), labels


def manifold() -> ClassManifold:
    images, labels = world()
    codes = TwoOfThree().encode(images).class_code
    codes[:, 2] += 0.2 * torch.randn(len(codes), generator=torch.Generator().manual_seed(5))
    ids = tuple(f"train/{number}" for number in range(len(codes)))
    return ClassManifold(codes, Corners().probabilities(images), labels, ids, CLASSES, ManifoldConfig(neighbours=5))


def mover() -> tuple[LatentShift, Tensor]:
    images, _ = world(60, 1)
    found = LatentShift.of(TwoOfThree(), {"target": Corners(), "oracle": Corners()}, images, batch_size=7)
    return found, Corners().probabilities(images).argmax(1)


def test_every_two_classes_have_an_axis_and_the_nearest_come_first():
    axes = class_axes(manifold())
    assert sorted(axis.name for axis in axes) == ["a<->b", "a<->c", "b<->c"]
    assert axes[-1].name == "b<->c"
    steps = {axis.name: axis.step for axis in axes}
    assert torch.allclose(steps["a<->b"][:2], torch.tensor([0.8, 0.0]), atol=0.05)
    assert [axis.name for axis in class_axes(manifold(), most=1)] == [axes[0].name]


def test_images_moved_along_a_class_axis_take_the_other_class_and_at_random_seldom():
    moving, verdicts = mover()
    metrics = measure_class_axes(moving, verdicts, class_axes(manifold()), manifold().std, seed=0)
    for name in ("a<->b", "b<->c", "reached"):
        assert metrics[f"axes/{name}"] == metrics[f"axes/{name}_oracle"] == 1
    assert metrics["axes/reached_random"] < 0.5
    assert metrics["axes/reached_low"] < 1 == metrics["axes/reached_high"]


def test_edit_axes_are_the_directions_that_change_the_features():
    generator = torch.Generator().manual_seed(0)
    changes = torch.randn(4000, 4, generator=generator, dtype=torch.float64)
    edits = changes[:, [2]] * torch.tensor([[3.0, 0.0]]) + changes[:, [0]] * torch.tensor([[0.0, 1.0]])
    axes = edit_axes(changes, edits)
    assert axes.directions.shape == (2, 4)
    assert abs(float(axes.directions[0, 2])) > 0.99
    assert abs(float(axes.directions[1, 0])) > 0.99
    assert axes.shares.tolist() == pytest.approx([0.9, 0.1], abs=0.02)


def test_two_of_three_dimensions_are_relevant_to_the_decision():
    moving, verdicts = mover()
    axes = find_edit_axes(moving, verdicts, manifold(), seed=0)
    metrics = measure_edit_axes(moving, verdicts, axes, manifold().std, seed=0)
    assert metrics["axes/decision_relevant"] == 2
    assert metrics["axes/edit_1_share"] + metrics["axes/edit_2_share"] == pytest.approx(1)


def test_where_nothing_lies_between_the_codes_the_line_and_the_graph_are_measured_alike():
    images, _ = world(30, 2)
    config = CounterfactualConfig(reference="nearest", steps=9, path="graph")
    metrics = compare_paths(TwoOfThree(), Corners(), Corners(), manifold(), images, config)
    assert metrics["routes/images"] == 30
    assert metrics["routes/line_found"] == metrics["routes/graph_found"] == 1
    assert metrics["routes/graph_minus_line_found"] == 0
    assert metrics["routes/graph_minus_line_found_low"] < 0 < metrics["routes/graph_minus_line_found_high"]
    assert metrics["routes/graph_minus_line_length"] >= 0
    for name in ("gap", "monotone", "change", "oracle"):
        difference = metrics[f"routes/graph_{name}"] - metrics[f"routes/line_{name}"]
        assert metrics[f"routes/graph_minus_line_{name}"] == pytest.approx(difference)
        low, high = (metrics[f"routes/graph_minus_line_{name}_{end}"] for end in ("low", "high"))
        assert low <= difference + 1e-9
        assert high >= difference - 1e-9
