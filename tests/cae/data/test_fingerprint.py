"""Data sets are told apart by what they hold, wherever it lies."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from PIL import Image
from tiny_training import CLASSES, tiny_images

from cae.config.command_line import load_config
from cae.data import ArraySet, CAEDataModule, ImageFiles, Splits
from cae.data.fingerprint import data_fingerprint, files_fingerprint, same_data, same_files
from cae.data.selection import changed_work, images_identity


def splits(classes=CLASSES, **changed: ArraySet) -> Splits:
    sets = {name: tiny_images(12, seed, name) for seed, name in enumerate(("train", "val", "test"))}
    return Splits(**{**sets, **changed}, classes=classes)


def test_the_same_data_has_the_same_fingerprint_also_as_json():
    first, second = data_fingerprint(splits()), data_fingerprint(splits())
    assert first == second
    assert same_data(json.loads(json.dumps(first)), second)


@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_other_images_labels_ids_and_classes_are_other_data(split):
    before, images = data_fingerprint(splits()), tiny_images(12, 0, split)
    others = [
        ArraySet(images.images.flip(0), images.labels, images.ids),
        ArraySet(images.images, images.labels.flip(0), images.ids),
        ArraySet(images.images, images.labels, images.ids[::-1]),
        ArraySet(images.images[:9], images.labels[:9], images.ids[:9]),
    ]
    for other in others:
        assert not same_data(before, data_fingerprint(splits(**{split: other})))
    assert not same_data(before, data_fingerprint(splits(classes=CLASSES[::-1])))


def test_what_decoders_differ_in_does_not_make_other_data():
    images = tiny_images(12, 0, "train")
    before = data_fingerprint(splits(train=images))
    rounded = ArraySet(
        (images.images + (torch.rand(images.images.shape) - 0.5) / 255).clamp(0, 1), images.labels, images.ids
    )
    assert same_data(before, data_fingerprint(splits(train=rounded)))


def test_names_that_are_no_unicode_have_a_fingerprint():
    images = tiny_images(12, 0, "train")
    odd = ArraySet(images.images, images.labels, ["a\udcff", *images.ids[1:]])
    assert not same_data(data_fingerprint(splits(train=images)), data_fingerprint(splits(train=odd)))


@pytest.fixture
def images(tmp_path) -> Path:
    """Two classes of six grey images."""
    for name, level in (("dark", 40), ("light", 200)):
        (tmp_path / "images" / name).mkdir(parents=True)
        for number in range(6):
            Image.new("L", (16, 16), level + number).save(tmp_path / "images" / name / f"{number}.bmp")
    return tmp_path / "images"


def in_folder(folder: Path) -> CAEDataModule:
    return CAEDataModule(
        load_config(overrides=["data.source=folder", f"data.path={folder}", "data.image_size=16"]).data
    )


def test_data_that_was_moved_is_the_same_and_a_file_of_another_size_is_not(images, tmp_path):
    before = in_folder(images).fingerprint
    shutil.move(images, tmp_path / "moved")
    assert same_data(before, in_folder(tmp_path / "moved").fingerprint)
    with (tmp_path / "moved" / "dark" / "0.bmp").open("ab") as file:
        file.write(b"0")
    assert not same_data(before, in_folder(tmp_path / "moved").fingerprint)


def test_a_file_that_cannot_be_decoded_spoils_no_fingerprint(images):
    data = in_folder(images)
    data.config.cache = False  # opening looks at the images
    data.setup()
    path = data.train.records[0].image.path
    path.write_bytes(path.read_bytes()[:60])
    assert len(data.fingerprint["levels"]["train"]) == len(data.train) - 1


def test_a_folder_may_grow_but_none_of_its_files_may_change(images):
    before = files_fingerprint(ImageFiles(images, 16, 1))
    Image.new("L", (16, 16), 9).save(images / "new.bmp")
    assert same_files(before, files_fingerprint(ImageFiles(images, 16, 1)))
    Image.new("L", (17, 16), 9).save(images / "light" / "3.bmp")
    assert not same_files(before, files_fingerprint(ImageFiles(images, 16, 1)))


def test_where_data_lies_is_of_no_account_once_it_is_known_what_it_holds(images, tmp_path):
    data = in_folder(images)
    before = images_identity(data.config, data, data.test)
    shutil.copytree(images, tmp_path / "copy")
    moved = in_folder(tmp_path / "copy")
    now = images_identity(moved.config, moved, moved.test)
    assert changed_work(json.loads(json.dumps(before)), now) == []
    (tmp_path / "copy" / "dark" / "5.bmp").rename(tmp_path / "copy" / "dark" / "6.bmp")
    other = in_folder(tmp_path / "copy")
    assert changed_work(before, images_identity(other.config, other, other.test)) == ["data"]
    del before["data"]  # noted by a former version
    assert changed_work(before, now) == ["data.path"]


@pytest.mark.parametrize("note", [5, [], {}, {"names": "x"}, {"names": "x", "levels": {}, "files": "y"}])
def test_a_note_of_other_content_is_of_other_data(note):
    assert not same_data(note, data_fingerprint(splits()))
