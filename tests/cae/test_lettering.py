"""Two names are told apart in every picture, whatever they are written in."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw

from cae.data.arrays import ArraySet
from cae.data.contact_sheet import contact_sheet
from cae.data.types import Splits
from cae.diagnostics.figures import draw_confusion
from cae.lettering import font, legible

NAMES = ["cat", "猫", "犬", "고양이", "かい", "カイ", "แมว", "🐱", "🐶", "\udce4", "\ue000"]


def drawn(text: str) -> bytes:
    picture = Image.new("L", (260, 24))
    ImageDraw.Draw(picture).text((2, 2), text, fill=255, font=font(12))
    return picture.tobytes()


def test_names_in_any_writing_are_drawn_differently():
    assert len({drawn(name) for name in [*NAMES, "قطة", "кот", "γάτα", "café"]}) == len(NAMES) + 4


def test_what_the_typeface_has_is_left_as_it_is():
    for text in ("great dane", "γάτα", "кот", "قطة", "naïve café", "→ × ·"):
        assert legible(text) == text


def test_a_text_is_measured_as_it_is_drawn():
    assert font(12).getlength("猫") == font(12).getlength("[732B]")
    assert font(12, True).getbbox("a 🐶") == font(12, True).getbbox("a [dog face]")


def test_a_contact_sheet_tells_classes_in_chinese_apart(tmp_path):
    images = ArraySet(torch.rand(4, 1, 16, 16), torch.tensor([0, 1, 0, 1]), ["1", "2", "3", "4"])
    pages = []
    for number, classes in enumerate((("猫", "犬"), ("犬", "猫"))):
        contact_sheet(Splits(images, images, images, classes), tmp_path / f"{number}.png", "🐱")
        with Image.open(tmp_path / f"{number}.png") as page:
            pages.append(np.asarray(page))
    assert (pages[0] != pages[1]).any()


@pytest.mark.filterwarnings("error:Glyph")
def test_a_matrix_of_classes_with_chinese_names_has_no_missing_glyph(tmp_path):
    draw_confusion([("true", "predicted", [[3, 1], [0, 4]])], ["猫", "🐶"], tmp_path / "matrix.png")
