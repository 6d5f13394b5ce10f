"""What tells classes apart beside what their images show is told, and nothing else."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cae.config import DataConfig
from cae.data import open_source


def notes_of(root: Path, kinds: dict[str, str], sides: dict[str, list[int]]) -> tuple[str, ...]:
    """What is said of twelve images of each class, of these kinds and sizes, each in turn."""
    for label, (name, suffix) in enumerate(kinds.items()):
        (root / name).mkdir()
        for number in range(12):
            side = sides[name][number % len(sides[name])]
            pixels = np.random.default_rng(100 * label + number).integers(0, 255, (side, side)).astype(np.uint8)
            Image.fromarray(pixels).save(root / name / f"{number}.{suffix}")
    return open_source(DataConfig(source="folder", path=str(root), image_size=8)).notes


SAME = {"cat": [16], "dog": [16]}


@pytest.mark.parametrize(
    ("kinds", "sides", "words"),
    [
        ({"cat": "png", "dog": "jpg"}, SAME, "the kind of a file tells its class (cat: PNG; dog: JPEG)"),
        ({"cat": "png", "dog": "png"}, {"cat": [16], "dog": [20, 24]},
         "the size of an image tells its class (cat: 16 × 16; dog: 20 × 20, 24 × 24)"),
    ],
)  # fmt: skip
def test_a_kind_or_size_of_files_that_tells_the_class_is_told(tmp_path, kinds, sides, words):
    (note,) = notes_of(tmp_path, kinds, sides)
    assert note.startswith(words)


@pytest.mark.parametrize(
    ("kinds", "sides"),
    [
        ({"cat": "jpg", "dog": "jpeg"}, SAME),
        ({"cat": "png", "dog": "png"}, {"cat": [16, 20], "dog": [20, 24]}),  # some are of one size
        ({"cat": "png", "dog": "png"}, {"cat": [*range(10, 22)], "dog": [*range(30, 42)]}),  # as photographs are
    ],
)
def test_files_that_do_not_tell_their_class_are_left_alone(tmp_path, kinds, sides):
    assert notes_of(tmp_path, kinds, sides) == ()
