"""Tiles, colour maps, outlines and text drawn with Pillow."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from cae.canvas import colour_mapped, tile, tile_size, wrapped
from cae.lettering import font


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
    shown = np.asarray(colour_mapped(values, "RdBu_r", -1, 1)).astype(int)
    left, middle, right = shown[0, 0], shown[0, shown.shape[1] // 2], shown[0, -1]
    assert left[2] > left[0]  # darker is blue
    assert right[0] > right[2]  # brighter is red
    assert middle.min() > 240


def test_long_reasons_are_wrapped_between_words():
    face = font(12)
    lines = wrapped("the classifier sees mass in no training image", 120, face)
    assert " ".join(lines) == "the classifier sees mass in no training image"
    assert max(face.getlength(line) for line in lines) <= 120
