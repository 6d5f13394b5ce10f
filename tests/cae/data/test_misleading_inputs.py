"""What is given where something else is wanted is told for what it is, and names mean what they show."""

from __future__ import annotations

import time
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cae.config import load_config
from cae.data import CAEDataModule, open_source
from cae.data.images import missing
from cae.data.types import Splits
from cae.errors import UserError, did_you_mean


def write(path: Path, seed: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(seed).integers(0, 255, (16, 16)).astype(np.uint8)).save(path)
    return path


def classes(root: Path, *names: str, count: int = 8) -> Path:
    for place, name in enumerate(names):
        for number in range(count):
            write(root / name / f"{number}.png", 100 * place + number)
    return root


def opened(source: str, path: Path, *overrides: str) -> Splits:
    return open_source(
        load_config([], [f"data.source={source}", f"data.path={path}", "data.image_size=16", *overrides]).data
    )


@pytest.mark.parametrize(
    ("source", "name", "words"),
    [
        ("folder", "images.zip", "is a file, where a folder is wanted: unpack the archive"),
        ("folder", "list.csv", "tables are read with `data.source=table`"),
        ("folder", "set.npz", "`data.source=medmnist`"),
        ("folder", "link", r"is a link to '.*gone', which is not there"),
        ("medmnist", "list.csv", "is no .npz file, as MedMNIST's are: tables are read with `data.source=table`"),
        ("medmnist", "folder", "is a folder, where a file is wanted"),
    ],
)
def test_what_stands_where_something_else_is_wanted_is_told_for_what_it_is(tmp_path, source, name, words):
    for file in ("images.zip", "list.csv", "set.npz"):
        (tmp_path / file).write_text("path,label\n")
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "gone")
    with pytest.raises(UserError, match=words):
        opened(source, tmp_path / name)


def test_a_class_called_masks_is_told_in_one_sentence(tmp_path):
    root = classes(tmp_path, "masks", "bare", "hats")
    for number in range(8):
        (root / f"masks/{number}.png").rename(root / f"masks/with{number}.png")
    with pytest.raises(UserError, match=r"none of its 8 files .* if 'masks' is a class") as caught:
        opened("folder", root)
    assert len(caught.value.problems) == 1


def test_commas_at_the_ends_of_lines_move_no_column_and_commas_in_names_are_told(tmp_path):
    root = classes(tmp_path, "cat", "dog")
    rows = [f"{name}/{number}.png,{name}," for name in ("cat", "dog") for number in range(8)]
    table = root / "t.csv"
    table.write_text("\n".join(["path,label", *rows]))
    assert opened("table", table).classes == ("cat", "dog")
    table.write_text("\n".join(["path,label", *rows, "cat/1.png,cat, grey"]))
    with pytest.raises(UserError, match=r"row 17: 3 cells, but the heading has 2: put a cell that holds ','"):
        opened("table", table)


def test_names_in_either_form_of_unicode_are_one_name(tmp_path):
    composed, apart = (unicodedata.normalize(form, "café") for form in ("NFC", "NFD"))
    root = tmp_path / "splits"
    for split, name in (("train", composed), ("val", apart), ("test", apart)):
        classes(root / split, name, "bar", count=3)
    write(root / "masks" / "train" / apart / "0.png")
    splits = opened("folder", root)
    assert splits.classes == ("bar", composed)
    assert splits.train[splits.train.ids.index(f"train/{composed}/0.png")].mask is not None
    table = root / "t.csv"
    lines = [f"val/{composed}/{n}.png,a" for n in range(3)] + [f"train/bar/{n}.png,b" for n in range(3)]
    table.write_text("\n".join(["path,label", *lines]), encoding="utf-8")
    assert opened("table", table).classes == ("a", "b")


def test_chinese_names_of_files_and_classes_are_read(tmp_path):
    root = classes(tmp_path / "图像", "猫", "狗")
    splits = opened("folder", root)
    assert splits.classes == ("狗", "猫")
    assert "猫/0.png" in [*splits.train.ids, *splits.val.ids, *splits.test.ids]


