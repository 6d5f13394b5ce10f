"""The commands of ``explain.py`` on a toy world whose counterfactuals are known, in real run folders."""

from __future__ import annotations

import csv
import dataclasses
import math
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from torch import nn
from two_processes import in_two_processes

import explain
from cae.classifiers import load_classifier, save_classifier
from cae.classifiers.networks import PlainConvNet
from cae.commands import traverse as traversal
from cae.commands.manifold import manifold
from cae.commands.traverse import traverse
from cae.config import Config, OracleConfig
from cae.config.command_line import load_config, run_program, save_config
from cae.counterfactuals.result import Counterfactual
from cae.data import CAEDataModule
from cae.data.selection import spread_order
from cae.errors import UserError
from cae.files import file_name, read_json, write_json
from cae.manifold.class_manifold import ClassManifold
from cae.models.cae import Codes
from cae.runs import trained_run as session
from cae.tables.index import COLUMNS, Files, Index, read_index
from cae.tables.scoring import boundary_code

SCORES = """
import numpy as np

def scores(images):
    grey = images[:, :, 12:20, 12:20].mean(axis=(1, 2, 3))
    logits = -300.0 * (grey[:, None] - np.array([0.25, 0.4, 0.55])[None]) ** 2
    share = np.exp(logits - logits.max(1, keepdims=True))
    return share / share.sum(1, keepdims=True)
"""
OPTIONS = (
    "name=toy", "data.image_size=32", "data.lesions.train=60", "data.lesions.val=6", "data.lesions.test=30",
    "classifier.model=callable:toy_scores:scores", "counterfactual.steps=6", "counterfactual.bisections=4",
    "traverse.gif=false", "traverse.frames=3", "logging.progress=false", "trainer.accelerator=cpu",
    "manifold.embeddings=[pca]", "manifold.pairs=40",
)  # fmt: skip
UNSTABLE = ("seconds",)


class ToyCAE(nn.Module):
    """Class code: mean of the centre and of the whole. The decoder sets the centre's mean, to 8 bits exactly."""

    image_shape, class_dim = (1, 32, 32), 2

    def encode(self, images):
        centre = images[:, :, 12:20, 12:20].mean((1, 2, 3))
        return Codes(torch.stack([centre, images.mean((1, 2, 3))], 1), self._with_centre(images, -centre))

    def decode(self, class_code, individual_code):
        return self._with_centre(individual_code, class_code[:, 0])

    @staticmethod
    def _with_centre(images, value):
        out = images.clone()
        out[:, :, 12:20, 12:20] += value[:, None, None, None]
        return out


