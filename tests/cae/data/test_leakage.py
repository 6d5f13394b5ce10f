"""What must not stand in two splits: one file, copies of it, one patient."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cae.config import DataConfig
from cae.config.command_line import load_config
from cae.data import inspection, open_source
from cae.data.images import ImageRef
from cae.data.leakage import group_of
from cae.data.records import Record
from cae.errors import UserError


def noise(path, seed):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 255, (8, 8)).astype(np.uint8)
    Image.fromarray(pixels).save(path)
    return path


def opened(path, source="folder", **options):
    return open_source(DataConfig(source=source, path=str(path), image_size=8, **options))


def problems(path, source="folder", **options):
    with pytest.raises(UserError) as caught:
        opened(path, source, **options)
    return caught.value.problems


@pytest.fixture
def class_folders(tmp_path):
    for number, name in enumerate(("cat", "dog")):
        for index in range(12):
            noise(tmp_path / name / f"{index}.png", 100 * number + index)
    return tmp_path


def write_table(folder, rows, header="path,label,split"):
    (folder / "table.csv").write_text("\n".join([header, *rows]))
    return folder / "table.csv"


def test_patients_in_several_splits_of_a_table_are_an_error_that_names_them(class_folders):
    rows = [
        f"{name}/{i}.png,{name},{('train', 'val', 'test')[i % 3]},P{i if i > 2 else 0}"
        for name in ("cat", "dog") for i in range(12)
    ]  # fmt: skip
    table = write_table(class_folders, rows, "path,label,split,patient")
    columns = {"path": "path", "label": "label", "split": "split", "group": "patient"}
    (found,) = problems(table, "table", columns=columns)
    assert found.startswith("'P0' is in more than one split (2 in train, 2 in val, 2 in test)")


@pytest.mark.parametrize("spelling", ["./cat/0.png", "{folder}/cat/0.png", "link.png", "hard.png"])
def test_one_file_under_two_names_is_an_error(class_folders, spelling):
    (class_folders / "link.png").symlink_to(class_folders / "cat" / "0.png")
    os.link(class_folders / "cat" / "0.png", class_folders / "hard.png")
    rows = [f"{name}/{i}.png,{name},{('train', 'val', 'test')[i % 3]}" for name in ("cat", "dog") for i in range(12)]
    other = spelling.format(folder=class_folders)
    table = write_table(class_folders, [*rows, f"{other},dog,test"])
    assert problems(table, "table") == [f"'cat/0.png' and '{other}' are the same file: keep one of them."]


def test_every_file_is_opened_once_for_its_header_copies_and_pages(class_folders, monkeypatch):
    for path in class_folders.rglob("*.png"):
        Image.open(path).save(path.with_suffix(".tif"))  # of one size, and of several pages for all that a name tells
        path.unlink()
    opens = []
    real = Path.open
    monkeypatch.setattr(Path, "open", lambda path, *rest: opens.append(path) or real(path, *rest))
    monkeypatch.setattr(inspection, "LEVEL_FILES", 1)
    monkeypatch.setattr(inspection, "IMAGE_FILES", 1)
    opened(class_folders)
    assert len(set(opens)) == 24
    assert len(opens) == 24 + 2  # one that is looked at for its levels, one for its colours


def test_copies_across_splits_and_classes_are_counted(tmp_path, capsys):
    for number, part in enumerate(("train", "val", "test")):
        for kind, name in enumerate(("cat", "dog")):
            for index in range(4):
                noise(tmp_path / part / name / f"{index}.png", 100 * number + 10 * kind + index)
    assert opened(tmp_path).notes == ()
    shutil.copy(tmp_path / "train/cat/0.png", tmp_path / "test/cat/copy.png")
    shutil.copy(tmp_path / "train/cat/1.png", tmp_path / "train/dog/copy.png")
    notes = opened(tmp_path).notes
    assert notes == (
        "1 of the 9 images of the train split have the same content as images of val or test: 'train/cat/0.png'.",
        "1 of the 9 images of the test split have the same content as images of train or val: 'test/cat/copy.png'.",
        "2 images have the same content under different labels: 'train/cat/1.png', 'train/dog/copy.png'.",
    )
    assert capsys.readouterr().out.splitlines() == [f"note: {note}" for note in notes]


def test_images_of_a_sub_folder_stay_together(tmp_path):
    for number, name in enumerate(("cat", "dog")):
        for patient in range(8):
            for index in range(4):
                noise(tmp_path / name / f"p{patient}" / "series" / f"{index}.png", 1000 * number + 10 * patient + index)
    splits = opened(tmp_path, group="folder")
    owners = [{name.split("/")[1] for name in part.ids} for part in (splits.train, splits.val, splits.test)]
    assert sum(map(len, owners)) == len(set.union(*owners)) == 8
    assert all(owners)


@pytest.mark.parametrize(
    ("rule", "id", "group"),
    [
        ("folder", "cat/p1/s/a.png", "p1"),
        ("folder", "train/cat/p1/a.png", "p1"),
        ("folder", "cat/a.png", "cat/a.png"),
        (r"p\d+", "cat/p12-a.png", "p12"),
        (r"/(.*?)_", "cat/ann_3.png", "ann"),
        (r"p\d+", "cat/a.png", "cat/a.png"),
        ("patient", "cat/a.png", "cat/a.png"),
    ],
)
def test_the_group_of_an_image(tmp_path, rule, id, group):
    assert group_of(Record(ImageRef(tmp_path / id), id), rule, ("cat", "dog")) == group


def test_dicom_images_of_a_patient_are_counted_or_kept_together(tmp_path):
    pytest.importorskip("pydicom")
    from dicom_files import write_dicom

    for kind, name in enumerate(("cat", "dog")):
        (tmp_path / name).mkdir()
        for index in range(16):
            pixels = np.random.default_rng(100 * kind + index).integers(0, 255, (8, 8)).astype(np.uint8)
            write_dicom(tmp_path / name / f"{index}.dcm", pixels, PatientID=f"{name}{index // 4}")
    (note,) = opened(tmp_path).notes
    assert "of 8 patients (by PatientID) are in more than one split: set `data.group=patient`" in note
    splits = opened(tmp_path, group="patient")
    assert splits.notes == ()
    assert [len(part) % 4 for part in (splits.train, splits.val, splits.test)] == [0, 0, 0]


def test_a_group_rule_that_cannot_be_read_is_answered():
    with pytest.raises(UserError, match=r"'data.group' must be folder, patient or a regular expression"):
        load_config([], ["data.source=folder", "data.path=x", "data.group='p(1'"])


def test_names_in_another_encoding_are_split_and_said(class_folders, capsys):
    os.rename(os.fsencode(class_folders / "cat/0.png"), os.fsencode(class_folders / "cat") + b"/k\xe4.png")
    shutil.copy(os.fsencode(class_folders / "cat") + b"/k\xe4.png", class_folders / "dog/copy.png")
    splits = opened(class_folders)
    assert sum(len(part) for part in (splits.train, splits.val, splits.test)) == 25
    assert "k\\xe4.png" in capsys.readouterr().out
