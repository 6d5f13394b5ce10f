"""`explain.py compare-generators`: the same table whatever stopped it, generators of the user, mistakes in words."""

from __future__ import annotations

import csv
import json
import os
import signal
import time
from pathlib import Path

import forked
import pytest
from level_run import level_run
from PIL import Image
from tiny_training import LEVELS

from cae.commands import compare_generators as command
from cae.config.command_line import load_config, save_config
from cae.errors import UserError
from cae.generators import comparison
from cae.generators.registry import GENERATORS, build_arms
from cae.runs.run_config import load_run_config, run_config

ROOT = Path(__file__).parents[3]
ARMS = "generators.arms=[ours,nearest,shuffled,callable:my_generators:Brighter]"
MINE = """
from cae.generators import Generated, Generator


class Brighter(Generator):
    words = "everything a little brighter"

    def generate(self, images, targets):
        return Generated((images + 0.1).clamp(0, 1))


class Small(Generator):
    def generate(self, images, targets):
        return Generated(images[..., :4])


class Bare:
    def generate(self, images, targets):
        return images
"""


@pytest.fixture
def world(tmp_path, monkeypatch):
    """Compares on a run whose class is the mean grey value, with a module of the user in the path."""
    (tmp_path / "my_generators.py").write_text(MINE)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(command, "check_labelled_images", lambda *_: None)

    def compare(*overrides: str) -> Path:
        options = [ARMS, "generators.limit=9", "counterfactual.target=grey", "generators.pictures=2", *overrides]
        run = level_run(tmp_path / "runs", *options)
        monkeypatch.setattr(command, "load_run", lambda _: run)
        command.compare_generators(run.config)
        return run.folder.path / "explanations" / run.config.generators.folder

    return compare