def config_in(folder: Path, *overrides: str) -> Config:
    return load_config(overrides=[*OPTIONS, f"runs={folder}", *overrides])


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run folder as training leaves it; the weights are toys."""
    folder = tmp_path_factory.mktemp("trained")
    (folder / "toy_scores.py").write_text(SCORES)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        config = config_in(folder / "runs")
        data = CAEDataModule(config.data)
        classifier = load_classifier(config.classifier, data.classes, data.image_shape)
        path = folder / "runs" / "toy"
        path.mkdir(parents=True)
        save_config(config, path / "config.yaml")
        (path / "cae.safetensors").touch()
        ClassManifold.build(ToyCAE(), classifier, data.loader(data.train)).save(path / "manifold.safetensors")
        torch.manual_seed(0)
        oracle = PlainConvNet(3, width=4)
        save_classifier(path, oracle, OracleConfig(width=4), data.classes, data.image_shape, name="oracle")
        write_json(path / "metrics.json", {"cae/reassignment": 0.5, "localisation/former": 1.0})
    return folder, classifier.fingerprint()


@pytest.fixture
def runs(trained, tmp_path, monkeypatch):
    folder, fingerprint = trained
    monkeypatch.syspath_prepend(folder)
    monkeypatch.setattr(session, "load_cae", lambda path, read: (ToyCAE(), {"classifier": fingerprint}))
    shutil.copytree(folder / "runs", tmp_path / "runs")
    return tmp_path / "runs"


def rows_of(runs: Path, folder: str = "traverse"):
    return read_index(runs / "toy" / "explanations" / folder / "index.parquet")


def stable(rows) -> list[dict]:
    return [{k: v for k, v in dataclasses.asdict(row).items() if k not in UNSTABLE} for row in rows]


def test_a_split_is_explained_with_pictures_an_index_and_figures(runs, capsys):
    traverse(config_in(runs, "traverse.limit=9", "traverse.gif=true"))
    folder = runs / "toy" / "explanations" / "traverse"
    rows = rows_of(runs)
    assert [row.image for row in rows] == list(range(9))
    assert [row.label for row in rows] == ["healthy", "mass", "cyst"] * 3
    assert all((folder / row.strip).stat().st_size and (folder / row.gif).stat().st_size for row in rows)
    assert sum(row.found for row in rows) >= 6
    for row in rows:
        assert row.reconstruction_mae < 1e-2
        assert row.oracle_source in ("healthy", "mass", "cyst")
        assert (row.end_dice is None) == (row.label == "healthy" or row.end_l1 is None)
        assert (row.mask_share is None) == (row.label == "healthy" or not row.found)
        assert row.classifier_evaluations >= 1
        if row.found:
            assert row.boundary_target_probability - row.boundary_source_probability >= 0.05 - 1e-6
            assert row.target_over_source == pytest.approx(
                row.boundary_target_probability - row.boundary_source_probability - 0.05
            )
            assert 0 < row.boundary <= 1
            assert row.references.startswith(("train/", "prototype of "))
            assert row.changed_share <= 64 / 1024
            assert row.decoded_agrees
            assert row.oracle_agrees == (row.oracle == row.target)
            assert -1 <= row.oracle_gain <= 1
    last = capsys.readouterr().out.splitlines()[-1]
    for name in ("gallery.png", "strips", "index.csv"):
        assert str(folder / name) in last
    assert (folder / "gallery.png").stat().st_size


def test_figures_go_into_the_metrics_of_the_run_with_intervals(runs):
    traverse(config_in(runs, "traverse.limit=9", "traverse.strips=false"))
    metrics = read_json(runs / "toy" / "metrics.json")
    own = read_json(runs / "toy" / "explanations" / "traverse" / "metrics.json")
    names = ("found", "overshoot_p95", "target_over_source_p95", "cout", "validity_oracle", "validity_decoded", "l1")
    for key in (f"counterfactual/{name}" for name in (*names, "changed_share")):
        assert metrics[f"{key}_low"] <= metrics[key] <= metrics[f"{key}_high"]
    for key in (f"counterfactual/{name}" for name in ("end_cout", "end_l1", "ssim", "regions", "feature_similarity")):
        assert metrics[f"{key}_low"] <= metrics[key] <= metrics[f"{key}_high"]
    assert metrics["counterfactual/end_l1"] > metrics["counterfactual/l1"]
    for name in ("dice", "dice_best", "pointing", "end_dice", "end_dice_best", "end_energy", "outside"):
        assert 0 <= metrics[f"localisation/{name}"] <= 1
    assert metrics["localisation/images"] == sum(row.mask_share is not None for row in rows_of(runs))
    assert metrics["cae/reassignment"] == 0.5
    assert "localisation/former" not in metrics
    assert own.items() <= metrics.items()
    assert all(math.isfinite(value) for value in metrics.values())


def test_csv_and_parquet_hold_the_same(runs):
    traverse(config_in(runs, "traverse.limit=4", "traverse.strips=false"))
    folder = runs / "toy" / "explanations" / "traverse"
    table = pd.read_parquet(folder / "index.parquet")
    assert tuple(table.columns) == COLUMNS
    with (folder / "index.csv").open(newline="", encoding="utf-8") as file:
        lines = list(csv.DictReader(file))
    for row, line in zip(rows_of(runs), lines, strict=True):
        for name, value in dataclasses.asdict(row).items():
            text = "" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
            assert line[name] == text


@pytest.mark.parametrize("stop_at", [2, 18])
def test_interrupted_work_goes_on_and_ends_with_the_same_index(stop_at, runs, monkeypatch):
    options = ("traverse.limit=18", "traverse.strips=false")
    traverse(config_in(runs, *options, "traverse.folder=whole"))
    drawn = []
    original = traversal.index_row

    def stopping(*arguments):
        drawn.append(1)
        if len(drawn) == stop_at:
            raise KeyboardInterrupt
        return original(*arguments)

    monkeypatch.setattr(traversal, "index_row", stopping)
    with pytest.raises(KeyboardInterrupt):
        traverse(config_in(runs, *options))
    assert len(rows_of(runs)) == (16 if stop_at > 16 else 0)
    monkeypatch.setattr(traversal, "index_row", lambda *arguments: drawn.append(1) or original(*arguments))
    drawn.clear()
    traverse(config_in(runs, *options))
    assert len(drawn) == (2 if stop_at > 16 else 18)
    assert stable(rows_of(runs)) == stable(rows_of(runs, "whole"))
    own, whole = (read_json(runs / "toy" / "explanations" / name / "metrics.json") for name in ("traverse", "whole"))
    assert own["counterfactual/sfid"] == whole["counterfactual/sfid"]
    drawn.clear()
    traverse(config_in(runs, *options))
    assert not drawn


def test_a_killed_call_leaves_its_finished_chunks(runs, monkeypatch):
    """Nothing gathers them then: the next call does, and refuses other options as it would for an index."""
    with monkeypatch.context() as patch:
        patch.setattr(traversal, "gather_shards", lambda index: None)
        patch.setattr(traversal, "_report", lambda *arguments: None)
        traverse(config_in(runs, "traverse.limit=18", "traverse.strips=false"))
    folder = runs / "toy" / "explanations" / "traverse"
    assert len(list((folder / "shards").glob("*.parquet"))) == 2
    with pytest.raises(UserError, match=r"counterfactual\.margin was 0\.05"):
        traverse(config_in(runs, "traverse.limit=18", "traverse.strips=false", "counterfactual.margin=0.2"))
    monkeypatch.setattr(traversal, "find_counterfactuals", None)  # nothing is left to search for
    traverse(config_in(runs, "traverse.limit=18", "traverse.strips=false"))
    assert len(rows_of(runs)) == 18
    assert not (folder / "shards").exists()


def test_two_processes_end_with_the_same_index(runs):
    options = ("traverse.limit=20", "traverse.strips=false", "trainer.threads=1")
    traverse(config_in(runs, *options, "traverse.folder=whole"))
    in_two_processes(traverse, config_in(runs, *options, "trainer.devices=2"))
    assert stable(rows_of(runs)) == stable(rows_of(runs, "whole"))
    own, whole = (read_json(runs / "toy" / "explanations" / name / "metrics.json") for name in ("traverse", "whole"))
    assert own["counterfactual/found"] == whole["counterfactual/found"]
    assert own["counterfactual/sfid"] == whole["counterfactual/sfid"]


def test_more_images_later_continue_the_earlier_ones(runs):
    traverse(config_in(runs, "traverse.limit=13", "traverse.strips=false"))
    before = {row.id: row.seconds for row in rows_of(runs)}
    traverse(config_in(runs, "traverse.limit=15", "traverse.strips=false"))
    after = {row.id: row.seconds for row in rows_of(runs)}
    assert len(after) == 15
    assert before.items() <= after.items()


def test_a_lost_picture_is_drawn_again(runs):
    traverse(config_in(runs, "traverse.limit=2"))
    folder = runs / "toy" / "explanations" / "traverse"
    lost = [folder / rows_of(runs)[0].strip, folder / "gallery.png"]
    for path in lost:
        path.unlink()
    traverse(config_in(runs, "traverse.limit=2"))
    assert all(path.exists() for path in lost)


def files_of(row) -> dict[str, str | None]:
    return {field.name: getattr(row, field.name) for field in dataclasses.fields(Files)}


@pytest.mark.parametrize("save", ["images", "all"])
def test_images_of_every_result_are_saved_whether_pictured_or_not(runs, save):
    traverse(config_in(runs, "traverse.limit=6", "traverse.pictures=1", f"traverse.save={save}",
                       "counterfactual.margin=0.99"))  # fmt: skip
    folder, rows = runs / "toy" / "explanations" / "traverse", rows_of(runs)
    assert {row.found for row in rows} == {True, False}
    for row in rows:
        files = files_of(row)
        assert all((folder / name).is_file() for name in files.values() if name)
        assert (files["counterfactual_image"] is not None) == row.found
        assert (files["end_image"] is not None) == (files["evidence_image"] is not None) == (row.end_l1 is not None)
        assert (files["tensors"] is not None) == (save == "all")
        if files["tensors"]:
            result = Counterfactual.load(folder / files["tensors"])
            assert (result.id, result.source_class, result.target_class) == (row.id, row.source, row.target)
            assert result.status == row.status
        for name, image in (("counterfactual_image", "counterfactual"), ("end_image", "end")):
            if files[name] and files["tensors"]:
                with Image.open(folder / files[name]) as picture:
                    assert picture.mode == "L"
                    read = torch.from_numpy(np.array(picture))[None] / 255
                assert torch.equal(read, getattr(result, image))
    named = {name for row in rows for name in files_of(row).values() if name}
    there = {path.relative_to(folder).as_posix() for path in folder.glob("*/*")}
    assert there == named


def test_nothing_is_saved_where_nothing_is_wanted(runs, capsys):
    traverse(config_in(runs, "traverse.limit=3", "traverse.save=none", "traverse.strips=false"))
    folder = runs / "toy" / "explanations" / "traverse"
    assert not [path for path in folder.iterdir() if path.is_dir()]
    assert all(name is None for row in rows_of(runs) for name in files_of(row).values())
    assert "images" not in capsys.readouterr().out.splitlines()[-1]


def test_work_goes_on_where_saved_files_are_missing(runs, monkeypatch):
    options = ("traverse.limit=3", "traverse.strips=false")
    traverse(config_in(runs, *options))
    folder, before = runs / "toy" / "explanations" / "traverse", rows_of(runs)
    lost = next(folder / row.counterfactual_image for row in before if row.found)
    lost.unlink()
    traverse(config_in(runs, *options))
    assert lost.exists()
    traverse(config_in(runs, *options, "traverse.save=all"))
    after = rows_of(runs)
    assert all((folder / row.tensors).exists() for row in after)
    assert [row.counterfactual_image for row in after] == [row.counterfactual_image for row in before]
    monkeypatch.setattr(traversal, "find_counterfactuals", None)  # nothing is left to search for
    traverse(config_in(runs, *options))
    assert rows_of(runs) == after


def test_an_index_with_other_columns_says_how_to_go_on(runs):
    traverse(config_in(runs, "traverse.limit=1", "traverse.strips=false"))
    path = runs / "toy" / "explanations" / "traverse" / "index.parquet"
    pd.read_parquet(path).rename(columns={"changed_share": "sparsity"}).to_parquet(path)
    with pytest.raises(UserError, match="another version of the program: start anew with overwrite=true"):
        traverse(config_in(runs, "traverse.limit=1", "traverse.strips=false"))


def test_other_options_are_refused_by_name_and_ways_out_are_given(runs):
    traverse(config_in(runs, "traverse.limit=2", "traverse.strips=false"))
    earlier = stable(rows_of(runs))
    changed = ("traverse.limit=2", "traverse.strips=false", "counterfactual.margin=0.2")
    with pytest.raises(UserError) as refused:
        traverse(config_in(runs, *changed))
    for words in ("counterfactual.margin was 0.05 and is 0.2", "overwrite=true", "traverse.folder="):
        assert words in str(refused.value)
    assert stable(rows_of(runs)) == earlier
    traverse(config_in(runs, *changed, "traverse.folder=wide"))
    assert stable(rows_of(runs)) == earlier
    traverse(config_in(runs, *changed, "overwrite=true"))
    assert stable(rows_of(runs)) == stable(rows_of(runs, "wide")) != earlier


def test_another_model_is_noticed(runs, monkeypatch):
    traverse(config_in(runs, "traverse.limit=1", "traverse.strips=false"))
    (runs / "toy" / "oracle.safetensors").unlink()
    with pytest.raises(UserError, match=r"fingerprint of the oracle was \w{16} and is absent"):
        traverse(config_in(runs, "traverse.limit=1", "traverse.strips=false"))
    traverse(config_in(runs, "traverse.limit=1", "traverse.strips=false", "overwrite=true"))
    (row,) = rows_of(runs)
    assert (row.oracle_source, row.oracle, row.oracle_agrees, row.oracle_gain) == (None,) * 4
    assert "counterfactual/validity_oracle" not in read_json(runs / "toy" / "metrics.json")


def test_other_images_are_noticed_wherever_they_lie(runs, tmp_path):
    save_images(tmp_path / "mine", ["b.png", "a.png"])
    options = (f"traverse.images={tmp_path / 'mine'}", "traverse.folder=mine", "traverse.strips=false")
    traverse(config_in(runs, *options))
    save_images(tmp_path / "mine", ["c.png"])
    traverse(config_in(runs, *options))
    assert len(rows_of(runs, "mine")) == 3
    (tmp_path / "mine" / "b.png").write_bytes((tmp_path / "mine" / "b.png").read_bytes() + b"more")
    with pytest.raises(UserError, match="holds results made otherwise: the files are others"):
        traverse(config_in(runs, *options))


def test_what_is_not_found_is_never_shown_as_found(runs):
    """The classifier's third class lies beyond all codes that it sees in training."""
    traverse(config_in(runs, "traverse.limit=6", "counterfactual.margin=0.99"))
    rows = rows_of(runs)
    failed = [row for row in rows if not row.found]
    assert failed
    for row in failed:
        for name in ("boundary", "boundary_target_probability", "overshoot", "l1", "cout", "oracle", "dice"):
            assert getattr(row, name) is None
        assert row.status in ("not_found", "already_target")
        assert row.reason
    metrics = read_json(runs / "toy" / "metrics.json")
    assert metrics["counterfactual/found"] == pytest.approx(sum(row.found for row in rows) / len(rows))
    assert metrics["counterfactual/validity_oracle"] <= metrics["counterfactual/found"]


