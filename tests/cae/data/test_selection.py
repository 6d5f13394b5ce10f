"""Choosing images: a split, a folder or a file; spread over the classes; a damaged file costs no other image."""

from __future__ import annotations

import pytest
import torch
from PIL import Image

from cae.config.command_line import load_config
from cae.data import ArraySet, CAEDataModule
from cae.data.selection import evenly_spread, readable, select_images, spread_over_classes
from cae.errors import UserError

CONFIG = load_config(
    overrides=["data.image_size=16", "data.lesions.train=6", "data.lesions.val=3", "data.lesions.test=9"]
)


def test_images_of_a_split_are_spread_over_its_classes():
    data = CAEDataModule(CONFIG.data)
    chosen = select_images(CONFIG.data, data, None, "test", limit=4)
    assert len(chosen.ids) == 9
    assert len(set(data.test.labels[chosen.order[:3]].tolist())) == 3
    assert len(chosen.order) == 4
    assert chosen.words == "the test split"
    assert [chosen.images[place].id for place in chosen.order] == [chosen.ids[place] for place in chosen.order]


def test_files_come_before_the_split_and_are_brought_to_the_form_of_the_data(tmp_path):
    for number in range(3):
        Image.new("RGB", (20, 30), (80 * number,) * 3).save(tmp_path / f"{number}.png")
    chosen = select_images(CONFIG.data, CAEDataModule(CONFIG.data), str(tmp_path), "test")
    assert chosen.ids == ("0.png", "1.png", "2.png")
    assert list(chosen.order) == [0, 1, 2]
    assert chosen.images[0].image.shape == (1, 16, 16)


def test_without_data_and_files_there_is_nothing_to_explain():
    with pytest.raises(UserError, match="no images to explain"):
        select_images(CONFIG.data, None, None, "test")


def test_a_damaged_file_is_told_and_costs_no_other_image(tmp_path):
    for number in range(3):
        Image.effect_noise((16, 16), 50).save(tmp_path / f"{number}.png")
    chosen = select_images(CONFIG.data, None, str(tmp_path), "test")
    content = (tmp_path / "1.png").read_bytes()
    (tmp_path / "1.png").write_bytes(content[: len(content) // 2])
    problems: list[str] = []
    assert [sample.id for _, sample in readable(chosen.images, chosen.order, problems)] == ["0.png", "2.png"]
    assert len(problems) == 1
    assert "1.png" in problems[0]


def test_spread_takes_classes_in_turn():
    predictions = torch.tensor([0] * 40 + [1] * 3 + [2] * 2)
    chosen = spread_over_classes(predictions, 9, seed=0)
    assert torch.bincount(predictions[chosen]).tolist() == [4, 3, 2]
    assert len(chosen.unique()) == 9


def test_evenly_spread_images_reach_from_the_first_to_the_last():
    images = ArraySet(
        torch.arange(11.0).view(11, 1, 1, 1) / 10, torch.zeros(11, dtype=torch.int64), [str(k) for k in range(11)]
    )
    assert torch.allclose(evenly_spread(images, 3).flatten(), torch.tensor([0.0, 0.5, 1.0]))
    assert len(evenly_spread(images, 100)) == 11