def lines(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def untimed(path: Path) -> list[dict[str, str]]:
    """Lines of a table without what is never twice the same."""
    return [{key: value for key, value in row.items() if key != "seconds"} for row in lines(path)
            if row.get("metric") != "seconds"]  # fmt: skip


def test_it_leaves_the_documented_folder_for_every_image_and_arm(world, capsys):
    folder = world()
    listed = json.loads((folder / "generators.json").read_text())
    assert [arm["name"] for arm in listed["arms"]] == ["ours", "nearest", "shuffled", "Brighter"]
    assert listed["baseline"] == "ours"
    assert len(listed["images"]) == 6  # three of nine are grey already
    for one in listed["images"]:
        assert one["target"] == "grey" != one["source"]
        with Image.open(folder / "images" / f"{one['file']}.png") as picture:
            assert picture.size == (16, 16)
        for arm in listed["arms"]:
            place = folder / "arms" / arm["folder"] / one["file"]
            row = json.loads(place.with_name(f"{one['file']}.json").read_text())
            assert len(row["probabilities"]) == 3
            assert place.with_name(f"{one['file']}-end.png").exists() == arm["has_path"]
            assert (row["end_probabilities"] is not None) == arm["has_path"]
            assert place.with_name(f"{one['file']}-evidence.png").exists()
    table = {(row["metric"], row["arm"]): row for row in lines(folder / "table.csv")}
    assert float(table["found", "ours"]["mean"]) == 1
    assert float(table["end_l1", "Brighter"]["mean"]) == pytest.approx(0.1, abs=0.01)
    of_run = json.loads((folder.parents[1] / "metrics.json").read_text())
    assert of_run["generators/ours/found"] == 1
    assert float(table["diversity", "Brighter"]["mean"]) == 0 < float(table["diversity", "ours"]["mean"])
    assert table["found", "ours"]["difference"] == "" != table["found", "Brighter"]["difference"]
    assert {"found", "oracle", "l1", "cout", "seconds"} <= set(lines(folder / "rows.csv")[0])
    assert "everything a little brighter" in (folder / "table.md").read_text()
    with Image.open(folder / "generators.png") as picture:
        assert picture.width > 5 * 160
    assert "6 images of the test split (3 more were of the target class already)" in capsys.readouterr().out


def test_stopped_anywhere_and_continued_it_ends_in_the_same_table(world, monkeypatch):
    whole = world("generators.folder=whole")
    write, calls = comparison.write_outcome, []

    def stopping(*arguments):
        calls.append(arguments)
        if len(calls) % 7 == 0:
            raise KeyboardInterrupt
        write(*arguments)

    monkeypatch.setattr(comparison, "write_outcome", stopping)
    stops = 0
    while True:
        try:
            stopped = world("generators.folder=stopped")
            break
        except KeyboardInterrupt:
            stops += 1
    assert stops > 2
    for name in ("table.csv", "rows.csv"):
        assert untimed(stopped / name) == untimed(whole / name)


def test_an_arm_may_join_later_but_the_rest_must_stay_as_it_was(world):
    folder = world("generators.arms=[ours]")
    before = (folder / "arms" / "ours").stat().st_mtime_ns
    world("generators.arms=[nearest]")
    assert (folder / "arms" / "ours").stat().st_mtime_ns == before
    assert {row["arm"] for row in lines(folder / "rows.csv")} == {"ours", "nearest"}
    with pytest.raises(UserError, match=r"counterfactual.margin was 0.05 and is 0.2.*generators.folder=NAME"):
        world("counterfactual.margin=0.2")
    with pytest.raises(UserError, match=r"ours\.bisections was 10 and is 3"):
        world("counterfactual.bisections=3")


def test_other_images_of_the_same_names_are_refused(world, monkeypatch):
    world("generators.arms=[ours]")
    monkeypatch.setattr("tiny_training.LEVELS", LEVELS + 0.05)
    with pytest.raises(UserError, match="holds results made otherwise: the data are others"):
        world("generators.arms=[ours]")


def test_all_wrong_arms_are_named_at_once(tmp_path, world):
    with pytest.raises(UserError) as caught:
        world("generators.arms=[neerest,callable:my_generators:Bare,callable:nowhere:X,residual@x]")
    words = "\n".join(caught.value.problems)
    assert "there is no generator 'neerest' (did you mean 'nearest'?)" in words
    assert "must be a class made from cae.generators.Generator" in words
    assert "the module 'nowhere'" in words
    assert "a seed is a number, as in residual@1" in words


def test_a_generator_that_gives_other_images_is_told_so(world):
    with pytest.raises(UserError, match=r"'Small' must give `images` of shape \(6, 1, 16, 16\)"):
        world("generators.arms=[callable:my_generators:Small]")


def test_a_seed_behind_an_arm_makes_it_another_arm(tmp_path):
    run = level_run(tmp_path, "seed=3")
    arms = build_arms(run, ["shuffled", "shuffled@1"])
    assert [(arm.name, arm.generator.seed) for arm in arms] == [("ours", 3), ("shuffled", 3), ("shuffled-1", 1)]


def test_what_follows_gradients_is_refused_for_a_black_box_and_what_asks_for_scores_is_not(tmp_path):
    run = level_run(tmp_path)
    object.__setattr__(run.classifier, "differentiable", False)
    with pytest.raises(UserError) as caught:
        build_arms(run, ["gradient", "latent_shift", "residual", "nearest"])
    assert [words.split("'")[1] for words in caught.value.problems] == ["gradient", "latent_shift", "residual"]
    assert [arm.name for arm in build_arms(run, ["nearest", "shuffled"])] == ["ours", "nearest", "shuffled"]


def test_images_too_small_for_the_published_network_are_told_before_anything_is_trained(tmp_path):
    with pytest.raises(UserError, match=r"at least 32, but got 16.*leave `published` out of generators.arms"):
        build_arms(level_run(tmp_path), ["published"])


@pytest.mark.parametrize("target", ["any", "all"])
def test_every_image_needs_one_target(world, target):
    with pytest.raises(UserError, match=f"must be a class .* or runner-up, but got {target}"):
        world(f"counterfactual.target={target}")


def test_a_received_run_names_no_generator_to_be_run(tmp_path):
    (tmp_path / "run").mkdir()
    save_config(load_config(overrides=["generators.arms=[callable:evil:Arm]"]), tmp_path / "run" / "config.yaml")
    assert load_run_config(tmp_path / "run").generators.arms == ["callable:evil:Arm"]
    assert set(run_config(tmp_path / "run").generators.arms) == set(GENERATORS)
    named = run_config(tmp_path / "run", ["generators.arms=[ours,callable:mine:Arm]"])
    assert named.generators.arms == ["ours", "callable:mine:Arm"]


@pytest.mark.slow
def test_killed_at_any_moment_the_shipped_run_goes_on_to_the_same_table(tmp_path):
    words = [
        str(ROOT / "explain.py"), "compare-generators", "lesions", "pretrained=true", f"runs={tmp_path}",
        "data.lesions.train=12", "data.lesions.val=6", "data.lesions.test=30", "cae.validate_every=3",
        "generators.arms=[ours,gradient,residual]", "generators.limit=6", "generators.steps=6", "generators.width=2",
        "generators.diversity=0", "logging.progress=false", "trainer.accelerator=cpu", "trainer.threads=1",
    ]  # fmt: skip
    done = forked.run([*words, "name=whole"], tmp_path)
    assert done.returncode == 0, done.stderr
    place = tmp_path / "killed" / "explanations" / "generators"
    trained = place / "models" / "residual" / "residual_checkpoints"
    for moment in (place / "arms" / "ours", trained, place / "arms" / "residual"):
        program = forked.start([*words, "name=killed"], tmp_path)
        while program.poll() is None and not (moment.exists() and any(moment.iterdir())):
            time.sleep(0.01)
        assert program.poll() is None
        os.kill(program.pid, signal.SIGKILL)
        program.wait()
    done = forked.run([*words, "name=killed"], tmp_path)
    assert done.returncode == 0, done.stderr
    whole = tmp_path / "whole" / "explanations" / "generators"
    assert untimed(place / "rows.csv") == untimed(whole / "rows.csv")
    assert not [path for path in place.rglob("*") if path.name.startswith(".writing-")]
