"""`train.py check`: what the data is, printed, as JSON and as a contact sheet; damaged files before any training."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from pictures import count, pixels
from PIL import Image

from cae.commands.check import check
from cae.commands.train import classifier_stage
from cae.config import Config, load_config
from cae.errors import UserError

YELLOW = "#F0E442"


def write(path: Path, values: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(values.astype(np.uint8)).save(path)


def noise(seed: int, side: int = 32) -> np.ndarray:
    coarse = np.random.default_rng(seed).integers(0, 256, (8, 8)).astype(np.uint8)
    return np.asarray(Image.fromarray(coarse).resize((side, side), Image.Resampling.BICUBIC), dtype=float)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Two classes in three splits, with one of everything that deserves a second look."""
    root = tmp_path / "images"
    for place, (split, most) in enumerate({"train": 6, "val": 2, "test": 3}.items()):
        for number in range(most):
            for cls in ("cat", "dog"):
                write(root / split / cls / f"{number}.png", noise(100 * place + 2 * number + (cls == "dog")))
    write(root / "test/cat/copy.png", noise(0, 64) * 0.9 + 10)  # train/cat/0.png, larger and paler
    write(root / "train/dog/black.png", np.zeros((32, 32)))
    write(root / "train/dog/dark.png", noise(1007) * 0.05)
    write(root / "val/dog/deep.png", noise(1008))
    Image.fromarray((noise(1009) * 256).astype(np.uint16)).save(root / "val/dog/deep.png")
    whole, half = np.full((32, 32), 255), np.zeros((32, 32))
    half[8:24, 8:24] = 255
    write(root / "masks/train/cat/0.png", half)
    write(root / "masks/train/cat/1.png", whole)
    write(root / "masks/train/cat/2.png", whole * 0)
    return root


def config_of(root: Path, *overrides: str) -> Config:
    given = (
        "name=a", f"runs={root.parent / 'runs'}", "data.source=folder", f"data.path={root}", "data.image_size=32",
        "logging.progress=false", "trainer.accelerator=cpu", *overrides,
    )  # fmt: skip
    return load_config([], given)


def test_the_report_counts_and_names_what_deserves_a_second_look(root: Path, capsys):
    check(config_of(root, "data.levels=[0,65535]"))
    said = capsys.readouterr().out
    folder = root.parent / "runs" / "a" / "data"
    kept = json.loads((folder / "report.json").read_text())
    assert "train: 14 images (cat 6, dog 8)" in said
    assert kept["counts"]["test"] == {"cat": 4, "dog": 3}
    assert {"width": 64, "height": 64, "files": 1} in kept["sizes"]
    assert kept["kinds"] == {"PNG, 8 bits, grey": 25, "PNG, 16 bits, grey": 1}
    assert kept["constant"] == ["train/dog/black.png"]
    assert kept["nearly_black"] == ["train/dog/dark.png"]
    assert kept["masks"] == {"kept": ["train/cat/0.png"], "full": ["train/cat/1.png"], "empty": ["train/cat/2.png"]}
    assert [(pair["id"], pair["other_id"]) for pair in kept["near_duplicates"]] == [
        ("test/cat/copy.png", "train/cat/0.png")
    ]
    for words in ("1 images are of one value", "1 images are nearly black", "inverted?", "are empty in their files",
                  "'test/cat/copy.png' and 'train/cat/0.png'", "masks: 3 of 26 images"):  # fmt: skip
        assert words in said
    sheet = pixels(folder / "contact_sheet.png")
    assert count(sheet, YELLOW) > 300  # the outline of the one mask that has one


def test_every_damaged_file_is_told_by_check_and_before_a_training(root: Path, capsys):
    for path in (root / "test/dog/1.jpg", root / "val/cat/0.jpg"):
        write(path, noise(2000, 64))
        path.write_bytes(path.read_bytes()[:-400])  # the header is whole, the pixels are not
    with pytest.raises(UserError) as caught:
        check(config_of(root))
    assert sorted(str(root) in problem for problem in caught.value.problems) == [True, True]
    assert "cat 6" in capsys.readouterr().out
    for workers in (0, 2):
        with pytest.raises(UserError, match=r"test/dog/1.jpg") as caught:
            classifier_stage(config_of(root, f"data.workers={workers}"))
        assert len(caught.value.problems) == 2
    assert not (root.parent / "runs" / "a" / "classifier_checkpoints").exists()