def test_numbers_can_be_had_for_more_images_than_pictures(runs):
    traverse(config_in(runs, "traverse.limit=5", "traverse.pictures=2"))
    rows = rows_of(runs)
    assert [row.strip is not None for row in rows] == [True, True, False, False, False]
    traverse(config_in(runs, "traverse.limit=5", "traverse.pictures=4"))
    assert sum(row.strip is not None for row in rows_of(runs)) == 4


def test_all_targets_give_one_row_for_every_other_class(runs):
    traverse(config_in(runs, "traverse.limit=3", "counterfactual.target=all"))
    rows = rows_of(runs)
    assert [row.image for row in rows] == [0, 0, 1, 1, 2, 2]
    for first, second in zip(rows[::2], rows[1::2], strict=True):
        assert {first.source, first.target, second.target} == {"healthy", "mass", "cyst"}
        assert first.strip != second.strip
    assert read_json(runs / "toy" / "metrics.json")["counterfactual/images"] == 3


def save_images(folder: Path, names: list[str]) -> None:
    generator = np.random.default_rng(0)
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = generator.integers(0, 255, (40, 36), dtype=np.uint8)
        pixels[14:26, 12:24] = 70
        Image.fromarray(pixels).save(path)


def test_a_folder_of_unlabelled_images_is_explained(runs, tmp_path):
    save_images(tmp_path / "mine", ["b.png", "sub/a.png", "sub/a.jpg"])
    before = read_json(runs / "toy" / "metrics.json")
    traverse(config_in(runs, f"traverse.images={tmp_path / 'mine'}", "traverse.folder=mine"))
    rows = rows_of(runs, "mine")
    assert [row.id for row in rows] == ["b.png", "sub/a.jpg", "sub/a.png"]
    assert all(row.label is None and row.mask_share is None for row in rows)
    assert len({row.strip for row in rows}) == 3
    assert read_json(runs / "toy" / "metrics.json") == before
    assert "localisation/dice" not in read_json(runs / "toy" / "explanations" / "mine" / "metrics.json")


