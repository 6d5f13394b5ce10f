"""Square windows over an image: where they lie, how values of windows become a map, and how many a budget allows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from cae.errors import UserError

BORDERS = ("inside", "clip")


@dataclass(frozen=True, eq=False)
class Windows:
    """M windows of one size.

    Attributes:
        tops: ``(M, 2)`` int64, row and column of the upper left pixel of the full window, inside the image.
        boxes: ``(M, 4)`` int64, what is removed: first row and column, and the row and column after the last. With
            ``border="clip"`` it is less than the full window at the borders.
        size: side of the full window in pixels.
        shape: height and width of the image.
    """

    tops: Tensor
    boxes: Tensor
    size: int
    shape: tuple[int, int]

    def __len__(self) -> int:
        return len(self.tops)

    def __getitem__(self, rows: Tensor | slice) -> Windows:
        return Windows(self.tops[rows], self.boxes[rows], self.size, self.shape)


@dataclass(frozen=True)
class Level:
    """One scale of a plan: side and stride of its windows in pixels, and draws of each window."""

    window: int
    stride: int
    samples: int


def axis_tops(length: int, size: int, stride: int) -> list[int]:
    """Tops along one axis: multiples of the stride, and always the last possible one, so that nothing is uncovered.

    >>> axis_tops(10, 4, 4)
    [0, 4, 6]
    """
    last = length - size
    return sorted({*range(0, last + 1, stride), last})


def grid(shape: tuple[int, int], size: int, stride: int, border: str = "inside") -> Windows:
    """Windows that cover every pixel of an image at least once.

    Args:
        shape: height and width of the image.
        size: side of a window in pixels.
        stride: pixels between neighbouring windows.
        border: ``inside`` shifts the last window of a row or column inwards; ``clip`` lets windows reach over the
            border and cuts them there, which covers every pixel equally often where the stride divides size and shape.

    Raises:
        UserError: for a window larger than the image, a stride larger than the window, or another ``border``.
    """
    height, width = shape
    if not 1 <= size <= min(shape):
        raise UserError(f"`window` must be in [1, {min(shape)}], the shorter side of the images, but is {size}.")
    if not 1 <= stride <= size:
        raise UserError(f"`stride` must be in [1, {size}], the window's side, so that no pixel is left, not {stride}.")
    if border not in BORDERS:
        raise UserError(f"`border` must be one of {', '.join(BORDERS)}, but is {border!r}.")
    if border == "inside":
        corners = torch.cartesian_prod(
            torch.tensor(axis_tops(height, size, stride)), torch.tensor(axis_tops(width, size, stride))
        )
        return Windows(corners, torch.cat([corners, corners + size], 1), size, shape)
    corners = torch.cartesian_prod(
        torch.arange(stride - size, height, stride), torch.arange(stride - size, width, stride)
    )
    limits = torch.tensor(shape)
    boxes = torch.cat([corners.clamp_min(0), torch.minimum(corners + size, limits)], 1)
    # an in-fill is asked for the whole window; the part of it that was cut off is not used
    return Windows(torch.minimum(corners.clamp_min(0), limits - size), boxes, size, shape)


def sum_map(values: Tensor, windows: Windows) -> Tensor:
    """Sum of window values ``(..., M)`` over the windows that cover each pixel, ``(..., H, W)`` float64.

    A 2-D difference array: each window adds to four corners, two cumulative sums do the rest.
    """
    height, width = windows.shape
    y0, x0, y1, x1 = windows.boxes.unbind(1)
    values = values.detach().cpu().double()
    corners = values.new_zeros(*values.shape[:-1], (height + 1) * (width + 1))
    for rows, columns, sign in ((y0, x0, 1), (y1, x1, 1), (y0, x1, -1), (y1, x0, -1)):
        corners.index_add_(-1, rows * (width + 1) + columns, sign * values)
    return corners.unflatten(-1, (height + 1, width + 1)).cumsum(-1).cumsum(-2)[..., :height, :width]


def coverage(windows: Windows) -> Tensor:
    """How many windows cover each pixel, ``(H, W)`` int64."""
    return sum_map(torch.ones(len(windows)), windows).round().long()


def mean_map(values: Tensor, windows: Windows) -> Tensor:
    """Mean of window values ``(..., M)`` over the windows that cover each pixel, ``(..., H, W)``; 0 where none does."""
    return sum_map(values, windows) / coverage(windows).clamp_min(1)


def box_means(plane: Tensor, windows: Windows) -> Tensor:
    """Mean of a map ``(H, W)`` over each window, ``(M,)`` float64."""
    integral = torch.nn.functional.pad(plane.double().cumsum(0).cumsum(1), (1, 0, 1, 0))
    y0, x0, y1, x1 = windows.boxes.unbind(1)
    sums = integral[y1, x1] - integral[y0, x1] - integral[y1, x0] + integral[y0, x0]
    return sums / ((y1 - y0) * (x1 - x0))


def default_window(shape: tuple[int, int]) -> int:
    """The power of two nearest to a seventh of the shorter side: 32 for 224, 8 for 64, 4 for 28."""
    wanted = min(shape) / 7
    return min((2**k for k in range(13) if 2**k <= min(shape)), key=lambda size: abs(size - wanted))


def preset_scales(shape: tuple[int, int]) -> list[tuple[int, int, int]]:
    """Window, stride and samples of three scales: the default window, twice and three times as large.

    For 224 pixels 32, 64 and 96: where the classifier is sure of itself, a small window alone changes next to nothing,
    so that none smaller than the default takes part.
    """
    size = default_window(shape)
    large = [(min(times * size, *shape), size, 6) for times in (3, 2)]
    return [*large, (size, max(size // 2, 1), 6)]


def fit_samples(levels: Sequence[Level], counts: Sequence[int], budget: int) -> list[Level]:
    """Fewer samples where a budget is exceeded, the dearest level first.

    Args:
        levels: what is wished for.
        counts: windows of each level.
        budget: evaluations for all of them.

    Raises:
        UserError: if one sample of every window is too many.
    """
    if sum(counts) > budget:
        raise UserError(
            f"{sum(counts)} windows with one sample each are more than the {budget} evaluations that "
            "`max_evaluations` leaves: use a larger `window` or `stride`, or raise `max_evaluations`."
        )
    levels = list(levels)
    while sum(level.samples * count for level, count in zip(levels, counts, strict=True)) > budget:
        reducible = [k for k in range(len(levels)) if levels[k].samples > 1]
        dearest = max(reducible, key=lambda k: levels[k].samples * counts[k])
        levels[dearest] = replace(levels[dearest], samples=levels[dearest].samples - 1)
    return levels


def random_tops(count: int, shape: tuple[int, int], window: int, generator: torch.Generator | None = None) -> Tensor:
    """Windows ``(count, 2)`` anywhere inside an image, all places equally likely."""
    limits = torch.tensor(shape) - window + 1
    return (torch.rand(count, 2, generator=generator) * limits).long()


def fixed_windows(images: int, each: int, shape: Sequence[int], window: int, seed: int) -> tuple[Tensor, Tensor]:
    """``each`` windows of every one of ``images`` images: their rows ``(M,)`` and tops ``(M, 2)``, seeded."""
    generator = torch.Generator().manual_seed(seed)
    rows = torch.arange(images).repeat_interleave(each)
    return rows, random_tops(len(rows), (int(shape[-2]), int(shape[-1])), window, generator)


def at_border(tops: Tensor, shape: tuple[int, int], window: int) -> Tensor:
    """Whether one window of context around a window reaches over the image's border, ``(M,)`` bool."""
    limits = torch.tensor(shape) - 2 * window
    return ((tops < window) | (tops > limits)).any(1)
