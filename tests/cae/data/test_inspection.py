"""What is read and said of the pixels of a source: levels, masks, constant images."""

from __future__ import annotations

from io import BytesIO

import numpy as np
import pytest
import torch
from PIL import Image

from cae.config import DataConfig
from cae.data import open_source
from cae.data.headers import read_header
from cae.data.images import ImageRef
from cae.data.inspection import mask_fate, spread
from cae.data.selection import image_files
from cae.errors import UserError


def write(path, array):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path)
    return path


def ramp(low, high, seed, dtype):
    values = np.linspace(low, high, 64).astype(dtype).reshape(8, 8)
    return np.random.default_rng(seed).permutation(values.flatten()).reshape(8, 8)


def folder_of(root, suffix, levels, dtype):
    """Two classes whose images differ in their levels alone."""
    for kind, (name, low) in enumerate(zip(("dark", "light"), levels, strict=True)):
        for index in range(8):
            write(root / name / f"{index}{suffix}", ramp(low, low + 100, 100 * kind + index, dtype))
    return DataConfig(source="folder", path=str(root), image_size=8)


def test_classes_that_differ_in_level_alone_stay_apart(tmp_path):
    config = folder_of(tmp_path / "data", ".tif", (0, 300), np.float32)
    splits = open_source(config)
    assert config.levels == [0, 400]
    assert splits.notes[0].startswith("files without a range of their own: values from 0 to 400, those of the training")
    for part in (splits.train, splits.val, splits.test):
        for sample in part:
            assert sample.image.mean().item() == pytest.approx(0.125 if sample.label == 0 else 0.875, abs=1e-6)
    # files of the user, and a run that is opened again, are read on the scale of the training split
    path = write(tmp_path / "own.tif", np.full((8, 8), 200, dtype=np.float32))
    assert image_files(config, str(path))[0].image.unique().tolist() == [0.5]
    assert open_source(config).notes == ()


def test_each_file_may_be_stretched_alone(tmp_path):
    config = folder_of(tmp_path, ".tif", (0, 300), np.float32)
    config.scale = "file"
    assert open_source(config).train[0].image.mean().item() == pytest.approx(0.5, abs=1e-6)
    assert config.levels == []


def test_a_file_of_other_levels_than_the_set_is_told(tmp_path):
    config = folder_of(tmp_path, ".tif", (0, 300), np.float32)
    for index in range(8):
        write(tmp_path / "light" / f"{index}.tif", ramp(0, 100_000 if index < 5 else 100, index, np.float32))
    assert any("disagree in their levels" in note for note in open_source(config).notes)


@pytest.mark.parametrize(("bits", "largest"), [(12, 4000), (10, 1023)])
def test_few_bits_in_a_sixteen_bit_file_are_told_with_the_levels_that_cure_it(tmp_path, bits, largest):
    config = folder_of(tmp_path, ".png", (0, largest - 100), np.uint16)
    note, _ = open_source(config).notes
    assert f"no value above {largest} of 65535" in note
    assert f"`data.levels=[0,{2**bits - 1}]`" in note
    config.levels = [0, 2**bits - 1]
    splits = open_source(config)
    assert splits.notes == ()
    assert max(sample.image.max().item() for sample in splits.train) == pytest.approx(largest / (2**bits - 1))


def test_sixteen_bit_files_that_use_their_range_are_left_alone(tmp_path):
    config = folder_of(tmp_path, ".png", (0, 60_000), np.uint16)
    assert open_source(config).notes == ()
    assert config.levels == []


def box(top, bottom, left, right, size=(40, 400)):
    mask = torch.zeros(1, *size, dtype=torch.bool)
    mask[:, top:bottom, left:right] = True
    return mask


@pytest.mark.parametrize(
    ("mask", "fate"),
    [
        (box(0, 0, 0, 0), "empty"),
        (box(10, 20, 350, 390), "outside"),
        (box(10, 11, 200, 201), "small"),
        (box(10, 20, 200, 300), "cut"),
        (box(10, 20, 190, 210), "kept"),
        (box(0, 40, 0, 40, (40, 40)), "full"),
        (box(0, 30, 0, 40, (40, 40)), "kept"),
    ],
)
def test_what_becomes_of_a_mask(mask, fate):
    assert mask_fate(mask, 8, 1.0) == fate


def test_masks_that_are_or_become_empty_are_counted(tmp_path):
    places = {0: None, 1: None, 2: (350, 390), 3: (190, 210)}
    for kind, name in enumerate(("cat", "dog")):
        for index in range(8):
            pixels = np.random.default_rng(10 * kind + index).integers(0, 255, (40, 400)).astype(np.uint8)
            write(tmp_path / name / f"{index}.png", pixels)
    for index, place in places.items():
        mask = np.zeros((40, 400), dtype=np.uint8)
        if place:
            mask[10:20, slice(*place)] = 1
        write(tmp_path / "masks" / "dog" / f"{index}.png", mask)
    assert open_source(DataConfig(source="folder", path=str(tmp_path), image_size=20, fit="crop")).notes == (
        "2 of 4 masks are empty in their files: 'dog/0.png', 'dog/1.png'.",
        "1 of 4 masks become empty, as what they mark is cropped away: 'dog/2.png'.",
    )


