"""Sources over files: what each gives, and that it lists all that is wrong in one error."""

from __future__ import annotations

import importlib
from collections import Counter

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from cae.config import DataConfig
from cae.config.checks import contradictions
from cae.config.command_line import load_config
from cae.config.data_sources import SOURCES, DataSource
from cae.config.fields import all_options
from cae.data import open_source
from cae.data.splits import stratified_split
from cae.errors import UserError


def picture(path, value=100, size=(8, 8), colour=False):
    path.parent.mkdir(parents=True, exist_ok=True)
    shape = (*size, 3) if colour else size
    Image.fromarray(np.full(shape, value, dtype=np.uint8)).save(path)
    return path


def config(source, path, **options):
    return DataConfig(source=source, path=str(path), **{"image_size": 8, **options})


def problems(source, path, **options):
    with pytest.raises(UserError) as caught:
        open_source(config(source, path, **options))
    return caught.value.problems


def ids(splits):
    return [splits.train.ids, splits.val.ids, splits.test.ids]


def test_an_unknown_source_is_answered_with_the_nearest():
    with pytest.raises(UserError, match=r"did you mean 'folder'"):
        open_source(DataConfig(source="foldr"))


# --- splitting -------------------------------------------------------------------------------------------------------


def test_a_split_is_stratified_and_complete():
    labels = [0] * 100 + [1] * 40 + [2] * 7
    split = stratified_split([f"{i}" for i in range(147)], labels, 0.2, 0.1, seed=3)
    assert sorted(index for indices in split.values() for index in indices) == list(range(147))
    counts = {name: Counter(labels[i] for i in indices) for name, indices in split.items()}
    assert counts["val"] == {0: 20, 1: 8, 2: 1}
    assert counts["test"] == {0: 10, 1: 4, 2: 1}


def test_a_split_is_the_same_in_any_order_and_for_ever():
    names = [f"{i:03d}.png" for i in range(40)]
    labels = [i % 2 for i in range(40)]
    forward = stratified_split(names, labels, 0.1, 0.1, seed=0)
    backward = stratified_split(names[::-1], labels[::-1], 0.1, 0.1, seed=0)
    assert {names[i] for i in forward["test"]} == {names[::-1][i] for i in backward["test"]}
    # written down, so that another process, Python or machine is held to it
    assert [names[i] for i in forward["test"]] == EXPECTED_TEST
    assert stratified_split(names, labels, 0.1, 0.1, seed=1) != forward


EXPECTED_TEST = ["001.png", "006.png", "008.png", "021.png"]


def test_every_class_of_three_images_is_in_all_splits():
    split = stratified_split(["a", "b", "c"], [0, 0, 0], 0.01, 0.01, seed=0)
    assert [len(indices) for indices in split.values()] == [1, 1, 1]
    assert [len(part) for part in stratified_split(["a"], [0], 0.4, 0.4, seed=0).values()] == [1, 0, 0]


