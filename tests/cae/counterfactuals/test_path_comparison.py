"""The straight path beside that through the graph, for the same images."""

from __future__ import annotations

import pytest
from corner_world import Corners, TwoOfThree, corner_images, corner_manifold

from cae.config import CounterfactualConfig
from cae.counterfactuals.path_comparison import compare_paths


def test_where_nothing_lies_between_the_codes_the_line_and_the_graph_are_measured_alike():
    images, _ = corner_images(30, 2)
    config = CounterfactualConfig(reference="nearest", steps=9, path="graph")
    metrics = compare_paths(TwoOfThree(), Corners(), Corners(), corner_manifold(), images, config)
    assert metrics["paths/images"] == 30
    assert metrics["paths/line_found"] == metrics["paths/graph_found"] == 1
    assert metrics["paths/graph_minus_line_found"] == 0
    assert metrics["paths/graph_minus_line_found_low"] < 0 < metrics["paths/graph_minus_line_found_high"]
    assert metrics["paths/graph_minus_line_length"] >= 0
    for name in ("gap", "monotone", "change", "oracle"):
        difference = metrics[f"paths/graph_{name}"] - metrics[f"paths/line_{name}"]
        assert metrics[f"paths/graph_minus_line_{name}"] == pytest.approx(difference)
        low, high = (metrics[f"paths/graph_minus_line_{name}_{end}"] for end in ("low", "high"))
        assert low <= difference + 1e-9
        assert high >= difference - 1e-9