def test_images_of_one_colour_are_told(tmp_path):
    config = folder_of(tmp_path, ".png", (0, 100), np.uint8)
    for index in range(8):
        write(tmp_path / "dark" / f"{index}.png", np.full((8, 8), 20 * index, dtype=np.uint8))
    (note,) = open_source(config).notes
    assert "images looked at are of one colour everywhere: 'dark/" in note


def test_stacks_of_pages_are_told(tmp_path):
    config = folder_of(tmp_path, ".png", (0, 100), np.uint8)
    pages = [Image.fromarray(ramp(0, 200, seed, np.uint8)) for seed in (55, 56, 57)]
    pages[0].save(tmp_path / "dark" / "stack.tif", save_all=True, append_images=pages[1:])
    assert open_source(config).notes == (
        "1 files are stacks of pages, of which the middle one is taken: 'dark/stack.tif'.",
    )


def test_a_few_of_many_are_spread_evenly():
    assert spread(range(10), 5) == [0, 2, 4, 6, 8]
    assert spread("abc", 5) == ["a", "b", "c"]


def test_nearly_black_images_are_told(tmp_path):
    for kind, name in enumerate(("a", "b")):
        for index in range(8):
            write(tmp_path / name / f"{index}.png", ramp(0, 20, 100 * kind + index, np.uint8))
    (note,) = open_source(DataConfig(source="folder", path=str(tmp_path), image_size=8)).notes
    assert note.startswith("12 of 12 images looked at are nearly black (no value above 0.1 of 1): 'a/")


def test_masks_that_are_not_turned_as_their_images_are_told(tmp_path):
    turned = Image.Exif()
    turned[0x0112] = 3
    for kind, name in enumerate(("a", "b")):
        for index in range(4):
            picture = Image.fromarray(ramp(0, 255, 100 * kind + index, np.uint8))
            for folder, exif in ((tmp_path / name, turned), (tmp_path / "masks" / name, Image.Exif())):
                folder.mkdir(parents=True, exist_ok=True)
                picture.save(folder / f"{index}.png", exif=exif)
    config = DataConfig(source="folder", path=str(tmp_path), image_size=8)
    assert "8 of 8 masks looked at have another EXIF orientation than their images" in " ".join(
        open_source(config).notes
    )
    for name in ("a", "b"):
        for index in range(4):
            turned[0x0112] = 6
            picture = Image.open(tmp_path / name / f"{index}.png").crop((0, 0, 8, 4))
            picture.save(tmp_path / name / f"{index}.png", exif=turned)
            picture.save(tmp_path / "masks" / name / f"{index}.png")
    with pytest.raises(UserError, match="Is it turned by its EXIF orientation, and its mask not"):
        open_source(config)


def test_images_of_one_colour_are_told_also_where_they_are_resized(tmp_path):
    for name in ("a", "b"):
        for index in range(4):  # an opacity of 0 everywhere, as broken exports have it
            grey, nothing = ramp(0, 255, index, np.uint8), np.zeros((8, 8), np.uint8)
            write(tmp_path / name / f"{index}.png", np.dstack([grey, grey, grey, nothing]))
    note = open_source(DataConfig(source="folder", path=str(tmp_path), image_size=7, channels=3)).notes[-1]
    assert "images looked at are of one colour everywhere" in note


def test_animations_are_told_and_previews_within_photographs_are_not(tmp_path):
    config = folder_of(tmp_path, ".gif", (0, 100), np.uint8)
    pictures = [Image.fromarray(ramp(0, 200, seed, np.uint8)) for seed in (55, 56)]
    pictures[0].save(tmp_path / "dark" / "moving.gif", save_all=True, append_images=pictures[1:])
    assert open_source(config).notes == (
        "1 files are animations, of which the first picture is taken: 'dark/moving.gif'.",
    )
    pictures[0].save(tmp_path / "phone.jpg", format="MPO", save_all=True, append_images=pictures[1:])
    assert read_header(ImageRef(tmp_path / "phone.jpg")).pages == 1


@pytest.mark.parametrize("kind", ["soft", "was a JPEG", "classes", "a JPEG"])
def test_masks_whose_faint_rim_counts_as_inside_are_told(tmp_path, kind):
    square = np.zeros((32, 32), np.uint8)
    square[10:22, 9:23] = 255
    jpeg = BytesIO()
    Image.fromarray(square).save(jpeg, "JPEG", quality=50)
    drawn = {
        "soft": (255 * np.outer(np.hanning(32), np.hanning(32))).astype(np.uint8),
        "was a JPEG": np.asarray(Image.open(jpeg)),
        "classes": square // 255 * (1 + np.arange(32, dtype=np.uint8) % 20),  # numbers of classes, many of them
        "a JPEG": square,
    }
    for name in ("a", "b"):
        for index in range(4):
            write(tmp_path / name / f"{index}.png", np.random.default_rng(index).integers(0, 255, (32, 32), np.uint8))
            write(tmp_path / "masks" / name / f"{index}.{'jpg' if kind == 'a JPEG' else 'png'}", drawn[kind])
    notes = open_source(DataConfig(source="folder", path=str(tmp_path), image_size=8)).notes
    told = any("8 of 8 masks looked at hold many grey levels" in note for note in notes)
    assert told == (kind in ("soft", "was a JPEG"))
