"""Inputs that would hang, fill memory or the disk, or speak to the terminal are told in words, or made harmless."""

from __future__ import annotations

import csv
import errno
import os
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from safetensors import SafetensorError

from cae.classifiers import SmallResNet, load_own
from cae.classifiers.checkpoints import read_state_dict
from cae.config.checks import check_config
from cae.config.command_line import load_config, parse, run_program
from cae.csv_files import write_csv
from cae.data import CAEDataModule
from cae.data.images import ImageRef, read_image
from cae.data.records import ImageFiles
from cae.errors import UserError, printable
from cae.files import atomic_path, file_name, read_checkpoint, read_json, write_json, write_tensors
from cae.models.loading import load_cae
from cae.parquet_files import read_parquet
from cae.tables.index import read_index
from cae.training.csv_log import ContinuedCSVLogger
from cae.written_files import LIST, keep_list

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


@pytest.mark.parametrize("kind", ["table", "index"])
def test_a_text_that_a_parquet_file_holds_once_for_every_row_fills_no_memory(kind, tmp_path, monkeypatch):
    rows = 20_000
    cells = pa.DictionaryArray.from_arrays(pa.array(np.zeros(rows, np.int32)), pa.array(["x" * 100_000]))
    path = tmp_path / "bomb.parquet"
    pq.write_table(pa.table({"path": cells, "label": pa.array(["a"] * rows)}), path, store_schema=False)
    assert path.stat().st_size < 50_000
    if kind == "table":
        with pytest.raises(UserError, match=r"bomb\.parquet' takes 2\.0 GB in memory, but data\.max_gigabytes"):
            opened("data.source=table", f"data.path={path}", "data.max_gigabytes=1")
    else:
        with pytest.raises(UserError, match=r"bomb\.parquet' cannot be read \(it takes \d{10} bytes or more"):
            read_index(path)


def test_nested_columns_are_not_read_and_others_are(tmp_path):
    table = pa.table({"path": ["a.png", None], "n": [1, 2], "nested": [[1], [2]]})
    pq.write_table(table.set_column(1, "kind", table["path"].dictionary_encode()), tmp_path / "own.parquet")
    found = read_parquet(tmp_path / "own.parquet", 1e6)
    assert found.to_pydict() == {"path": ["a.png", None], "kind": ["a.png", None]}
    pq.write_table(table.slice(0, 0), tmp_path / "empty.parquet")
    assert read_parquet(tmp_path / "empty.parquet", 1e6).to_pydict() == {"path": [], "n": []}


OWN = {"model": "resnet", "classes": ["a", "b"], "channels": 1, "width": 4, "image_size": [16, 16], "input_size": None,
       "mean": [], "std": []}  # fmt: skip


@pytest.mark.parametrize(
    "changed",
    [
        {"width": 10**9},
        {"reductions": 10**9},
        {"channels": -1},
        {"classes": 5},
        {"image_size": 3},
        {"classes": ["a"] * 999},
    ],
)
def test_a_classifier_whose_description_no_weights_could_have_takes_no_memory(changed, tmp_path):
    network = SmallResNet(2, width=4)
    write_tensors(tmp_path / "classifier.safetensors", network.state_dict(), "classifier", OWN)
    assert load_own(tmp_path).classes == ("a", "b")
    write_tensors(tmp_path / "classifier.safetensors", network.state_dict(), "classifier", {**OWN, **changed})
    with pytest.raises(UserError, match=r"classifier\.safetensors'"):
        load_own(tmp_path)


@pytest.mark.parametrize(
    "header",
    [{"model": {"width": 10**9}}, {"model": {"residual_blocks": 10**9}}, {"model": "x"}, {"image_shape": [1, -4, 4]},
     {"model": {}, "preset": "published", "image_shape": "abc"}, {"model": {"blocks": 10**9}, "preset": "published"}],
)  # fmt: skip
def test_a_cae_whose_header_no_weights_could_have_takes_no_memory(header, tmp_path):
    path = tmp_path / "cae.safetensors"
    write_tensors(path, {"a": torch.ones(9)}, "cae", {"kind": "cae", "image_shape": [1, 16, 16], "model": {}, **header})
    with pytest.raises(UserError, match=r"cae\.safetensors'"):
        load_cae(path)


