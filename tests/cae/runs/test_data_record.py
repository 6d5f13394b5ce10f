"""Data that has changed since a stage was trained is noticed."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from cae.config import load_config
from cae.data import CAEDataModule, open_source
from cae.files import write_json, write_tensors
from cae.runs.data_record import changes, data_warnings, keep_record


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "images"
    for cls in ("cat", "dog"):
        (root / cls).mkdir(parents=True)
        for number in range(10):
            pixels = np.random.default_rng(number).integers(0, 255, (16, 16)).astype(np.uint8)
            Image.fromarray(pixels).save(root / cls / f"{cls}{number}.png")
    return root


def opened(root: Path, *overrides: str) -> CAEDataModule:
    return CAEDataModule(
        load_config([], ["data.source=folder", f"data.path={root}", "data.image_size=16", *overrides]).data
    )


def test_the_same_data_is_nothing_to_speak_of(root: Path, tmp_path: Path):
    keep_record(tmp_path, "classifier", opened(root).splits)
    assert data_warnings(tmp_path, opened(root), ["classifier", "cae"]) == []


def test_images_that_move_into_another_split_are_counted(root: Path, tmp_path: Path):
    keep_record(tmp_path, "classifier", opened(root).splits)
    for number in range(10, 30):
        shutil.copy(root / "cat/cat0.png", root / f"cat/cat{number}.png")
    (said,) = data_warnings(tmp_path, opened(root), ["classifier"])
    assert "changed since the classifier of this run was trained (train 12 -> 28, val 4 -> 6" in said
    assert "of train were in" in said or "of test were in train" in said


def test_a_file_that_was_replaced_is_noticed(root: Path, tmp_path: Path):
    keep_record(tmp_path, "cae", opened(root).splits)
    Image.new("L", (16, 16), 7).save(root / "dog/dog3.png")
    (said,) = data_warnings(tmp_path, opened(root), ["cae"])
    assert "(1 images have another class or another file)" in said


def test_drawn_images_are_not_recorded(tmp_path: Path):
    drawn = open_source(load_config([], ["data.lesions.train=6", "data.lesions.val=3", "data.lesions.test=3"]).data)
    keep_record(tmp_path, "cae", drawn)
    assert not (tmp_path / "data.json").exists()


@pytest.mark.parametrize(
    ("stage", "write"),
    [
        ("cae", lambda path, facts: write_tensors(path, {"a": torch.ones(1)}, "cae", facts)),
        ("oracle", lambda path, facts: write_tensors(path, {"a": torch.ones(1)}, "classifier", facts)),
        ("sampler", lambda path, facts: write_json(path.with_name("stages.json"), {"sampler": facts})),  # not finished
    ],
)
def test_results_of_other_drawn_images_are_noticed(stage, write, tmp_path: Path):
    drawn = ("data.lesions.train=6", "data.lesions.val=3", "data.lesions.test=3", "data.image_size=16")
    data, other = (CAEDataModule(load_config([], [*drawn, f"data.seed={seed}"]).data) for seed in (0, 1))
    write(tmp_path / f"{stage}.safetensors", {"data": data.fingerprint})
    assert data_warnings(tmp_path, data, ["classifier", stage]) == []
    (said,) = data_warnings(tmp_path, other, ["classifier", stage])
    assert f"changed since the {stage} of this run was trained (other images, labels, or another order)" in said


def test_changes_are_told_by_split():
    before = {"train": {"a": "1", "b": "1"}, "val": {"c": "1"}, "test": {}}
    now = {"train": {"a": "1", "c": "1"}, "val": {}, "test": {"b": "1"}}
    assert changes(before, before) == ""
    assert changes(before, now) == (
        "train 2 -> 2, val 1 -> 0, test 0 -> 1 images; 1 of train were in val; 1 of test were in train"
    )
