"""The command `sanity` end to end with tiny models."""

from __future__ import annotations

import pytest
from PIL import Image
from sanity_run import LESIONS, config_in

import explain
from cae.commands.sanity import sanity, table
from cae.commands.train import classifier_stage
from cae.config.command_line import run_program
from cae.errors import UserError
from cae.files import read_json
from cae.sanity.criteria import Rule


def test_all_tests_give_outcomes_numbers_and_figures_and_are_resumed(tmp_path, capsys):
    classifier_stage(config_in(tmp_path))
    sanity(config_in(tmp_path))
    folder = tmp_path / "toy" / "sanity"
    found = read_json(folder / "sanity.json")
    rules = ("randomised/brightness_found", "randomised/brightness_maps", "randomised/brightness_flips",
             "randomised/permuted_maps", "randomised/permuted_flips", "randomised/random_maps",
             "randomised/random_flips", "shortcut/planted", "shortcut/removed", "shortcut/added", "shortcut/control",
             "labels/follows", "guards/constant", "guards/self")  # fmt: skip
    out = capsys.readouterr().out
    for rule in rules:
        assert isinstance(found[f"{rule}_passed"], bool)
        assert f"{'PASS' if found[f'{rule}_passed'] else 'FAIL'}  {rule}: " in out
    assert all(isinstance(value, (int, float)) for value in found.values())
    assert found["guards/constant_passed"]
    assert found["guards/self_passed"]
    assert found["shortcut/passed"] == all(found[f"{rule}_passed"] for rule in rules if rule.startswith("shortcut"))
    for name in ("randomised", "shortcut", "labels"):
        with Image.open(folder / f"{name}.png") as picture:
            assert picture.width > 600, name
    trained = {path: path.stat().st_mtime for path in folder.rglob("*.safetensors")}
    assert len(trained) == 6 + 1 + 7 * 2  # classifiers, oracle, and CAEs with their manifolds
    sanity(config_in(tmp_path))
    assert read_json(folder / "sanity.json") == found
    assert trained == {path: path.stat().st_mtime for path in folder.rglob("*.safetensors")}
    with pytest.raises(UserError, match=r"'cae.loss.minimal' is 1.*sanity.folder"):
        sanity(config_in(tmp_path, "cae.loss.minimal=1"))


def test_a_run_without_the_embedded_data_is_told_which_tests_it_can_have(tmp_path):
    with pytest.raises(UserError) as refused:
        sanity(config_in(tmp_path, "data.source=digits", "sanity.folder=../x"))
    assert "sanity.tests=[randomised,guards]" in str(refused.value)
    assert "sanity.folder must be a plain folder name" in str(refused.value)


def test_a_run_without_a_classifier_says_how_to_train_one(tmp_path, capsys):
    words = [*LESIONS, f"runs={tmp_path}", "data.image_size=16"]
    with pytest.raises(SystemExit) as stop:
        run_program(explain.main, ["sanity", *words, "sanity.tests=[guards]", "cae.warmup_steps=1", "cae.ramp_steps=1"])
    assert stop.value.code == 2
    assert "train.py classifier" in capsys.readouterr().err


def test_the_table_says_pass_or_fail_for_every_rule():
    text = table([Rule("a/b", "x is small", "0.1", True), Rule("a/c", "y is large", "0.2", False)])
    assert text.splitlines() == [
        "PASS  a/b: x is small", "      0.1", "FAIL  a/c: y is large", "      0.2", "1 of 2 rules hold",
    ]  # fmt: skip
