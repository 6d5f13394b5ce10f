"""`explain.py run` and `compare`: the same table whatever stopped them, and errors in words."""

from __future__ import annotations

import csv
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import forked
import pytest
import torch
from PIL import Image
from two_processes import in_two_processes

import explainers.commands.compare
from cae.classifiers import SmallResNet, TargetClassifier, save_classifier
from cae.config import Config
from cae.config.command_line import load_config, run_program
from cae.data import CAEDataModule
from cae.errors import UserError
from cae.runs.classifier_run import open_classifier
from explainers.commands.compare import compare
from explainers.commands.resources import background_images
from explainers.commands.run import run
from explainers.explanation import Explanation
from explainers.infills.learned import LearnedSampler
from explainers.infills.patch_distribution import PatchDistribution
from explainers.metrics import MetricSuite
from explainers.registry import get_explainer, parse_options

ROOT = Path(__file__).parents[3]
OPTIONS = (
    "name=tiny", "data.image_size=32", "data.lesions.train=24", "data.lesions.val=3", "data.lesions.test=9",
    "classifier.width=4", "logging.progress=false", "trainer.accelerator=cpu", "explain.metrics=quick",
    "explain.figures=2", "methods=[random,edges,centre]", "method=edges",
)  # fmt: skip


def config_in(runs: Path, *overrides: str) -> Config:
    return load_config(overrides=[*OPTIONS, f"runs={runs}", *overrides])


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    """A runs folder with an untrained classifier in it."""
    runs = tmp_path_factory.mktemp("runs")
    config = config_in(runs)
    data = CAEDataModule(config.data)
    torch.manual_seed(0)
    save_classifier(runs / "tiny", SmallResNet(3, width=4), config.classifier, data.classes, data.image_shape)
    return runs


def maps_of(folder: Path, method: str) -> list[torch.Tensor]:
    return [Explanation.load(path).attribution[0] for path in (folder / "maps" / method).glob("*.safetensors")]


def table_of(runs: Path, folder: str) -> str:
    return (runs / "tiny" / "explanations" / folder / "table.csv").read_text()


