"""Windows cover every pixel, and their values become maps."""

import pytest
import torch

from cae.errors import UserError
from explainers.infills.windows import (
    Level,
    box_means,
    coverage,
    default_window,
    fit_samples,
    grid,
    mean_map,
    preset_scales,
    sum_map,
)

SHAPES = [(12, 12, 4, 2), (13, 9, 4, 3), (7, 20, 7, 5), (10, 10, 4, 4), (5, 5, 5, 5), (11, 6, 1, 1), (30, 17, 6, 4)]


@pytest.mark.parametrize("border", ["inside", "clip"])
@pytest.mark.parametrize(("height", "width", "size", "stride"), SHAPES)
def test_every_pixel_is_covered_at_any_size_and_stride(height, width, size, stride, border):
    windows = grid((height, width), size, stride, border)
    counts = torch.zeros(height, width, dtype=torch.int64)
    for y0, x0, y1, x1 in windows.boxes.tolist():
        assert 0 <= y0 < y1 <= height
        assert 0 <= x0 < x1 <= width
        counts[y0:y1, x0:x1] += 1
    assert int(counts.min()) >= 1
    assert torch.equal(coverage(windows), counts)
    # the full window lies inside the image and holds what is removed
    assert (windows.tops >= 0).all()
    assert (windows.tops + size <= torch.tensor([height, width])).all()
    assert (windows.tops <= windows.boxes[:, :2]).all()
    assert (windows.boxes[:, 2:] <= windows.tops + size).all()


@pytest.mark.parametrize("border", ["inside", "clip"])
@pytest.mark.parametrize(("height", "width", "size", "stride"), SHAPES)
def test_difference_array_equals_a_loop_over_windows(height, width, size, stride, border):
    windows = grid((height, width), size, stride, border)
    values = torch.randn(2, len(windows), generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    naive = torch.zeros(2, height, width, dtype=torch.float64)
    for m, (y0, x0, y1, x1) in enumerate(windows.boxes.tolist()):
        naive[:, y0:y1, x0:x1] += values[:, m, None, None]
    assert torch.allclose(sum_map(values, windows), naive, atol=1e-12)
    constant = mean_map(torch.full((len(windows),), 0.3), windows)
    assert torch.allclose(constant, torch.full_like(constant, 0.3), atol=1e-7)


def test_clipped_windows_cover_every_pixel_equally_often():
    assert coverage(grid((24, 12), 6, 3, "clip")).unique().tolist() == [4]


def test_default_windows_and_scales_are_those_of_the_documentation():
    assert [default_window((s, s)) for s in (28, 64, 128, 224, 256)] == [4, 8, 16, 32, 32]
    assert preset_scales((224, 224)) == [(96, 32, 6), (64, 32, 6), (32, 16, 6)]
    assert [len(grid((224, 224), size, stride)) for size, stride, _ in preset_scales((224, 224))] == [25, 36, 169]


def test_mean_over_boxes_equals_slicing():
    plane = torch.rand(9, 11, generator=torch.Generator().manual_seed(0))
    windows = grid((9, 11), 4, 3, "clip")
    wanted = [plane[y0:y1, x0:x1].mean() for y0, x0, y1, x1 in windows.boxes.tolist()]
    assert torch.allclose(box_means(plane, windows).float(), torch.stack(wanted), atol=1e-6)


def test_samples_are_lowered_where_they_cost_most_until_the_budget_is_kept():
    levels = fit_samples([Level(16, 8, 4), Level(8, 4, 4)], [10, 100], 300)
    assert [level.samples for level in levels] == [4, 2]
    with pytest.raises(UserError, match="110 windows with one sample each are more than the 100 evaluations"):
        fit_samples(levels, [10, 100], 100)


@pytest.mark.parametrize(
    ("size", "stride", "words"),
    [(9, 3, r"`window` must be in \[1, 8\]"), (4, 5, r"`stride` must be in \[1, 4\]"), (4, 0, "`stride` must be in")],
)
def test_windows_that_cannot_be_are_refused_in_words(size, stride, words):
    with pytest.raises(UserError, match=words):
        grid((8, 12), size, stride)
