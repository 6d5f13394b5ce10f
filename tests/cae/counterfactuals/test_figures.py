from __future__ import annotations

import dataclasses
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from made_counterfactuals import CLASSES, counterfactual
from PIL import Image
from torch import Tensor

from cae.canvas import ACCENT, SOURCE, TARGET, mapped, tile, tile_size, wrapped
from cae.counterfactuals.figures import gallery, traversal_gif, traversal_strip
from cae.diagnostics.figures import draw_reassignment, swap_grid
from cae.errors import UserError
from cae.manifold.figures import draw_axes, draw_embedding
from cae.manifold.projection import embed


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as picture:
        return np.asarray(picture.convert("RGB"))


def count(picture: np.ndarray, colour: str) -> int:
    wanted = [int(colour[i : i + 2], 16) for i in (1, 3, 5)]
    return int((picture == wanted).all(2).sum())


# canvas


@pytest.mark.parametrize(("size", "shown"), [((28, 28), (168, 168)), ((64, 64), (192, 192)), ((32, 64), (160, 320))])
def test_small_images_are_enlarged_by_a_whole_factor(size: tuple[int, int], shown: tuple[int, int]):
    assert tile_size(*size) == shown


def test_large_images_keep_their_aspect():
    assert tile_size(256, 256) == (256, 256)
    assert tile_size(600, 1200) == (160, 320)


def test_enlarged_pixels_stay_exact():
    image = torch.rand(1, 28, 28, generator=torch.Generator().manual_seed(0))
    shown = np.asarray(tile(image))
    assert shown.shape == (168, 168, 3)
    levels = (image[0] * 255).round().byte().numpy()
    assert (shown[::6, ::6, 0] == levels).all()
    assert (shown[5::6, 5::6, 2] == levels).all()


def test_signed_maps_are_centred_at_zero():
    values = np.array([[-1.0, 0.0, 1.0]] * 3)
    shown = np.asarray(mapped(values, "RdBu_r", -1, 1)).astype(int)
    left, middle, right = shown[0, 0], shown[0, shown.shape[1] // 2], shown[0, -1]
    assert left[2] > left[0]  # darker is blue
    assert right[0] > right[2]  # brighter is red
    assert middle.min() > 240


def test_long_reasons_are_wrapped_between_words():
    from cae.canvas import font

    face = font(12)
    lines = wrapped("the classifier sees mass in no training image", 120, face)
    assert " ".join(lines) == "the classifier sees mass in no training image"
    assert max(face.getlength(line) for line in lines) <= 120


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


# gallery and swaps


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


def test_the_swap_grid_puts_every_swap_where_recipient_and_donor_meet(tmp_path: Path):
    recipients, donors = torch.rand(2, 1, 28, 28), torch.rand(3, 1, 28, 28)
    levels = (torch.arange(6).reshape(2, 3) * 30 + 60) / 255
    swaps = levels[:, :, None, None, None].expand(2, 3, 1, 28, 28)
    path = tmp_path / "swaps.png"
    swap_grid(recipients, donors, swaps, path)
    picture = pixels(path)
    for row in range(2):
        for column in range(3):
            y, x = 168 + 38 + row * 172 + 80, 168 + 18 + column * 172 + 80
            assert picture[y, x, 0] == round(float(levels[row, column]) * 255)


# manifold


def codes() -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    verdicts = torch.arange(60) % 3
    cloud = 4 * torch.eye(3)[verdicts] + 0.3 * torch.randn(60, 3, generator=generator)
    return cloud, verdicts, torch.eye(3)[verdicts] * 0.8 + 0.2 / 3


def test_pca_is_fitted_on_train_and_applied_to_test():
    cloud, _, _ = codes()
    whole = embed(cloud, "pca", train=cloud).coordinates
    part = embed(cloud[:7], "pca", train=cloud).coordinates
    assert torch.allclose(whole[:7], part, atol=1e-5)


@pytest.mark.parametrize("method", ["pca", "tsne"])
def test_separate_classes_stay_separate_and_neighbourhoods_are_kept(method: str):
    cloud, verdicts, _ = codes()
    embedding = embed(cloud, method, seed=1)
    assert embedding.coordinates.shape == (60, 2)
    assert embedding.trustworthiness > 0.8
    distance = torch.cdist(embedding.coordinates, embedding.coordinates).fill_diagonal_(torch.inf)
    assert (verdicts[distance.argmin(1)] == verdicts).all()
    assert torch.equal(embed(cloud, method, seed=1).coordinates, embedding.coordinates)


def test_a_code_of_one_number_and_a_handful_of_codes_can_be_drawn():
    assert embed(torch.randn(9, 1), "pca").coordinates.shape == (9, 2)
    assert embed(torch.randn(9, 1), "tsne").coordinates.shape == (9, 2)
    assert embed(torch.randn(4, 3), "tsne").coordinates.shape == (4, 2)


def test_an_unknown_map_is_answered_with_the_nearest_known_one():
    with pytest.raises(UserError, match=r"'tnse' \(did you mean 'tsne'\?\); known are pca, tsne, umap"):
        embed(torch.randn(10, 3), "tnse")
    with pytest.raises(UserError, match="at least 4 codes, but got 3"):
        embed(torch.randn(3, 3), "pca")


def test_missing_umap_is_answered_with_the_extra_to_install(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "umap", None)
    with pytest.raises(UserError, match=r"cae-explain\[umap\]"):
        embed(torch.randn(10, 3), "umap")


def test_the_map_is_drawn_with_rings_and_thumbnails(tmp_path: Path):
    cloud, verdicts, probabilities = codes()
    labels = verdicts.clone()
    labels[:5] = (labels[:5] + 1) % 3
    labels[5] = -1  # unknown, no ring
    path = tmp_path / "map.png"
    draw_embedding(embed(cloud), verdicts, probabilities, labels, CLASSES, path, torch.rand(60, 3, 28, 28), "test")
    assert pixels(path).shape[1] > 1000
    assert pixels(path).std() > 10


@pytest.mark.parametrize("number", [2, 10])
def test_reassignment_is_drawn_with_and_without_an_oracle_and_with_gaps(tmp_path: Path, number: int):
    matrix = torch.rand(number, number, generator=torch.Generator().manual_seed(0))
    matrix[0, 1] = torch.nan
    classes = [f"a class with a long name {k}" for k in range(number)]
    draw_reassignment(matrix, matrix, classes, tmp_path / "both.png")
    draw_reassignment(matrix, None, classes, tmp_path / "one.png")
    assert pixels(tmp_path / "both.png").shape[1] > pixels(tmp_path / "one.png").shape[1]
    assert pixels(tmp_path / "both.png").std() > 20


def test_axes_of_the_code_are_drawn_row_by_row(tmp_path: Path):
    images, answers = torch.rand(2, 5, 1, 28, 28), torch.rand(2, 5, 3).softmax(2)
    positions = ["-2", "-1", "0", "+1", "+2"]
    draw_axes(images, answers, ["axis 1", "longer\naxis 2"], positions, CLASSES, tmp_path / "axes.png", "offset")
    height, width, _ = pixels(tmp_path / "axes.png").shape
    assert height == 44 + 2 * (168 + 38)
    assert 5 * 176 < width < 5 * 176 + 100


def test_no_temporary_file_is_left(tmp_path: Path):
    traversal_strip(counterfactual(), tmp_path / "deep" / "strip.png")
    assert [file.name for file in (tmp_path / "deep").iterdir()] == ["strip.png"]
