"""Inputs that would hang, fill memory or the disk, or speak to the terminal are told in words, or made harmless."""

from __future__ import annotations

import csv
import errno
import os
import subprocess
import sys
import zipfile
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from safetensors import SafetensorError

from cae.classifiers.checkpoints import read_state_dict
from cae.config.command_line import load_config, parse, run_program
from cae.csv_files import write_csv
from cae.data import CAEDataModule
from cae.data.images import ImageRef, read_image
from cae.data.records import ImageFiles
from cae.errors import UserError, printable
from cae.files import atomic_path, file_name, read_checkpoint, read_json, write_json, write_tensors

ROOT = Path(__file__).parents[2]


def opened(*overrides: str) -> CAEDataModule:
    data = CAEDataModule(load_config(overrides=["data.image_size=16", *overrides]).data)
    data.setup()
    return data


def grey(path: Path, side: int = 8) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", (side, side), 100).save(path)


@pytest.mark.parametrize("name", ["pipe.png", "pipe", "pipe.dcm", "pipe.nii"])
def test_a_pipe_among_images_is_named_and_not_waited_for(name, tmp_path):
    grey(tmp_path / "a.png")
    os.mkfifo(tmp_path / name)
    if name == "pipe":  # without a suffix it is no image, and not opened to see whether it is one
        assert len(ImageFiles(tmp_path, 8, 1)) == 1
        return
    with pytest.raises(UserError, match=rf"{name}' is no ordinary file, but a pipe"):
        ImageFiles(tmp_path, 8, 1)
    with pytest.raises(UserError, match="is no ordinary file"):
        read_image(ImageRef(tmp_path / name))


@pytest.mark.parametrize("source", ["table", "medmnist"])
@pytest.mark.parametrize("name", ["pipe.csv", "pipe.parquet", "pipe.npz"])
def test_a_pipe_in_place_of_a_data_file_is_named(source, name, tmp_path):
    os.mkfifo(tmp_path / name)
    with pytest.raises(UserError, match=name):
        opened(f"data.source={source}", f"data.path={tmp_path / name}")


@pytest.mark.parametrize("path", ["pipe.yaml", "/dev/zero"])
def test_a_pipe_or_device_is_no_configuration(path, tmp_path):
    os.mkfifo(tmp_path / "pipe.yaml")
    with pytest.raises(UserError, match="is no ordinary file"):
        load_config([tmp_path / path])


def test_a_huge_file_is_no_configuration_and_no_json(tmp_path, monkeypatch):
    monkeypatch.setattr("cae.config.parsing.MOST_BYTES", 1 << 20)
    monkeypatch.setattr("cae.files.MOST_TEXT", 1 << 20)
    for name in ("own.yaml", "own.json"):
        with (tmp_path / name).open("wb") as file:
            file.truncate(1 << 21)
    with pytest.raises(UserError, match="larger than 1 MB"):
        load_config([tmp_path / "own.yaml"])
    with pytest.raises(UserError, match="larger than 1 MB"):
        read_json(tmp_path / "own.json")


def test_an_archive_that_would_fill_memory_is_refused_before_it_is_unpacked(tmp_path):
    path = tmp_path / "bomb.npz"
    images = {f"{split}_images": np.zeros((400, 64, 64), np.uint8) for split in ("train", "val", "test")}
    np.savez_compressed(path, **images, **{f"{split}_labels": np.arange(400) % 2 for split in ("train", "val", "test")})
    assert path.stat().st_size < 20_000
    options = ("data.source=medmnist", f"data.path={path}")
    with pytest.raises(UserError, match=r"bomb\.npz' takes 0\.0 GB in memory, but data\.max_gigabytes allows 0\.004"):
        opened(*options, "data.max_gigabytes=0.004")
    assert len(opened(*options).train) == 400


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_a_table_that_would_fill_memory_is_refused_before_it_is_read(suffix, tmp_path):
    table = pd.DataFrame({"path": ["a.png"] * 200_000, "label": ["x"] * 200_000})
    path = tmp_path / f"table.{suffix}"
    table.to_csv(path) if suffix == "csv" else table.to_parquet(path)
    with pytest.raises(UserError, match=rf"table\.{suffix}' takes .*data\.max_gigabytes allows 0\.001"):
        opened("data.source=table", f"data.path={path}", "data.max_gigabytes=0.001")


@pytest.mark.parametrize("read", [read_checkpoint, read_state_dict])
def test_a_checkpoint_that_would_fill_memory_is_refused(read, tmp_path):
    torch.save({"state_dict": {"a": torch.zeros(100_000)}, "epoch": 1, "global_step": 1}, tmp_path / "whole.ckpt")
    with zipfile.ZipFile(tmp_path / "whole.ckpt") as whole, zipfile.ZipFile(tmp_path / "bomb.ckpt", "w") as bomb:
        for name in whole.namelist():
            bomb.writestr(name, whole.read(name), zipfile.ZIP_DEFLATED)
    with pytest.raises(UserError, match=r"bomb\.ckpt.*compressed, which PyTorch never does"):
        read(tmp_path / "bomb.ckpt")
    assert read(tmp_path / "whole.ckpt")


