"""Images moved along directions of the class code, in a world of three corners."""

from __future__ import annotations

import pytest
from corner_world import corner_manifold, shifted_world

from cae.diagnostics.direction_measures import measure_class_directions, measure_latent_directions
from cae.manifold.latent_directions import class_directions
from cae.manifold.latent_shift import find_latent_directions


def test_images_moved_along_a_class_direction_take_the_other_class_and_at_random_seldom():
    shift, predictions = shifted_world()
    metrics = measure_class_directions(
        shift, predictions, class_directions(corner_manifold()), corner_manifold().std, seed=0
    )
    for name in ("a<->b", "b<->c", "reached"):
        assert metrics[f"axes/{name}"] == metrics[f"axes/{name}_oracle"] == 1
    assert metrics["axes/reached_random"] < 0.5
    assert metrics["axes/reached_low"] < 1 == metrics["axes/reached_high"]


def test_two_of_three_dimensions_are_relevant_to_the_decision():
    shift, predictions = shifted_world()
    directions = find_latent_directions(shift, predictions, corner_manifold(), seed=0)
    metrics = measure_latent_directions(shift, predictions, directions, corner_manifold().std, seed=0)
    assert metrics["axes/decision_relevant"] == 2
    assert metrics["axes/edit_1_share"] + metrics["axes/edit_2_share"] == pytest.approx(1)