def test_one_damaged_image_costs_no_other_and_is_told_at_the_end(runs, tmp_path, capsys):
    save_images(tmp_path / "mine", ["a.png", "b.jpg", "c.png"])
    damaged = tmp_path / "mine" / "b.jpg"
    damaged.write_bytes(damaged.read_bytes()[:-300])  # its header is whole
    options = (f"runs={runs}", f"traverse.images={tmp_path / 'mine'}", "traverse.strips=false")
    with pytest.raises(SystemExit) as stop:
        run_program(explain.main, ["traverse", *OPTIONS, *options])
    assert stop.value.code == 2
    assert [row.id for row in rows_of(runs)] == ["a.png", "c.png"]
    assert "b.jpg" in capsys.readouterr().err


def test_an_image_of_the_users_choice_can_be_the_reference(runs, capsys):
    reference = ("counterfactual.reference=image", "traverse.limit=4", "traverse.strips=false")
    traverse(config_in(runs, *reference, "counterfactual.reference_image=train/00003"))
    assert {row.references for row in rows_of(runs) if row.found} == {"train/00003"}
    assert "'train/00003' is classified as" in capsys.readouterr().out
    with pytest.raises(UserError, match="did you mean 'train/00003'"):
        traverse(config_in(runs, *reference, "counterfactual.reference_image=trains/00003"))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["counterfactual.target=mas"], "did you mean 'mass'"),
        (["traverse.folder=../x"], "traverse.folder must be a plain folder name"),
        (["traverse.folder=..", "overwrite=true"], "traverse.folder must be a plain folder name"),
        (["traverse.folder=manifold"], "traverse.folder must be a plain folder name"),
        (["traverse.images=absent"], "no image file 'absent'"),
    ],
)
def test_mistakes_are_told_before_any_work(options, words, runs):
    with pytest.raises(UserError) as refused:
        traverse(config_in(runs, *options))
    assert words in str(refused.value)
    assert not (runs / "toy" / "explanations").exists()


