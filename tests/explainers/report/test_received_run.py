"""The report of a run that others have made shows what lies in that run, and waits for nothing."""

from __future__ import annotations

import dataclasses
import os
import shutil
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image
from report_run import report_run

from cae.config import Config
from cae.errors import UserError
from cae.files import read_json, write_json
from cae.tables.index import read_index, write_parquet
from explainers.report.build import build_report


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Config:
    return report_run(tmp_path_factory.mktemp("runs"), count=5)


@pytest.fixture
def config(made, tmp_path) -> Config:
    """A run, and beside the runs a picture that is none of it."""
    Image.new("RGB", (8, 8), "red").save(tmp_path / "private.png")
    shutil.copytree(made.runs, tmp_path / "runs")
    return dataclasses.replace(made, runs=str(tmp_path / "runs"))


@pytest.fixture
def explanations(config, tmp_path) -> Path:
    return tmp_path / "runs" / "made" / "explanations"


@pytest.mark.parametrize("name", ["../../../../private.png", "{absolute}", "images/../../../../../private.png"])
def test_an_index_names_no_file_outside_its_folder(name, config, explanations, tmp_path):
    path, place = explanations / "traverse" / "index.parquet", name.format(absolute=tmp_path / "private.png")
    rows = read_index(path)
    write_parquet(path, [*rows[:4], dataclasses.replace(rows[4], strip=place), *rows[5:]])
    with pytest.raises(UserError, match=r"index\.parquet' is damaged.*lies outside its folder"):
        build_report(config)


@pytest.mark.parametrize("key", ["file", "folder"])
def test_a_list_of_outcomes_names_no_file_outside_its_folder(key, config, explanations):
    path = explanations / "generators" / "generators.json"
    listed = read_json(path)
    listed["images" if key == "file" else "arms"][0][key] = "../../../../../private"
    write_json(path, listed)
    with pytest.raises(UserError, match=r"generators\.json' is damaged.*lies outside its folder"):
        build_report(config)


def test_a_link_to_what_lies_elsewhere_is_no_result_and_one_within_the_run_is(config, explanations, tmp_path):
    picture = next((explanations / "compare" / "images").glob("*.png"))
    picture.rename(explanations / "compare" / "moved.png")
    picture.symlink_to("../moved.png")
    build_report(config)
    picture.unlink()
    picture.symlink_to(tmp_path / "private.png")
    with pytest.raises(UserError, match=rf"{picture}' is a link to '{tmp_path / 'private.png'}'.*remove the link"):
        build_report(config)


def bomb(path: Path) -> None:
    """A small PNG of 900 megapixels."""
    header = struct.pack(">IIBBBBB", 30_000, 30_000, 8, 0, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(bytes(10**6))), (b"IEND", b"")]
    parts = (struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
             for kind, data in chunks)  # fmt: skip
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(parts))


PLACES = {
    "original": "compare/images/*.png",
    "strip": "traverse/images/*_004*.png",
    "drawn": "manifold/axes.png",
    "generator": "generators/arms/ours/*.png",
    "costs": "compare/costs.csv",
    "outliers": "manifold/outliers.csv",
    "scores": "caes/scores.csv",
}


DAMAGES: dict[str, Callable[[Path], object]] = {
    "pipe": os.mkfifo,
    "folder": Path.mkdir,
    "bomb": bomb,
    "noise": lambda path: path.write_bytes(b"\xff\0{"),
}
CASES = [*(("pipe", place) for place in PLACES), *(("bomb", place) for place in ("original", "drawn", "generator")),
         *(("noise", place) for place in ("drawn", "outliers")), ("folder", "strip"), ("folder", "scores")]  # fmt: skip


@pytest.mark.parametrize(("damage", "place"), CASES)
def test_what_is_no_picture_or_list_of_the_program_is_named(damage, place, config, explanations):
    folder, _, pattern = PLACES[place].rpartition("/")
    path = next((explanations / folder).glob(pattern), explanations / PLACES[place])
    path.parent.mkdir(exist_ok=True)
    path.unlink(missing_ok=True)
    DAMAGES[damage](path)
    with pytest.raises(UserError) as told:
        build_report(config)
    assert f"'{path}' is damaged" in str(told.value)