def test_compare_leaves_maps_figures_and_tables_with_the_random_order_in_them(trained, capsys):
    compare(config_in(trained, "explain.folder=whole"))
    folder = trained / "tiny" / "explanations" / "whole"
    assert len(maps_of(folder, "edges")) == 9
    assert len(list((folder / "figures").glob("*.png"))) == 2
    with (folder / "table.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert {row["method"] for row in rows} == {"random", "edges", "centre", "random order"}
    assert {"deletion_auc", "insertion_auc", "auprc"} <= {row["metric"] for row in rows}
    text = (folder / "table.md").read_text()
    assert "| random order |" in text
    assert "| pointing ↑ | auprc ↑ | evaluations | seconds |" in text
    assert "`pointing` and `auprc` are measured where a mask marks something: on 6 of 9 images." in text
    assert text.strip() in capsys.readouterr().out


def test_stopped_anywhere_and_continued_it_ends_in_the_same_table(trained, monkeypatch):
    compare(config_in(trained, "explain.folder=undisturbed"))
    save, calls = explainers.commands.compare.write_json, []

    def stopping(path, content):
        calls.append(path)
        if len(calls) % 4 == 0:
            raise KeyboardInterrupt
        save(path, content)

    monkeypatch.setattr(explainers.commands.compare, "write_json", stopping)
    stops = 0
    while True:
        try:
            compare(config_in(trained, "explain.folder=stopped"))
            break
        except KeyboardInterrupt:
            stops += 1
    assert stops > 2
    assert table_of(trained, "stopped") == table_of(trained, "undisturbed")


def test_two_processes_end_in_the_same_table(trained):
    compare(config_in(trained, "explain.folder=alone"))
    # `devices` say how many processes there are, and in each Lightning finds which one it is
    in_two_processes(compare, config_in(trained, "explain.folder=shared", "trainer.devices=2"))
    assert table_of(trained, "shared") == table_of(trained, "alone")
    assert len(maps_of(trained / "tiny" / "explanations" / "shared", "edges")) == 9


@pytest.mark.slow
def test_killed_ten_times_at_random_it_ends_in_the_same_table(trained):
    options = ["data.lesions.test=60", "methods=[random,edges,occlusion,rise]", "explain.options=[rise.masks=50]"]
    arguments = [*OPTIONS, f"runs={trained}", *options]
    command = [str(ROOT / "explain.py"), "compare", *arguments]
    draw = random.Random(0)
    measures = trained / "tiny" / "explanations" / "killed" / "measures"

    def done() -> int:
        return len(list(measures.glob("*.json")))

    for _ in range(10):
        before, deadline = done(), time.monotonic() + 120
        process = forked.start([*command, "explain.folder=killed"], ROOT)
        while done() == before and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(draw.uniform(0, 0.5))  # somewhere within the next few images
        os.kill(process.pid, signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL  # in the midst of the work: it had not ended by itself
    assert 10 <= done() < 60
    assert forked.run([*command, "explain.folder=killed"], ROOT).returncode == 0
    # in a fresh interpreter: the table must not hang on what forked programs have in common, such as hashes
    calm = [sys.executable, *command, "explain.folder=calm"]
    subprocess.run(calm, cwd=ROOT, env={**os.environ, **forked.ENVIRONMENT}, check=True, capture_output=True)
    assert table_of(trained, "killed") == table_of(trained, "calm")


def test_a_further_method_joins_without_explaining_or_measuring_again(trained, monkeypatch):
    compare(config_in(trained, "explain.folder=grown", "methods=[edges]"))
    path = next((trained / "tiny" / "explanations" / "grown" / "maps" / "edges").glob("*.safetensors"))
    before = path.stat().st_mtime_ns
    measure, measured = MetricSuite.measure, set()

    def watched(suite, image, maps, *rest, **named):
        measured.update(maps)
        return measure(suite, image, maps, *rest, **named)

    monkeypatch.setattr(MetricSuite, "measure", watched)
    compare(config_in(trained, "explain.folder=grown", "methods=[edges,centre]"))
    assert path.stat().st_mtime_ns == before
    assert measured == {"centre"}
    assert "centre" in table_of(trained, "grown")


def test_other_settings_are_refused_by_name(trained):
    compare(config_in(trained, "explain.folder=settings", "explain.metrics=none"))
    with pytest.raises(UserError, match=r"seed was 0 and is 1.*explain\.folder=NAME"):
        compare(config_in(trained, "explain.folder=settings", "explain.metrics=none", "seed=1"))


def test_maps_of_another_in_fill_are_not_continued(trained):
    sizes = {"channels": 1, "window": 4, "architecture": "unet", "head": "lowrank", "width": 4, "factors": 2}
    options = ("explain.folder=filled", "explain.metrics=none", "explain.limit=1", "explain.figures=0", "methods=[pmi]",
               "explain.options=[pmi.sampler=learned,pmi.window=4,pmi.samples=1,pmi.stride=4]")  # fmt: skip
    for seed in (0, 1):
        torch.manual_seed(seed)
        LearnedSampler(PatchDistribution(**sizes)).save(trained / "tiny")
        if seed == 0:
            compare(config_in(trained, *options))
    with pytest.raises(UserError, match=r"pmi\.in-fill was \w{16} and is \w{16}\. Start anew with overwrite=true"):
        compare(config_in(trained, *options))


def test_a_folder_of_images_may_grow_but_none_may_be_replaced(trained, tmp_path):
    options = ("explain.folder=files", f"explain.images={tmp_path}", "explain.metrics=none", "methods=[edges]")
    for name, level in (("a", 90), ("b", 80)):
        Image.new("L", (32, 32), level).save(tmp_path / f"{name}.bmp")
        compare(config_in(trained, *options))
    assert len(maps_of(trained / "tiny" / "explanations" / "files", "edges")) == 2
    Image.new("L", (33, 32), 10).save(tmp_path / "a.bmp")
    with pytest.raises(UserError, match="holds results made otherwise: the files are others"):
        compare(config_in(trained, *options))


def test_run_explains_by_one_method_into_its_own_folder(trained):
    run(config_in(trained, "explain.limit=3"))
    assert len(maps_of(trained / "tiny" / "explanations" / "edges", "edges")) == 3


def test_run_lists_methods_with_their_options(trained, capsys):
    run(config_in(trained, "method=list"))
    assert "random" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("methods=[edgs]", "did you mean 'edges'"),
        ("explain.target=tumour", "explain.target must be 'predicted' or one of the classes"),
        ("explain.options=[window=3]", "must be written METHOD.NAME=VALUE"),
        ("explain.options=[rise.masks=3]", "sets an option of 'rise', which is not asked for"),
        ("explain.images=nowhere", "nowhere"),
        ("name=other", "no trained classifier"),
    ],
)
def test_mistakes_are_told_in_words_and_exit_with_two(trained, override, words, capsys):
    with pytest.raises(SystemExit) as stop:
        run_program(lambda _: compare(config_in(trained, "explain.folder=mistakes", override)), [])
    assert stop.value.code == 2
    error = capsys.readouterr().err
    assert words in error
    assert "Traceback" not in error


def test_one_method_is_compared_under_two_settings():
    options = parse_options(["occlusion@wide.window=4", "occlusion.window=2"], ["occlusion", "occlusion@wide"])
    assert options == {"occlusion": {"window": 2}, "occlusion@wide": {"window": 4}}
    classifier = TargetClassifier(SmallResNet(2, width=4), ("a", "b"), image_shape=(1, 8, 8))
    wide = get_explainer("occlusion@wide", classifier, **options["occlusion@wide"])
    assert (wide.name, wide.window) == ("occlusion@wide", 4)
    with pytest.raises(UserError, match="no explainer 'oclusion'.*occlusion"):
        get_explainer("oclusion@wide", classifier)


def test_in_fills_are_made_from_a_folder_of_images(tmp_path, trained):
    for number in range(4):
        Image.new("L", (32, 32), 60 * number).save(tmp_path / f"{number}.png")
    opened = open_classifier(config_in(trained, f"explain.background={tmp_path}"), needs_data=False)
    background = background_images(opened)
    assert background is not None
    assert background.shape == (4, 1, 32, 32)
    assert background.mean((1, 2, 3)).tolist() == pytest.approx([60 * n / 255 for n in range(4)], abs=1e-3)


def test_options_of_methods_are_read_by_type():
    assert parse_options(["rise.masks=50"], ["rise"]) == {"rise": {"masks": 50}}
    with pytest.raises(UserError, match=r"'rise\.masks' must be a whole number.*'many'"):
        parse_options(["rise.masks=many"], ["rise"])
    with pytest.raises(UserError, match="did you mean 'masks'"):
        parse_options(["rise.mask=5"], ["rise"])
