"""Whatever an option names: nothing outside the run folder is written or removed, and nothing of another command."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from cae.config.command_line import load_config
from cae.errors import UserError
from cae.files import write_json
from cae.runs.run_folder import RunFolder
from explain import main

COMMANDS = {
    "traverse.folder": ["traverse"],
    "explain.folder": ["compare", "methods=[random]"],
    "caes.folder": ["caes"],
    "sanity.folder": ["sanity", "sanity.tests=[guards]", "cae.max_steps=2", "cae.warmup_steps=0", "cae.ramp_steps=1"],
}
OUTSIDE = ("..", "../..", ".", "", "../other", "a/b", "a\\b", "/absolute", "~", " ", "a\n", ".hidden")


def places(tmp_path: Path, option: str, name: str, *overrides: str) -> Callable[[], Path]:
    """What makes the folder that the option names."""
    run = RunFolder(load_config(overrides=[f"runs={tmp_path / 'runs'}", "name=own", *overrides]))
    if option == "sanity.folder":
        return lambda: run.beside_trainings(name, option)
    return lambda: run.explanations(name, option)


@pytest.fixture
def precious(tmp_path) -> Path:
    """A file beside the runs, one beside the run, and a result of the run, each with words."""
    for place in ("precious", "runs/other", "runs/own/explanations/traverse", "runs/own/checkpoints"):
        (tmp_path / place).mkdir(parents=True)
        (tmp_path / place / "work").write_text(place)
    return tmp_path


def words(folder: Path) -> dict[str, str]:
    return {path.relative_to(folder).as_posix(): path.read_text() for path in folder.rglob("work")}


@pytest.mark.parametrize("option", COMMANDS)
@pytest.mark.parametrize("name", OUTSIDE)
def test_only_a_plain_name_is_a_folder_of_results(option, name, precious):
    before = words(precious)
    name = str(precious / "precious") if name == "/absolute" else name
    with pytest.raises(UserError, match=f"{option} must be a plain folder name"):
        places(precious, option, name, "overwrite=true")()
    assert words(precious) == before


@pytest.mark.parametrize("option", COMMANDS)
@pytest.mark.parametrize("target", ["../../precious", "precious", "runs/own/checkpoints", "runs/own", "absent"])
def test_a_link_is_no_folder_of_results(option, target, precious):
    before = words(precious)
    place = precious / "runs/own" / ("" if option == "sanity.folder" else "explanations")
    (place / "mine").symlink_to(target if target.startswith("..") else precious / target)
    with pytest.raises(UserError, match=rf"'{place / 'mine'}' is a link to .*give another {option}"):
        places(precious, option, "mine", "overwrite=true")()
    assert words(precious) == before
    assert (place / "mine").is_symlink()


@pytest.mark.parametrize("target", ["precious", "absent"])
def test_no_folder_below_one_of_results_is_a_link(target, precious):
    mine = places(precious, "traverse.folder", "mine")()
    (mine / "deep").mkdir()
    (mine / "deep" / "images").symlink_to(precious / target)
    with pytest.raises(UserError, match=rf"{mine / 'deep' / 'images'}' is a link to '{precious / target}'"):
        places(precious, "traverse.folder", "mine")()


@pytest.mark.parametrize("option", [option for option in COMMANDS if option != "sanity.folder"])
def test_explanations_that_are_a_link_are_refused(option, tmp_path):
    (tmp_path / "precious/mine").mkdir(parents=True)
    (tmp_path / "runs/own").mkdir(parents=True)
    (tmp_path / "runs/own/explanations").symlink_to(tmp_path / "precious")
    with pytest.raises(UserError, match="explanations' is a link"):
        places(tmp_path, option, "mine", "overwrite=true")()
    assert (tmp_path / "precious/mine").is_dir()


@pytest.mark.parametrize(
    ("option", "name"),
    [
        ("traverse.folder", "manifold"),
        ("traverse.folder", "compare"),
        ("explain.folder", "traverse"),
        ("explain.folder", "Traverse"),  # the same folder on some file systems
        ("caes.folder", "manifold"),
        ("sanity.folder", "explanations"),
        ("sanity.folder", "checkpoints"),
        ("sanity.folder", "classifier_logs"),
        ("sanity.folder", "cae_tensorboard"),
        ("sanity.folder", "metrics.json"),
    ],
)
def test_the_folder_of_another_command_or_training_is_refused(option, name, precious):
    before = words(precious)
    with pytest.raises(UserError, match="not that of another command or of a training"):
        places(precious, option, name, "overwrite=true")()
    assert words(precious) == before


@pytest.mark.parametrize("option", COMMANDS)
def test_a_file_in_the_way_stays(option, tmp_path):
    path = tmp_path / "runs/own" / ("" if option == "sanity.folder" else "explanations") / "mine"
    path.parent.mkdir(parents=True)
    path.write_text("precious")
    with pytest.raises(UserError, match=f"'{path}' is a file"):
        places(tmp_path, option, "mine", "overwrite=true")()
    assert path.read_text() == "precious"


@pytest.mark.parametrize("option", ["traverse.folder", "explain.folder", "caes.folder"])
def test_overwrite_removes_that_folder_alone(option, precious):
    before, run = words(precious), precious / "runs/own"
    write_json(places(precious, option, "mine")() / "deep" / "own.json", {})
    assert places(precious, option, "mine", "overwrite=true")() == run / "explanations/mine"
    assert words(precious) == before
    assert [path.name for path in (run / "explanations/mine").iterdir()] == [".lock"]


@pytest.mark.parametrize("option", ["traverse.folder", "explain.folder", "caes.folder"])
@pytest.mark.parametrize("kind", ["file", "deep file", "link to a folder", "link to a file", "pipe"])
def test_overwrite_removes_nothing_that_the_program_has_not_written(option, kind, precious):
    folder = places(precious, option, "mine")()
    write_json(folder / "deep" / "own.json", {})
    other = folder / ("deep/other" if kind == "deep file" else "other")
    if kind == "pipe":
        os.mkfifo(other)
    elif kind.startswith("link"):
        other.symlink_to(precious / "precious" / ("work" if kind == "link to a file" else ""))
    else:
        other.write_text("mine")
    before = words(precious)
    with pytest.raises(UserError, match=r"also holds (deep/)?other .*move what you want to keep, or remove the folder"):
        places(precious, option, "mine", "overwrite=true")()
    assert words(precious) == before
    assert os.path.lexists(other)
    assert (folder / "deep" / "own.json").exists()


def test_results_of_a_version_that_noted_nothing_are_not_removed(precious):
    (precious / "runs/own/explanations/mine").mkdir()
    (precious / "runs/own/explanations/mine/index.csv").write_text("a")
    with pytest.raises(UserError, match="index.csv .version 0.1 noted nothing"):
        places(precious, "traverse.folder", "mine", "overwrite=true")()
    assert (precious / "runs/own/explanations/mine/index.csv").exists()


def test_a_run_folder_may_itself_be_a_link(tmp_path):
    (tmp_path / "disk").mkdir()
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs/own").symlink_to(tmp_path / "disk")
    assert places(tmp_path, "traverse.folder", "mine")().is_dir()
    assert (tmp_path / "disk/explanations/mine").is_dir()


@pytest.mark.parametrize("option", [option for option in COMMANDS if option != "traverse.folder"])
@pytest.mark.parametrize("name", ["../../../precious", "/absolute", "linked"])
def test_every_command_asks_before_it_begins(option, name, precious):
    before = words(precious)
    for place in ("explanations/linked", "linked"):
        (precious / "runs/own" / place).symlink_to(precious / "precious")
    name = str(precious / "precious") if name == "/absolute" else name
    with pytest.raises(UserError, match=option):
        main([*COMMANDS[option], f"runs={precious / 'runs'}", "name=own", f"{option}={name}", "overwrite=true"])
    assert words(precious) == before
