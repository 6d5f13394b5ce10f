"""Rectangular images: exact pixels of every fit, masks with them, and the option that asks for them."""

from __future__ import annotations

import pytest
import torch
from PIL import Image

from cae.config import DataConfig
from cae.config.command_line import load_config
from cae.data import CAEDataModule
from cae.data.images import fit, fit_mask
from cae.data.inspection import mask_fate
from cae.errors import UserError
from cae.runs.run_config import load_run_config

# 4 x 8 pixels, each column of one value
COLUMNS = (torch.arange(8) / 8).expand(1, 1, 4, 8)


def test_a_crop_keeps_the_largest_part_of_the_wanted_shape():
    assert torch.equal(fit(COLUMNS, (4, 6)), COLUMNS[..., 1:7])
    assert torch.equal(fit(COLUMNS, (2, 8)), COLUMNS[..., 1:3, :])
    assert torch.equal(fit(COLUMNS, 4), COLUMNS[..., 2:6])
    assert torch.equal(fit(COLUMNS, (4, 8)), COLUMNS)


def test_a_crop_is_resized_when_it_is_larger():
    double = COLUMNS.repeat_interleave(2, 2).repeat_interleave(2, 3)
    plain = torch.nn.functional.interpolate(double, size=(4, 8), mode="bilinear", antialias=True)
    assert torch.allclose(fit(double, (4, 6)), plain[..., 1:7])


def test_padding_fills_what_is_missing_to_the_shape():
    padded = fit(COLUMNS, (6, 8), mode="pad")
    assert torch.equal(padded[..., 1:5, :], COLUMNS)
    assert torch.allclose(padded[..., 0, :], COLUMNS.mean().expand(8))
    assert torch.allclose(padded[..., 5, :], COLUMNS.mean().expand(8))
    wide = fit(COLUMNS, (4, 12), mode="pad", padding=0.0)
    assert torch.equal(wide[..., 2:10], COLUMNS)
    assert not wide[..., :2].any()
    assert not wide[..., 10:].any()


def test_stretching_brings_each_side_to_its_length():
    stretched = fit(COLUMNS, (6, 4), mode="stretch")
    assert stretched.shape == (1, 1, 6, 4)
    assert torch.allclose(stretched, stretched[..., :1, :].expand(-1, -1, 6, -1), atol=1e-6)
    assert (stretched[..., 1:] > stretched[..., :-1]).all()


@pytest.mark.parametrize(("mode", "fate"), [("crop", "outside"), ("pad", "kept"), ("stretch", "kept")])
def test_masks_go_the_way_of_their_images(mode, fate):
    mask = torch.zeros(1, 8, 16, dtype=torch.bool)
    mask[:, :, :2] = True  # a crop to 8 x 12 begins behind it
    assert mask_fate(mask, (8, 12), 1.0, mode) == fate
    assert bool(fit_mask(mask, (8, 12), 1.0, mode).any()) == (fate == "kept")


def test_the_option_takes_a_side_or_two():
    assert load_config(overrides=["data.image_size=48"]).data.sides == (48, 48)
    found = load_config(overrides=["data.source=digits", "data.image_size=[32, 48]"]).data
    assert (found.image_size, found.sides) == ([32, 48], (32, 48))
    assert load_config(overrides=["data.image_size=[32,32]"]).data.image_size == 32
    for wrong in ("[32]", "[32,48,64]", "wide", "[4,48]", "3.5", "null"):
        with pytest.raises(
            UserError, match=r"'data\.image_size' must be a whole number, between 8 and 4096, or two of"
        ):
            load_config(overrides=["data.source=digits", f"data.image_size={wrong}"])
    with pytest.raises(UserError, match="lesions draws squares"):
        load_config(overrides=["data.image_size=[32,48]"])


def test_a_folder_of_photographs_is_opened_as_rectangles(tmp_path):
    for name, value in (("cat", 60), ("dog", 200)):
        (tmp_path / name).mkdir()
        for number in range(10):
            Image.new("L", (24 + number, 16), value + number).save(tmp_path / name / f"{number}.png")
    data = CAEDataModule(DataConfig(source="folder", path=str(tmp_path), image_size=[16, 24], fit="pad"))
    assert data.image_shape == (1, 16, 24)
    batch = next(iter(data.train_dataloader()))
    assert batch.images.shape[1:] == (1, 16, 24)
    assert set(batch.images.flatten(1).std(1).lt(1e-6).tolist()) == {True}


def folder_of(tmp_path, *shapes: tuple[int, int]):
    """A folder of two classes whose images have these widths and heights."""
    for name, value in (("cat", 60), ("dog", 200)):
        (tmp_path / name).mkdir()
        for number in range(12):
            shape = shapes[number % len(shapes)]
            Image.new("L", shape, value + number).save(tmp_path / name / f"{number}.png")
    return str(tmp_path)


@pytest.mark.parametrize(
    ("shapes", "size", "crop", "fit"),
    [
        ([(32, 32)], 16, 1.0, "crop"),
        ([(34, 32)], 16, 1.0, "crop"),  # loses 6 %
        ([(40, 32)], 16, 1.0, "stretch"),  # would lose 20 %
        ([(40, 32)], [16, 20], 1.0, "crop"),
        ([(40, 32)], 16, 0.875, "crop"),  # who names a crop wants one
        ([(32, 32)] * 5 + [(90, 20)], 16, 1.0, "crop"),  # the odd one out decides nothing
        ([(24, 60), (60, 24)], 16, 1.0, "stretch"),
    ],
)
def test_images_are_cropped_where_that_costs_little_and_stretched_otherwise(tmp_path, shapes, size, crop, fit, capsys):
    config = DataConfig(source="folder", path=folder_of(tmp_path, *shapes), image_size=size, crop=crop)
    assert CAEDataModule(config).train.reading.fit == fit
    assert config.fit == fit  # and so saved with the run
    assert ("all are stretched" in capsys.readouterr().out) == (fit == "stretch")


def test_a_run_of_a_version_without_the_option_still_crops(tmp_path):
    (tmp_path / "config.yaml").write_text("data:\n  image_size: 32\n")
    assert load_run_config(tmp_path).data.fit == "crop"
    (tmp_path / "config.yaml").write_text("data:\n  image_size: 32\n  fit: pad\n")
    assert load_run_config(tmp_path).data.fit == "pad"
    assert load_config().data.fit == "auto"
