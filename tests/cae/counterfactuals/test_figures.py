from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from made_counterfactuals import counterfactual
from pictures import count, pixels
from PIL import Image

from cae.canvas import ACCENT, SOURCE, TARGET
from cae.counterfactuals.figures import gallery, traversal_gif, traversal_strip

# traversal strip


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("number", [2, 3, 10])
def test_a_strip_shows_the_boundary_frame_outlined(tmp_path: Path, channels: int, number: int):
    classes = tuple(f"class {k}" for k in range(number))
    path = tmp_path / "strip.png"
    traversal_strip(counterfactual(channels=channels, classes=classes), path)
    picture = pixels(path)
    assert picture.shape[1] == 2 * 14 + 7 * (168 + 10) - 10
    assert count(picture, ACCENT) > 4 * 4 * 168  # a frame 4 pixels wide
    assert count(picture, SOURCE) > 100
    assert count(picture, TARGET) > 100


@pytest.mark.parametrize("status", ["not_found", "already_target", "reconstruction_flip"])
@pytest.mark.parametrize("output", ["residual", "decoded"])
def test_without_a_counterfactual_no_boundary_and_no_map_is_drawn(tmp_path: Path, status: str, output: str):
    path = tmp_path / "strip.png"
    traversal_strip(counterfactual(status=status, output=output), path)
    picture = pixels(path)
    assert picture.std() > 5
    assert count(picture, ACCENT) == 0
    assert count(picture, "#440154") == 0  # the dark end of viridis


@pytest.mark.parametrize("frames", [3, 7, 11, 21])
def test_any_number_of_frames_fits(tmp_path: Path, frames: int):
    path = tmp_path / "strip.png"
    traversal_strip(counterfactual(), path, frames=frames)
    assert count(pixels(path), ACCENT) > 4 * 4 * 168


def test_the_start_of_the_path_is_shown_even_where_the_boundary_is_nearest_to_it(tmp_path: Path):
    from cae.counterfactuals.figures import _frames

    early = dataclasses.replace(counterfactual(), boundary=0.01)
    frames = _frames(early, 5)
    assert [frame[2] for frame in frames][:2] == [0.0, 0.01]
    assert [frame[3] for frame in frames] == [False, True, False, False, False]


def test_the_ground_truth_is_outlined_on_the_evidence(tmp_path: Path):
    plain, outlined = tmp_path / "plain.png", tmp_path / "outlined.png"
    mask = torch.zeros(1, 28, 28, dtype=torch.bool)
    mask[:, 5:15, 5:15] = True
    traversal_strip(counterfactual(), plain)
    traversal_strip(counterfactual(), outlined, mask=mask)
    changed = (pixels(plain) != pixels(outlined)).any(2)
    columns = np.flatnonzero(changed.any(0))
    assert changed.sum() > 4 * 60 * 2
    assert columns.min() >= 14 + 4 * 178  # the fifth tile
    assert columns.max() < 14 + 5 * 178


def test_strips_are_the_same_every_time(tmp_path: Path):
    first, second = tmp_path / "a.png", tmp_path / "b.png"
    traversal_strip(counterfactual(), first)
    traversal_strip(counterfactual(), second)
    assert first.read_bytes() == second.read_bytes()


# animation


def test_the_animation_goes_there_and_back_and_loops(tmp_path: Path):
    path = tmp_path / "path.gif"
    traversal_gif(counterfactual(), path)
    with Image.open(path) as animation:
        assert animation.info["loop"] == 0
        assert animation.n_frames == 2 * 12 - 2  # 11 points of the path and the boundary
        assert animation.size[0] >= 168
        frames = []
        for number in range(animation.n_frames):
            animation.seek(number)
            frames.append(np.asarray(animation.convert("RGB")).astype(int))
    assert np.abs(frames[1] - frames[-1]).max() == 0
    assert np.abs(frames[0] - frames[11]).max() > 100


def test_the_border_of_the_animation_changes_colour_with_the_decision(tmp_path: Path):
    path = tmp_path / "path.gif"
    traversal_gif(counterfactual(channels=3), path)
    with Image.open(path) as animation:
        corners = []
        for number in (0, 4, 5, 11):
            animation.seek(number)
            corners.append(np.asarray(animation.convert("RGB"))[1, 1].astype(int))
    blue, orange = (np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) for colour in (SOURCE, TARGET))
    for corner, expected in zip(corners, (blue, blue, orange, orange), strict=True):
        assert np.abs(corner - expected).max() < 12


@pytest.mark.parametrize("status", ["not_found", "already_target", "reconstruction_flip"])
def test_the_animation_of_a_failure_is_no_error(tmp_path: Path, status: str):
    traversal_gif(counterfactual(status=status), tmp_path / "path.gif")
    assert (tmp_path / "path.gif").stat().st_size > 500


# gallery


@pytest.mark.parametrize("rows", [None, 1, 3])
def test_the_gallery_holds_all_images_whether_found_or_not(tmp_path: Path, rows: int | None):
    results = [counterfactual(), counterfactual(status="not_found"), counterfactual(output="decoded"), counterfactual()]
    path = tmp_path / "gallery.png"
    gallery(results, path, rows)
    height, width = pixels(path).shape[:2]
    assert pixels(path).std() > 20
    if rows == 1:
        assert width > 3 * height
    if rows == 3:
        assert height > 3 * 168


def test_no_temporary_file_is_left(tmp_path: Path):
    traversal_strip(counterfactual(), tmp_path / "deep" / "strip.png")
    assert [file.name for file in (tmp_path / "deep").iterdir()] == ["strip.png"]
