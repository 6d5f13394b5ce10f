"""Lines between codes: who stands for the codes, and that each line leads from one image to the other's class code."""

from __future__ import annotations

import pytest
import torch
from corner_world import Corners, TwoOfThree, corner_images, corner_manifold

from cae.errors import UserError
from cae.manifold.code_lines import STEPS, CodeLines, code_lines, farthest_first, representatives
from cae.manifold.latent_shift import LatentShift


def test_the_next_is_always_the_furthest_from_all_before():
    points = torch.tensor([[0.0], [1.0], [10.0], [4.0], [0.0]])
    assert farthest_first(points, 0, 4) == [0, 2, 3, 1]
    assert farthest_first(points, 0, 9) == [0, 2, 3, 1]  # the last one is where the first is


def test_every_class_is_stood_for_by_its_medoid_before_any_other_image():
    manifold = corner_manifold()
    rows = representatives(manifold, 5)
    classes = [int(manifold.predictions[row]) for row in rows]
    assert classes[:3] == [0, 1, 2]
    assert rows[:3] == [manifold.prototypes(k).medoid for k in range(3)]
    assert len(set(rows)) == len(rows) == 5


def test_a_line_begins_at_the_image_and_ends_under_the_class_code_of_the_other(tmp_path):
    shift = LatentShift.of(TwoOfThree(), {"target": Corners()}, corner_images(3, 1)[0], batch_size=7)
    count = len(shift.codes)
    lines = code_lines(shift, [f"image {row}" for row in range(count)], 64)
    assert lines.images.shape[:2] == (count * (count - 1), STEPS)
    start, end = lines.pairs[0].tolist()
    assert lines.images[0, 0].equal((shift.originals[start].clamp(0, 1) * 255).round().byte())
    goal = shift.images(torch.tensor([start]), shift.codes[[end]])
    assert lines.images[0, -1].equal((goal[0] * 255).round().byte())
    assert torch.allclose(lines.probabilities[0, -1], shift.probabilities(goal)[0], atol=1e-6)
    lines.save(tmp_path / "lines.safetensors")
    again = CodeLines.load(tmp_path / "lines.safetensors")
    assert list(again.ids) == list(lines.ids)
    assert again.images.equal(lines.images)


def test_a_damaged_file_is_named(tmp_path):
    (tmp_path / "lines.safetensors").write_bytes(b"nothing")
    with pytest.raises(UserError, match=r"lines\.safetensors.*makes them anew"):
        CodeLines.load(tmp_path / "lines.safetensors")