NESTED = "methods: [&a [x,x,x,x,x,x,x,x], &b [*a,*a,*a,*a,*a,*a], &c [*b,*b,*b,*b,*b,*b], &d [*c,*c,*c,*c,*c,*c]]"


@pytest.mark.parametrize("text", [NESTED, "methods: &m [*m]", "data: &d {lesions: *d}", "a: " + "[" * 1500, "<<: [1]"])
def test_a_configuration_that_unfolds_without_end_is_refused(text, tmp_path):
    (tmp_path / "own.yaml").write_text(text)
    with pytest.raises(UserError, match=r"own\.yaml"):
        load_config([tmp_path / "own.yaml"])


@pytest.mark.parametrize("name", ["a\x1b[2J", "a\0b", "..", "a/b", "a\nb"])
def test_a_name_that_is_no_folder_name_is_refused(name):
    with pytest.raises(UserError, match="must be a plain folder name"):
        check_config(replace(load_config(), name=name))


def test_text_that_is_none_is_kept_in_json(tmp_path):
    write_json(tmp_path / "own.json", {"a": "\ud800 é"})
    assert read_json(tmp_path / "own.json") == {"a": "\ud800 é"}


@pytest.mark.parametrize("name", ["metrics.csv", "hparams.yaml"])
def test_a_log_is_not_written_through_a_link(name, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "mine").write_text("mine")
    (tmp_path / "run" / name).symlink_to(tmp_path / "mine")
    with pytest.raises(UserError, match=rf"{name}' is a link to '{tmp_path / 'mine'}'"):
        ContinuedCSVLogger(tmp_path / "run", "", keep=True)
    assert (tmp_path / "mine").read_text() == "mine"


def test_a_list_of_written_files_is_not_written_through_a_link(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / LIST).symlink_to(tmp_path / "mine")
    with pytest.raises(UserError, match="nothing is written outside the run"):
        keep_list(tmp_path / "run")
    assert not (tmp_path / "mine").exists()


def test_a_file_is_replaced_and_not_written_through_links_or_other_names_of_it(tmp_path):
    (tmp_path / "mine").write_text("mine")
    (tmp_path / "link.json").symlink_to(tmp_path / "mine")
    os.link(tmp_path / "mine", tmp_path / "hard.json")
    for name in ("link.json", "hard.json"):
        write_json(tmp_path / name, {"a": 1})
        assert read_json(tmp_path / name) == {"a": 1}
    assert (tmp_path / "mine").read_text() == "mine"


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


def test_nothing_that_is_printed_commands_the_terminal_but_bars_are_drawn(capsys):
    def main(_):
        print("class \x1b[2J\x9b31m\u202e é")
        print("a\r\x1b[Ab", file=sys.stderr)
        sys.stderr.writelines(["image \x1b]0;owned\x07"])

    before = sys.stdout, sys.stderr
    with pytest.raises(SystemExit):
        run_program(main, [])
    assert (sys.stdout, sys.stderr) == before
    found = capsys.readouterr()
    assert found.out == "class \\x1b[2J\\x9b31m\\u202e é\n"
    assert found.err == "a\r\x1b[Ab\nimage \\x1b]0;owned\\x07"


def test_no_cell_of_a_table_is_a_formula(tmp_path):
    texts = ["=1+1", "+1", "-2+3", "@SUM(A1)", "\t=1", "\r=1", "a;=1", "a\n+1", "test/0001", "a=b", "a-b", ""]
    shown = ["'=1+1", "'+1", "'-2+3", "'@SUM(A1)", "'\t'=1", "'\r'=1", "a;'=1", "a\n'+1", *texts[8:]]
    write_csv(tmp_path / "own.csv", ["=id", "number"], [(text, -1.5) for text in texts])
    with (tmp_path / "own.csv").open(newline="") as file:
        rows = list(csv.reader(file))
    assert rows[0] == ["'=id", "number"]
    assert [row[0] for row in rows[1:]] == shown
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
