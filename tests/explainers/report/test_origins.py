"""What a report shows was made by the models that the run holds now, or the report says what was not."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from report_run import CLASSES, SIDE, report_run

from cae.classifiers import PlainConvNet, SmallResNet, load_own, save_classifier
from cae.classifiers.identity import state_digest
from cae.config import Config, ModelConfig, OracleConfig
from cae.continuing import NOTE, made_anew
from cae.files import read_json, write_json
from cae.models.cae import CAE
from explainers.commands.report import report
from explainers.report.holdings import open_holdings
from explainers.report.lights import lights
from explainers.report.origins import Origins, judged_origins

SHAPE = (1, SIDE, SIDE)
SMALL = ModelConfig(
    class_dim=2, individual_channels=2, width=4, individual_downsampling=2, class_downsampling=2, residual_blocks=0
)
DATA = {"names": "n", "levels": {"train": [0.5], "val": [0.4], "test": [0.3]}}
FOLDERS = {"traverse": "paths in “traverse”", "compare": "maps in “compare”",
           "generators": "counterfactuals in “generators”", "manifold": "pictures of the manifold",
           "caes": "causal scores"}  # fmt: skip


def write_classifier(folder: Path, config: Config) -> None:
    network = SmallResNet(3, channels=1, width=config.classifier.width)
    save_classifier(folder, network, config.classifier, CLASSES, SHAPE, data=DATA)


def write_cae(folder: Path, facts: Mapping[str, Any]) -> None:
    CAE(SHAPE, SMALL).eval().save(folder / "cae.safetensors", facts)


def fingerprints(folder: Path) -> dict[str, Any]:
    """Of what lies in the run, as the commands know it."""
    found = {name: load_own(folder, name).fingerprint() for name in ("classifier", "oracle")}
    return {**found, "cae": state_digest(CAE.load(folder / "cae.safetensors"))[:16], "data": DATA}


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Config:
    """A run whose results are all of its models, and say so."""
    runs = tmp_path_factory.mktemp("runs")
    config, folder = report_run(runs), runs / "made"
    torch.manual_seed(1)
    write_classifier(folder, config)
    models = {name: load_own(folder, name).fingerprint() for name in ("classifier", "oracle")}
    write_cae(folder, {**models, "data": DATA})
    prints = fingerprints(folder)
    named = {f"fingerprint of the {name}": prints[name] for name in ("classifier", "oracle", "cae")}
    explanations, apart = folder / "explanations", {name: prints[name] for name in ("classifier", "data")}
    write_json(explanations / "traverse" / NOTE, {**named, "data": DATA})
    write_json(explanations / "compare" / NOTE, {**apart, "parts": {"cae": {"cae": prints["cae"]}, "random": {}}})
    write_json(explanations / "generators" / NOTE, {**named, "parts": {"ours": {"cae": prints["cae"]}}})
    for name in ("manifold", "caes"):
        with made_anew(explanations / name, prints if name == "manifold" else apart):
            pass
    write_json(folder / "diagnostics.json", {"of": {**prints, "cae": prints["cae"] + 48 * "0"}, "metrics": {}})
    return config


@pytest.fixture
def config(made, tmp_path) -> Config:
    """A copy of it."""
    shutil.copytree(made.runs, tmp_path, dirs_exist_ok=True)
    return dataclasses.replace(made, runs=str(tmp_path))


def judged(config: Config) -> Origins:
    return judged_origins(open_holdings(config))


def light(origins: Origins) -> Any:
    return lights({}, {}, CLASSES, 0.5, "explain.py {}", origins=origins)[-1]


def test_results_of_the_present_models_are_said_to_be_of_one_piece(config):
    found = judged(config)
    assert found == Origins(known=6, alike=6)
    assert (light(found).state, light(found).number) == ("good", "6 of 6")


@pytest.mark.parametrize(
    ("replaced", "others"),
    [
        ("classifier", {*FOLDERS.values(), "figures of the embedding"}),
        ("oracle", {FOLDERS["traverse"], FOLDERS["generators"], FOLDERS["manifold"], "figures of the embedding"}),
        ("CAE", {*FOLDERS.values(), "figures of the embedding"} - {FOLDERS["caes"]}),
    ],
)
def test_results_of_a_former_model_are_named(replaced, others, config, tmp_path):
    folder = tmp_path / "made"
    facts = {name: value for name, value in fingerprints(folder).items() if name != "cae"}
    if replaced == "classifier":
        write_classifier(folder, config)
    elif replaced == "oracle":
        network = PlainConvNet(3, 1, width=4)
        save_classifier(folder, network, OracleConfig(width=4), CLASSES, SHAPE, name="oracle")
    else:
        write_cae(folder, facts)
    found = judged(config)
    words = {sentence.removeprefix("the ").partition(" were made with another ")[0] for sentence in found.faults
             if f"with another {replaced} than the run has now" in sentence}  # fmt: skip
    assert words == others
    assert found.alike == 6 - len(others)
    assert light(found).state == "bad"
    assert ("was trained against another classifier" in " ".join(found.faults)) == (replaced == "classifier")
    assert ("trained beside another oracle" in " ".join(found.doubts)) == (replaced == "oracle")


def test_what_is_not_of_one_piece_stands_on_the_page_and_the_console(config, tmp_path, capsys):
    write_classifier(tmp_path / "made", config)
    report(config)
    words = f"he {FOLDERS['traverse']} were made with another classifier than the run has now"
    assert f"warning: t{words}" in capsys.readouterr().out
    assert f"T{words}" in (tmp_path / "made" / "report.html").read_text(encoding="utf-8")


def test_a_way_out_names_command_and_folder(config, tmp_path):
    (tmp_path / "made" / "explanations" / "traverse").rename(tmp_path / "made" / "explanations" / "mine")
    write_classifier(tmp_path / "made", config)
    (sentence,) = (words for words in judged(config).faults if "“mine”" in words)
    assert "`explain.py traverse … name=made traverse.folder=mine overwrite=true` makes them anew" in sentence


def test_one_method_of_a_former_embedding_is_enough(config, tmp_path):
    path = tmp_path / "made" / "explanations" / "generators" / NOTE
    note = read_json(path)
    write_json(path, {**note, "parts": {**note["parts"], "shuffled": {"cae": 16 * "0"}, "damaged": 3}})
    (sentence,) = judged(config).faults
    assert sentence.startswith("the counterfactuals in “generators” were made with another CAE")


def test_other_data_is_doubted_and_not_called_wrong(config, tmp_path):
    path = tmp_path / "made" / "explanations" / "traverse" / NOTE
    write_json(path, read_json(path) | {"data": DATA | {"names": "m"}})
    found = judged(config)
    assert (len(found.faults), found.alike) == (0, 5)
    assert found.doubts[0].startswith("the paths in “traverse” are of other data than the run learnt from")
    assert light(found).state == "warn"


def test_what_was_being_made_anew_when_it_was_stopped_is_named(config, tmp_path):
    folder = tmp_path / "made" / "explanations" / "manifold"
    with pytest.raises(KeyboardInterrupt), made_anew(folder, fingerprints(tmp_path / "made")):
        raise KeyboardInterrupt
    (sentence,) = judged(config).faults
    assert sentence.startswith("the pictures of the manifold were being made anew when that was stopped")


def test_results_that_note_nothing_are_not_judged(tmp_path):
    found = judged(report_run(tmp_path))
    assert found == Origins()
    assert light(found).state == "unknown"


def test_a_classifier_that_lies_elsewhere_is_known_by_the_embedding(config, tmp_path):
    (tmp_path / "made" / "classifier.safetensors").unlink()
    assert judged(config) == Origins(known=6, alike=6)