def test_a_damaged_file_is_one_sentence_from_a_loading_process_too(tmp_path):
    root = classes(tmp_path, "cat", "dog")
    for path in root.rglob("*.png"):
        picture = Image.open(path).convert("L").resize((64, 64))
        path.unlink()
        picture.save(path.with_suffix(".jpg"))
        path.with_suffix(".jpg").write_bytes(path.with_suffix(".jpg").read_bytes()[:-300])
    options = ["data.source=folder", f"data.path={root}", "data.image_size=16", "data.workers=1"]
    data = CAEDataModule(load_config([], options).data)
    data._splits = Splits(*[_unread(root, options)] * 3, ("cat", "dog"))
    with pytest.raises(UserError, match=r"^cannot read the image '.*jpg': image file is truncated[^\n]*$"):
        next(iter(data.val_dataloader()))


def _unread(root: Path, options: list[str]):
    from cae.data.records import FileSet, make_records

    return FileSet(make_records(root, [(path, 0) for path in sorted(root.rglob("*.jpg"))], {}), 16, 1)


def test_a_hint_costs_no_more_than_the_error(tmp_path):
    (tmp_path / "images").mkdir()
    for number in range(200):
        (tmp_path / "images" / f"{number:06}.png").touch()
    asked = []

    def names():
        for number in range(1_000_000):
            asked.append(number)
            yield f"{number:06}.png"

    assert did_you_mean("a cat", names()) == ""
    assert len(asked) <= 3001
    began = time.process_time()
    assert "did you mean" in missing(tmp_path / "images" / "00001.png", "image file")
    assert time.process_time() - began < 1


def test_images_beside_the_folders_of_the_classes_are_counted(tmp_path):
    root = classes(tmp_path, "cat", "dog")
    write(root / "stray.png", 999)
    write(root / "masks" / "cat" / "0.png")
    assert opened("folder", root).notes[0] == "1 image(s) are in no folder of a class, and not read: 'stray.png'."


def test_a_folder_of_masks_is_none_of_the_classes_however_it_is_written(tmp_path):
    root = classes(tmp_path, "cat", "dog")
    write(root / "Masks" / "cat" / "0.png")
    splits = opened("folder", root)
    assert splits.classes == ("cat", "dog")
    assert sum(record.mask is not None for part in (splits.train, splits.val, splits.test) for record in part.records)
    (root / "Masks").rename(root / "segmentations")
    write(root / "segmentations" / "dog" / "0.png")
    (note,) = [note for note in opened("folder", root, "data.val_share=0.1").notes if "called as other classes" in note]
    assert note.startswith("'segmentations' are read as classes")


def test_nearly_equal_names_of_folders_are_told(tmp_path):
    notes = opened("folder", classes(tmp_path, "Cat", "cat", "dog")).notes
    assert "'Cat' and 'cat' are classes of their own, though their names are nearly the same" in " ".join(notes)


@pytest.mark.parametrize("mark", [";", "\t"])
def test_tables_of_other_separators_and_spaces_around_their_headings_are_read(tmp_path, mark):
    root = classes(tmp_path, "cat", "dog")
    rows = [f"{name}/{number}.png{mark} {name}" for name in ("cat", "dog") for number in range(8)]
    (root / "t.csv").write_text("\n".join([f"path{mark} label", *rows]), encoding="utf-8-sig")
    splits = opened("table", root / "t.csv")
    assert splits.classes == ("cat", "dog")
    assert len(splits.train) + len(splits.val) + len(splits.test) == 16


def test_a_table_that_names_a_column_twice_or_is_in_another_encoding_is_told(tmp_path):
    table = tmp_path / "t.csv"
    table.write_text("path,label,label\na.png,cat,dog")
    with pytest.raises(UserError, match=r"has 'label' more than once in its heading: which one is meant\?"):
        opened("table", table)
    table.write_text("path,label\na.png,kätzchen", encoding="latin-1")
    with pytest.raises(UserError, match=r"its text is not in UTF-8 .*: save it anew in that encoding"):
        opened("table", table)


def test_a_file_of_other_content_is_told_without_the_words_of_a_library(tmp_path):
    root = classes(tmp_path, "cat", "dog")
    (root / "cat" / "page.jpg").write_text("<html>404</html>")
    with pytest.raises(UserError, match=r"page\.jpg': its content is no picture that the program can read$"):
        opened("folder", root)