def test_a_damaged_index_says_how_to_go_on(runs):
    folder = runs / "toy" / "explanations" / "traverse"
    folder.mkdir(parents=True)
    (folder / "index.parquet").write_bytes(b"nothing")
    with pytest.raises(UserError, match="overwrite=true"):
        traverse(config_in(runs))


def test_rows_of_images_that_are_gone_are_dropped(runs):
    traverse(config_in(runs, "traverse.limit=3", "traverse.strips=false"))
    rows = rows_of(runs)
    index = Index(runs, {rows[2].id: 0, rows[0].id: 1}, rows)
    assert [(row.id, row.image) for row in index.rows] == [(rows[2].id, 0), (rows[0].id, 1)]


def test_images_come_from_the_classes_in_turn_in_data_order():
    assert spread_order(torch.tensor([0, 0, 0, 1, 1, 2])) == [0, 3, 5, 1, 4, 2]
    assert spread_order(torch.full((4,), -1)) == [0, 1, 2, 3]
    order = spread_order(torch.tensor([2, 2, 0, 1, 0, 1]))
    assert order[:3] == spread_order(torch.tensor([2, 2, 0, 1, 0, 1]))[:3]


def test_different_ids_get_different_safe_file_names():
    ids = ["test/00017", "test_00017", "../a", "a", "A b", "A-b", "x" * 300, "x" * 301, "scan.nii.gz#12", "", "ä/ö"]
    names = [file_name(id) for id in ids]
    assert len(set(names)) == len(ids)
    assert all("/" not in name and not name.startswith(".") and len(name) <= 100 for name in names)


