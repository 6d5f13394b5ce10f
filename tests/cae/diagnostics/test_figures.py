"""Pictures of the diagnostics: where swaps stand, and matrices with gaps."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from pictures import pixels

from cae.diagnostics.figures import draw_reassignment, swap_grid


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


@pytest.mark.parametrize("number", [2, 10])
def test_reassignment_is_drawn_with_and_without_an_oracle_and_with_gaps(tmp_path: Path, number: int):
    matrix = torch.rand(number, number, generator=torch.Generator().manual_seed(0))
    matrix[0, 1] = torch.nan
    classes = [f"a class with a long name {k}" for k in range(number)]
    draw_reassignment(matrix, matrix, classes, tmp_path / "both.png")
    draw_reassignment(matrix, None, classes, tmp_path / "one.png")
    assert pixels(tmp_path / "both.png").shape[1] > pixels(tmp_path / "one.png").shape[1]
    assert pixels(tmp_path / "both.png").std() > 20