def test_groups_stay_together():
    groups = [str(i // 5) for i in range(100)]
    split = stratified_split([str(i) for i in range(100)], [i // 50 for i in range(100)], 0.2, 0.2, 0, groups)
    owners = [{groups[i] for i in indices} for indices in split.values()]
    assert not owners[0] & owners[1]
    assert not owners[0] & owners[2]
    assert not owners[1] & owners[2]


def test_shares_that_leave_nothing_for_training_are_refused():
    with pytest.raises(UserError, match=r"0.5 \+ 0.6: nothing would be left"):
        stratified_split(["a"], [0], 0.5, 0.6, seed=0)


# --- folder ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def classes_folder(tmp_path):
    for name, value in (("dog", 200), ("cat", 50)):
        for index in range(10):
            picture(tmp_path / name / f"{index:03d}.png", value + index)
    return tmp_path


def test_class_folders_are_split_by_seed(classes_folder):
    splits = open_source(config("folder", classes_folder, val_share=0.2, test_share=0.3))
    assert splits.classes == ("cat", "dog")
    assert [len(part) for part in ids(splits)] == [10, 4, 6]
    assert splits.test.labels.bincount().tolist() == [3, 3]
    sample = splits.train[0]
    assert sample.id == splits.train.ids[0]
    assert sample.id.startswith("cat/")
    assert sample.label == 0
    assert sample.mask is None
    assert torch.equal(sample.image, torch.full((1, 8, 8), (50 + int(sample.id[4:7])) / 255))
    assert ids(open_source(config("folder", classes_folder, val_share=0.2, test_share=0.3))) == ids(splits)
    assert ids(open_source(config("folder", classes_folder, val_share=0.2, test_share=0.3, seed=1))) != ids(splits)


def test_split_folders_are_taken_as_they_are(tmp_path):
    for part, count in (("train", 3), ("validation", 2), ("test", 1)):
        for name in ("b", "a"):
            for index in range(count):
                picture(tmp_path / part / name / f"{index}.png")
    splits = open_source(config("folder", tmp_path))
    assert [len(part) for part in ids(splits)] == [6, 4, 2]
    assert splits.test.ids == ["test/a/0.png", "test/b/0.png"]
    assert splits.test.labels.tolist() == [0, 1]


def test_without_val_folder_val_is_split_off_train(tmp_path):
    for part, count in (("train", 10), ("test", 3)):
        for name in ("a", "b"):
            for index in range(count):
                picture(tmp_path / part / name / f"{index}.png")
    splits = open_source(config("folder", tmp_path, val_share=0.2))
    assert [len(part) for part in ids(splits)] == [16, 4, 6]
    assert all(name.startswith("train/") for name in splits.val.ids)


def test_a_class_may_be_called_train(tmp_path):
    for name in ("train", "car"):
        for index in range(4):
            picture(tmp_path / name / f"{index}.png")
    assert open_source(config("folder", tmp_path)).classes == ("car", "train")


def test_classes_that_are_numbers_come_in_their_natural_order(tmp_path):
    for number in range(12):
        for index in range(3):
            picture(tmp_path / str(number) / f"{index}.png", 20 * number + index)
    splits = open_source(config("folder", tmp_path))
    assert splits.classes == tuple(map(str, range(12)))
    assert all(sample.id.startswith(f"{sample.label}/") for sample in splits.train)


def test_what_a_folder_holds_beside_its_images_is_counted(tmp_path):
    for part in ("train", "test", "unlabelled"):
        for name in ("a", "b"):
            for index in range(4):
                picture(tmp_path / part / name / f"{index}.png")
    for index in range(3):
        (tmp_path / "train" / "a" / f"{index}.heic").write_text("x")
    (tmp_path / "train" / "a" / ".cache").mkdir()
    notes = open_source(config("folder", tmp_path)).notes
    assert f"1 folder(s) of '{tmp_path}' are none of train, val and test, and not read: 'unlabelled'." in notes
    assert any(note.startswith("3 file(s) below") and note.endswith(": 3 .heic.") for note in notes)
    assert f"1 folder(s) below '{tmp_path}' were skipped: '.cache'." in notes


def test_thumbnails_of_other_programs_are_no_images_and_no_class(tmp_path):
    for name in ("a", "b", "@eaDir", "a/thumbnails"):
        for index in range(4):
            picture(tmp_path / name / f"{index}.png")
    splits = open_source(config("folder", tmp_path))
    assert splits.classes == ("a", "b")
    assert sum(len(part) for part in ids(splits)) == 8


def test_masks_lie_in_a_parallel_tree_and_may_be_missing(classes_folder):
    mask = np.zeros((8, 8), dtype=np.uint8)
    mask[2:4, 2:5] = 1
    for index in range(10):
        path = classes_folder / "masks" / "dog" / f"{index:03d}.bmp"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(mask).save(path)
    splits = open_source(config("folder", classes_folder))
    assert splits.classes == ("cat", "dog")
    for sample in splits.train:
        assert (sample.mask is None) == (sample.label == 0)
        if sample.mask is not None:
            assert torch.equal(sample.mask[0], torch.from_numpy(mask > 0))


def test_all_problems_of_a_folder_come_in_one_error(classes_folder):
    (classes_folder / "empty").mkdir()
    (classes_folder / "cat" / "003.png").write_text("x")
    picture(classes_folder / "masks" / "dog" / "001.png", size=(8, 9))
    picture(classes_folder / "masks" / "dog" / "stray.png")
    picture(classes_folder / "dog" / "colour.png", colour=True)
    found = "\n".join(problems("folder", classes_folder))
    assert f"no image in '{classes_folder}/empty' (looked for .png" in found
    assert f"cannot read the image '{classes_folder}/cat/003.png'" in found
    assert f"mask '{classes_folder}/masks/dog/001.png' has 9 × 8 pixels, but its image" in found
    assert "stray.png' belongs to no image" in found
    assert "grey and colour files are mixed: grey are 'cat/000.png', 'cat/001.png'" in found
    assert "colour are 'dog/colour.png'" in found
    assert len(found.splitlines()) == 5


def test_at_most_twenty_problems_are_listed(tmp_path):
    for index in range(30):
        path = tmp_path / "ab"[index % 2] / f"{index}.png"
        path.parent.mkdir(exist_ok=True)
        path.write_text("x")
    found = problems("folder", tmp_path)
    assert len(found) == 21
    assert found[-1] == "(+10 more)"


def test_a_mix_of_grey_and_colour_may_be_allowed(classes_folder):
    picture(classes_folder / "dog" / "colour.png", colour=True)
    splits = open_source(config("folder", classes_folder, mixed_channels=True, channels=3))
    assert {tuple(sample.image.shape) for sample in splits.train} == {(3, 8, 8)}


def test_colour_files_become_grey_when_all_of_them_are_colour(tmp_path):
    for name in ("a", "b"):
        for index in range(4):
            picture(tmp_path / name / f"{index}.png", 77, colour=True)
    image = open_source(config("folder", tmp_path)).train[0].image
    assert torch.allclose(image, torch.full((1, 8, 8), 77 / 255))


def test_missing_folders_are_named_with_the_nearest_name(tmp_path):
    (tmp_path / "images").mkdir()
    assert problems("folder", tmp_path / "imagse") == [
        f"`data.path`: no folder '{tmp_path}/imagse' (did you mean 'images'?)"
    ]
    with pytest.raises(UserError, match=r"`data.source=folder` needs `data.path`"):
        open_source(DataConfig(source="folder"))
    assert "no class folder" in problems("folder", tmp_path / "images")[0]


def test_a_missing_or_misspelled_split_folder_is_a_problem(tmp_path):
    for part in ("train", "vall"):
        for name in ("a", "b"):
            picture(tmp_path / part / name / "1.png")
    found = "\n".join(problems("folder", tmp_path))
    assert "vall' is no split folder (did you mean 'val'?)" in found
    assert f"no folder '{tmp_path}/test'" in found


def test_splits_as_a_whole_are_checked(tmp_path):
    for name in ("a", "b"):
        picture(tmp_path / "tiny" / name / "1.png")
    found = problems("folder", tmp_path / "tiny", val_share=0.1)
    assert [problem[:26] for problem in found] == ["the val split is empty: ad", "the test split is empty: a"]
    assert "val_share is 0.1, test_share is 0.15" in found[0]
    for part, names in (("train", "ab"), ("val", "ac"), ("test", "ab")):
        for name in names:
            picture(tmp_path / "absent" / part / name / "1.png")
    assert problems("folder", tmp_path / "absent") == ["class 'c' has no training image."]
    for index in range(4):
        picture(tmp_path / "one" / "a" / f"{index}.png")
    assert "found only 1 class (a)" in problems("folder", tmp_path / "one")[0]


# --- paired ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def paired_folder(tmp_path):
    for part, count in (("train", 10), ("test", 4)):
        for side in "AB":
            for index in range(count):
                picture(tmp_path / f"{part}{side}_img" / f"{side} {index}.png")
    return tmp_path


def test_paired_folders_without_label_files_are_two_classes(paired_folder):
    splits = open_source(config("paired", paired_folder, val_share=0.2))
    assert splits.classes == ("class 0", "class 1")
    assert [len(part) for part in ids(splits)] == [16, 4, 8]
    assert splits.test.ids[4] == "testB_img/B 0.png"
    assert splits.test.labels.tolist() == [0] * 4 + [1] * 4


@pytest.mark.parametrize("separator", [" ", "\t", ",", ", "])
def test_label_files_take_any_separator_and_names_with_or_without_suffix(paired_folder, separator):
    for part, count in (("train", 10), ("test", 4)):
        suffix = ".png" if part == "train" else ""
        lines = [f"B {index}{suffix}{separator}{1 + index % 2}" for index in range(count)]
        (paired_folder / f"{part}B_label.txt").write_text("\n".join([f"name{separator}label", *lines, ""]))
    splits = open_source(config("paired", paired_folder))
    assert splits.classes == ("class 0", "class 1", "class 2")
    assert splits.test.labels.tolist() == [0] * 4 + [1, 2, 1, 2]


def test_the_published_label_file_covers_both_folders(paired_folder):
    for part, count in (("train", 10), ("test", 4)):
        lines = [f"{side} {index}.png {3 * (side == 'B') if index else 2}" for side in "AB" for index in range(count)]
        (paired_folder / f"{part}AB_img-name_label.txt").write_text("\n".join(lines))
    assert "class 'class 1' has no training image." in problems("paired", paired_folder)
    (paired_folder / "trainA_label.txt").write_text("\n".join(f"A {index}.png {index % 3}" for index in range(10)))
    assert open_source(config("paired", paired_folder)).test.labels.tolist() == [2, 0, 0, 0, 2, 3, 3, 3]


def test_all_problems_of_paired_folders_come_in_one_error(paired_folder):
    (paired_folder / "testA_img").rename(paired_folder / "testA_imgs")
    lines = [f"B {index}.png 1" for index in range(8)] + ["B 8.png one", "B 99.png 1", "B 3.png -1"]
    (paired_folder / "trainB_label.txt").write_text("\n".join(lines))
    found = "\n".join(problems("paired", paired_folder))
    assert f"no folder '{paired_folder}/testA_img' (did you mean 'testA_imgs'?)" in found
    assert "line 9: the label must be a whole number from 0, but it is 'B 8.png one'" in found
    assert "line 10: no image 'B 99.png'" in found
    assert "line 11: the label must be a whole number" in found
    assert "gives no label for" in found
    assert len(found.splitlines()) == 6


def test_paired_masks_lie_in_a_parallel_tree(paired_folder):
    picture(paired_folder / "masks" / "testB_img" / "B 2.png", 255)
    splits = open_source(config("paired", paired_folder))
    assert [sample.id for sample in splits.test if sample.mask is not None] == ["testB_img/B 2.png"]


# --- table -----------------------------------------------------------------------------------------------------------


def write_table(folder, rows, name="table.csv"):
    for row in rows:
        for key in ("path", "mask"):
            if row.get(key):
                picture(folder / row[key])
    frame = pd.DataFrame(rows)
    frame.to_parquet(folder / name) if name.endswith("parquet") else frame.to_csv(folder / name, index=False)
    return folder / name


def rows(count=12, labels=("cat", "dog"), **columns):
    """One dict per row; further columns are functions of the row's number."""
    return [
        {"path": f"images/{i}.png", "label": labels[i % len(labels)], **{key: of(i) for key, of in columns.items()}}
        for i in range(count)
    ]


@pytest.mark.parametrize("name", ["table.csv", "table.parquet"])
def test_a_table_gives_its_splits_labels_and_masks(tmp_path, name):
    table = rows(
        16,
        labels=["dog"] * 4 + ["cat"] * 4,
        split=lambda i: ["train", "Validation", "test", "test"][i % 4],
        mask=lambda i: f"m/{i}.png" if i == 2 else None,
    )
    splits = open_source(config("table", write_table(tmp_path, table, name)))
    assert splits.classes == ("cat", "dog")
    assert [len(part) for part in ids(splits)] == [4, 4, 8]
    assert splits.train.ids == ["images/0.png", "images/4.png", "images/8.png", "images/12.png"]
    assert splits.train.labels.tolist() == [1, 0, 1, 0]
    assert [sample.id for sample in splits.test if sample.mask is not None] == ["images/2.png"]


@pytest.mark.parametrize(("labels", "classes"), [((0, 1), ("class 0", "class 1")), ((4, 14), ("class 4", "class 14"))])
@pytest.mark.parametrize("name", ["table.csv", "table.parquet"])
def test_whole_numbers_are_labels_in_their_order(tmp_path, labels, classes, name):
    splits = open_source(config("table", write_table(tmp_path, rows(12, labels), name)))
    assert splits.classes == classes
    assert sum(part.labels.bincount() for part in (splits.train, splits.val, splits.test)).tolist() == [6, 6]


@pytest.mark.parametrize("empty", ["nan", "NaN", "<NA>", "NULL", "n/a"])
def test_what_programs_write_for_a_missing_label_is_no_class(tmp_path, empty):
    path = write_table(tmp_path, rows(12))
    frame = pd.read_csv(path)
    frame.loc[4, "label"] = empty
    frame.to_csv(path, index=False)
    assert problems("table", path) == [f"'{path}', row 5: no label."]


def test_suspicious_names_of_classes_are_told(tmp_path):
    path = write_table(tmp_path, rows(20, ("cat", "Cat ", "dog", "cat|dog", "caf\u00e9 au", "cafe\u0301_au")))
    notes = open_source(config("table", path)).notes
    assert "the labels 'Cat' and 'cat' are classes of their own, though their names are nearly the same." in notes
    assert sum("nearly the same" in note for note in notes) == 2
    assert any(note.startswith("1 labels seem to name several classes") and "'cat|dog'" in note for note in notes)


def test_labels_that_are_words_come_in_their_natural_order(tmp_path):
    path = write_table(tmp_path, rows(16, ("grade 2", "grade 10", "grade 1")))
    assert open_source(config("table", path)).classes == ("grade 1", "grade 2", "grade 10")


def test_columns_may_have_any_name(tmp_path):
    path = write_table(tmp_path, rows(12))
    frame = pd.read_csv(path).rename(columns={"path": "file", "label": "finding"})
    frame.to_csv(path, index=False)
    assert open_source(config("table", path, columns={"path": "file", "label": "finding"})).classes == ("cat", "dog")
    wrong = {"path": "fiel", "label": "finding", "split": "part", "msk": "m"}
    found = "\n".join(problems("table", path, columns=wrong))
    assert "has no column 'fiel' (`data.columns.path`) (did you mean 'file'?); its columns are file, finding." in found
    assert "has no column 'part' (`data.columns.split`)" in found
    assert "`data.columns.msk`: unknown kind of column (did you mean 'mask'?)" in found


def test_patients_named_in_a_group_column_stay_in_one_split(tmp_path):
    path = write_table(tmp_path, rows(24, patient=lambda i: f"p{i // 4}"))
    columns = {"path": "path", "label": "label", "group": "patient"}
    splits = open_source(config("table", path, columns=columns))
    owners = [{int(name[7:-4]) // 4 for name in part} for part in ids(splits)]
    assert not owners[0] & owners[1] | owners[0] & owners[2] | owners[1] & owners[2]


def test_slices_of_a_volume_are_rows_of_their_own_and_stay_together(tmp_path):
    nibabel = pytest.importorskip("nibabel")
    table = []
    for number in range(8):
        volume, mask = np.zeros((8, 8, 4), dtype=np.float32), np.zeros((8, 8, 4), dtype=np.uint8)
        volume[..., 2], mask[..., 2] = 1, 1
        nibabel.save(nibabel.Nifti1Image(volume, np.eye(4)), tmp_path / f"{number}.nii.gz")
        nibabel.save(nibabel.Nifti1Image(mask, np.eye(4)), tmp_path / f"{number}-mask.nii.gz")
        for k in (1, 2):
            row = {"path": f"{number}.nii.gz#{k}", "label": f"class {number % 2}", "mask": f"{number}-mask.nii.gz"}
            table.append(row)
    pd.DataFrame(table).to_csv(tmp_path / "table.csv", index=False)
    splits = open_source(config("table", tmp_path / "table.csv"))
    for part in (splits.train, splits.val, splits.test):
        for sample in part:
            bright = sample.id.endswith("#2")
            assert sample.image.mean() == bright
            assert sample.mask.all() == bright
        assert set(Counter(name.split("#")[0] for name in part.ids).values()) == {2}


def test_all_problems_of_a_table_come_in_one_error(tmp_path):
    path = write_table(tmp_path, rows(12, (0, 1), split=lambda i: ["train", "val", "test"][i % 3]))
    frame = pd.read_csv(path).astype({"label": object})
    frame.loc[0, "label"] = "one"
    frame.loc[1, "label"] = -1
    frame.loc[2, "label"] = ""
    frame.loc[3, "split"] = "tset"
    frame.loc[4, "path"] = "images/absent.png"
    frame.loc[5, "path"] = "images/6.png"
    frame.to_csv(path, index=False)
    found = "\n".join(problems("table", path))
    assert "row 1: the label must be a whole number from 0, like others, but is 'one'" in found
    assert "row 2: the label must be a whole number from 0, like others, but is '-1'" in found
    assert "row 3: no label" in found
    assert "row 4: the split must be train, val or test (did you mean 'test'?), but is 'tset'" in found
    assert "no image file" in found
    assert "'images/6.png' appears more than once" in found
    assert len(found.splitlines()) == 6


def test_the_nearest_name_is_searched_only_for_problems_that_are_shown(tmp_path, monkeypatch):
    path = tmp_path / "table.csv"
    path.write_text("\n".join(["path,label", *(f"images/{index}.png,{'ab'[index % 2]}" for index in range(300))]))
    asked = []
    monkeypatch.setattr("cae.data.images.did_you_mean", lambda word, known: asked.append(word) or "")
    found = problems("table", path)
    assert len(asked) == 20
    assert found[-1] == "(+280 more)"


def test_a_table_without_rows_or_of_another_kind_is_refused(tmp_path):
    (tmp_path / "empty.csv").write_text("path,label\n")
    assert "has no rows" in problems("table", tmp_path / "empty.csv")[0]
    (tmp_path / "nothing.csv").write_text("")
    assert "cannot read the table" in problems("table", tmp_path / "nothing.csv")[0]
    (tmp_path / "table.xlsx").write_text("x")
    assert "must end in .csv, .tsv or .parquet" in problems("table", tmp_path / "table.xlsx")[0]
    (tmp_path / "bad.parquet").write_text("x")
    assert "cannot read the table" in problems("table", tmp_path / "bad.parquet")[0]
    assert "no file" in problems("table", tmp_path / "absent.csv")[0]


def test_a_source_that_needs_a_path_says_what_it_must_be(monkeypatch, tmp_path):
    monkeypatch.setitem(SOURCES, "own", DataSource("somewhere:open_own", "a folder that nobody reads"))
    config = load_config()
    config.data.source = "own"
    assert list(contradictions(config)) == ["data.source=own needs data.path: a folder that nobody reads"]
    config.data.path = str(tmp_path)
    assert not list(contradictions(config))


def test_every_source_of_the_table_is_there_and_a_choice_of_the_option():
    assert all_options()["data.source"].choices == tuple(SOURCES)
    for source in SOURCES.values():
        module, _, function = source.place.partition(":")
        assert callable(getattr(importlib.import_module(module), function))