def test_names_that_are_no_text_become_ids_that_are(tmp_path):
    grey(tmp_path / "a" / "1.png")
    for number in range(3):
        os.rename(tmp_path / "a" / "1.png", os.fsencode(tmp_path / "a") + b"/\xff%d.png" % number)
        grey(tmp_path / "a" / "1.png")
        grey(tmp_path / "b" / f"{number}.png")
    images = ImageFiles(tmp_path / "a", 8, 1)
    assert [images[place].id for place in range(4)] == ["1.png", "\\xff0.png", "\\xff1.png", "\\xff2.png"]
    data = opened("data.source=folder", f"data.path={tmp_path}", "data.val_share=0.25", "data.test_share=0.25")
    ids = [id for name in ("train", "val", "test") for id in data.dataset(name).ids]
    assert sorted(ids) == ["a/1.png", "a/\\xff0.png", "a/\\xff1.png", "a/\\xff2.png", "b/0.png", "b/1.png", "b/2.png"]
    write_json(tmp_path / "ids.json", ids)
    assert read_json(tmp_path / "ids.json", list) == ids
    assert len({file_name(id) for id in ids}) == len(ids)


def test_an_argument_that_is_no_text_is_named():
    words = [sys.executable, "train.py", "classifier", b"data.path=\xff", "data.source=folder"]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, env={**os.environ, "PYTHONIOENCODING": "utf-8"})
    assert done.returncode == 2
    assert b"bytes that are no text in UTF-8" in done.stderr
    assert b"Traceback" not in done.stderr


def test_what_a_terminal_would_obey_is_shown_instead(tmp_path, capsys):
    evil = "\x1b]0;owned\x07\x1b[2J\r\u202egnp.exe"
    assert printable(evil) == "\\x1b]0;owned\\x07\\x1b[2J\\r\\u202egnp.exe"

    def main(_):
        raise UserError([f"no image file '{evil}'", "another"])

    with pytest.raises(SystemExit):
        run_program(main, [])
    assert "\x1b" not in capsys.readouterr().err


def test_no_cell_of_a_table_is_a_formula(tmp_path):
    texts = ["=1+1", "+1", "-2+3", "@SUM(A1)", "\t=1", "\r=1", "test/0001", "a=b", ""]
    write_csv(tmp_path / "own.csv", ["=id", "number"], [(text, -1.5) for text in texts])
    with (tmp_path / "own.csv").open(newline="") as file:
        rows = list(csv.reader(file))
    assert rows[0] == ["'=id", "number"]
    assert [row[0] for row in rows[1:]] == [f"'{text}" for text in texts[:6]] + texts[6:]
    assert {row[1] for row in rows[1:]} == {"-1.5"}


NO_SPACE = {
    "Python": OSError(errno.ENOSPC, "No space left on device"),
    "quota": OSError(errno.EDQUOT, "Disk quota exceeded"),
    "safetensors": SafetensorError("I/O error: No space left on device (os error 28)"),
}


@pytest.mark.parametrize("error", NO_SPACE)
def test_a_full_disk_is_told_and_what_was_there_stays(error, tmp_path):
    path = tmp_path / "metrics.json"
    write_json(path, {"a": 1})

    def fails() -> None:
        with atomic_path(path) as temporary:
            temporary.write_text("half")
            raise NO_SPACE[error]

    with pytest.raises(UserError, match=r"metrics\.json' is not written: the disk is full; free some space"):
        fails()
    assert read_json(path) == {"a": 1}
    assert [file.name for file in tmp_path.iterdir()] == ["metrics.json"]


def test_a_full_disk_met_elsewhere_ends_in_a_sentence(tmp_path, capsys):
    def main(_):
        raise OSError(errno.ENOSPC, "No space left on device", str(tmp_path / "metrics.csv"))

    with pytest.raises(SystemExit) as stop:
        run_program(main, [])
    assert stop.value.code == 2
    assert capsys.readouterr().err.startswith("error: the disk is full")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a system without /dev/full")
@pytest.mark.parametrize(
    "write", [lambda path: torch.save({"a": torch.ones(10**6)}, path), lambda path: path.write_bytes(bytes(10**6))]
)
def test_what_pytorch_says_of_a_full_disk_is_understood(write, tmp_path, monkeypatch):
    """Onto a disk that takes nothing: PyTorch says no more than that writing failed."""
    monkeypatch.setattr("shutil.disk_usage", lambda folder: SimpleNamespace(free=0))

    def fails() -> None:
        with atomic_path(tmp_path / "own.ckpt") as temporary:
            temporary.unlink()
            temporary.symlink_to("/dev/full")
            write(temporary)

    with pytest.raises(UserError, match="the disk is full"):
        fails()
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_may_not_be_written_to_is_told(tmp_path, monkeypatch):
    def refused(*arguments, **options):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr("tempfile.mkstemp", refused)
    with pytest.raises(UserError, match=r"own\.safetensors' is not written: the folder .* may not be written to"):
        write_tensors(tmp_path / "own.safetensors", {"a": torch.ones(1)}, "own", {})


def test_an_option_of_another_kind_of_error_is_not_taken_for_a_full_disk(tmp_path):
    with pytest.raises(ValueError, match="own"), atomic_path(tmp_path / "a"):
        raise ValueError("own")
    assert (
        parse(["traverse", "data.max_gigabytes=0.5"], {"traverse": ""}, "explain.py").config.data.max_gigabytes == 0.5
    )