def test_the_boundary_code_lies_between_the_points_of_the_path(runs):
    traverse(config_in(runs, "traverse.limit=1", "traverse.strips=false"))
    run = session.load_run(config_in(runs))
    images = torch.stack([run.data.test[i].image for i in range(4)])
    results = traversal.find_counterfactuals(
        run.cae, run.classifier, run.manifold, images, config=run.config.counterfactual
    )
    for result in (result for result in results if result.found):
        straight = torch.lerp(result.path_codes[0], result.path_codes[-1], result.boundary)
        assert torch.allclose(boundary_code(result), straight, atol=1e-6)


def test_the_manifold_is_drawn_and_measured(runs, capsys):
    manifold(config_in(runs, "data.lesions.test=12"))
    folder = runs / "toy" / "explanations" / "manifold"
    pictures = ("reassignment", "pca", "pca_test", "axes", "axes_edits", "axes_codes", "prototypes")
    others = ("graph.graphml", "graph.json", "label_issues.csv", "outliers.csv")
    for name in (*(f"{name}.png" for name in pictures), *others):
        assert (folder / name).stat().st_size, name
    metrics = read_json(runs / "toy" / "metrics.json")
    assert metrics["cae/test_images"] == 12
    assert metrics["cae/reassignment"] > 0.9
    assert metrics["axes/reached"] >= metrics["axes/reached_random"]
    assert metrics["paths/images"] == 12
    assert metrics["outliers/far_codes"] >= 0
    assert metrics["localisation/former"] == 1.0
    out = capsys.readouterr().out
    assert "swaps that take the donor's class" in out
    assert f"'{folder}': reassignment.png, pca.png" in out.splitlines()[-1]
