"""The models that the package carries: they open, and they explain."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
from safetensors import safe_open

from cae.commands.traverse import traverse
from cae.config.command_line import parse
from cae.errors import UserError
from cae.runs.pretrained import SHIPPED, install_pretrained
from cae.runs.run_config import explanation_config
from cae.runs.trained_run import load_run

RECIPE = Path(__file__).parents[3] / "configs" / "pretrained.yaml"


def test_they_take_at_most_5_megabytes_and_hold_nothing_but_tensors_and_text():
    files = list(SHIPPED.iterdir())
    assert sum(path.stat().st_size for path in files) < 5e6
    assert {path.suffix for path in files} == {".safetensors", ".json", ".yaml"}
    for path in SHIPPED.glob("*.safetensors"):
        with safe_open(path, "pt") as file:
            assert list(file.keys())


def test_a_fresh_installation_explains_images_without_training(tmp_path):
    words = [
        "traverse",
        str(RECIPE),
        f"runs={tmp_path}",
        "traverse.limit=9",
        "traverse.pictures=1",
        "logging.progress=false",
    ]
    config = explanation_config(parse(words, {"traverse": ""}, "explain.py"))
    traverse(config)
    folder = tmp_path / "pretrained" / "explanations" / "traverse"
    with (folder / "index.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 9
    # of 600 test images 99 % are found; more than one failure among nine has a chance of about 1 in 200
    assert sum(row["found"] == "true" for row in rows) >= 7
    assert len(list((folder / "strips").glob("*.png"))) == 1


def test_they_are_copied_once_and_into_no_other_run(tmp_path):
    install_pretrained(tmp_path / "new")
    (tmp_path / "new" / "explanations").mkdir()
    install_pretrained(tmp_path / "new")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "notes.txt").touch()
    with pytest.raises(UserError, match=r"holds notes.txt .*set name="):
        install_pretrained(tmp_path / "other")


def test_the_shipped_run_opens_by_its_name_alone(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run = load_run("pretrained", "data.lesions.train=30", "data.lesions.val=3", "data.lesions.test=3")
    assert run.classes == ("healthy", "mass", "cyst")
    assert list(tmp_path.iterdir()) == []
