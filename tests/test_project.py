from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from cae.config import Config
from cae.config.command_line import VERSION, load_config
from cae.config.fields import all_options, get_value
from cae.config.parsing import read_file

ROOT = Path(__file__).parents[1]
RECIPES = sorted((ROOT / "configs").glob("*.yaml"))
OVERLAYS = {"quick", "gpu", "multi_gpu", "wandb", "black_box", "published"}
SOURCES = [
    path
    for pattern in ("*.py", "*.md", "*.toml", "Makefile", ".ci/*", "cae/**/*", "explainers/**/*", "configs/*",
                    "docs/**/*", "benchmarks/*", "tests/**/*.py")
    for path in sorted(ROOT.glob(pattern))
    if path.is_file() and path.suffix in (".py", ".md", ".toml", ".yaml", "") and "__pycache__" not in path.parts
]  # fmt: skip


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_every_recipe_parses_alone(path):
    assert isinstance(load_config([path]), Config)


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_every_recipe_says_what_it_is_for(path):
    first = path.read_text(encoding="utf-8").splitlines()[0]
    assert re.match(r"# \S+", first)
    assert first.startswith("# Overlay") == (path.stem in OVERLAYS)


@pytest.mark.parametrize("path", [path for path in RECIPES if path.stem not in OVERLAYS], ids=lambda path: path.stem)
@pytest.mark.parametrize("overlay", sorted(OVERLAYS))
def test_every_overlay_fits_every_recipe(path, overlay):
    load_config([path, ROOT / "configs" / f"{overlay}.yaml"])


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_recipes_hold_only_what_differs_from_the_defaults(path):
    """A value that repeats the default would go stale unnoticed. What a reader should see anyway is listed here."""
    shown = {"name", "data.source", "data.channels", "data.columns", "cae.query_every", "trainer.devices",
             "trainer.num_nodes", "logging.wandb_project", "cae.model.individual_downsampling"}  # fmt: skip
    config, problems = load_config([path]), []
    given = {setting.key for setting in read_file(path, problems)}
    same = {key for key in given & set(all_options()) if get_value(config, key) == all_options()[key].default}
    assert same <= shown


def test_the_commented_lines_of_the_complete_recipe_are_the_defaults(tmp_path):
    text = (ROOT / "configs" / "lesions.yaml").read_text(encoding="utf-8")
    uncommented = re.sub(r"^( *)# ([a-z0-9_]+: )", r"\1\2", text, flags=re.MULTILINE)
    path = tmp_path / "lesions.yaml"
    path.write_text(uncommented, encoding="utf-8")
    settings = read_file(path, problems := [])
    assert problems == []
    assert len(settings) > 45
    expected = Config()
    expected.classifier.epochs, expected.oracle.epochs = 8, 6  # so that the demo takes a known time
    expected.cae.max_steps, expected.cae.validate_every = 800, 400  # likewise
    assert load_config([path]) == expected


def test_names_of_runs_do_not_collide():
    names = [load_config([path]).name for path in RECIPES if path.stem not in OVERLAYS]
    assert len(set(names)) == len(names)


def test_the_version_is_the_one_of_the_distribution():
    assert f'\nversion = "{VERSION}"\n' in (ROOT / "pyproject.toml").read_text(encoding="utf-8")


# put together here, so that this file does not find itself
FORBIDDEN = {
    "an absolute path of somebody's machine": r"(?<![\w.~])/(?:home|Users|root|work|mnt|tmp)/",
    "unfinished work": r"\b(?:TO" + r"DO|FIX" + r"ME|XX" + r"X)\b",
    "a stub": r"raise NotImplemented" + r"Error\b",
}


@pytest.mark.parametrize("words", FORBIDDEN)
def test_no_source_holds(words):
    found = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()}"
        for path in SOURCES
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1)
        if re.search(FORBIDDEN[words], line) and path != Path(__file__)
    ]
    assert found == []


def test_what_continuous_integration_runs_can_be_executed():
    script = ROOT / ".ci" / "run"
    assert script.stat().st_mode & 0o100
    assert script.read_text(encoding="utf-8").startswith("#!/usr/bin/env bash\n")


def make(*arguments: str) -> str:
    """What make would do, without doing it."""
    if shutil.which("make") is None:
        pytest.skip("make is not installed")
    command = ["make", "--no-print-directory", "-C", str(ROOT), "--dry-run", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout


@pytest.mark.parametrize("target", ["demo", "demo-clean", "test", "lint", "docs", "docs-modules", "bench"])
def test_every_target_of_the_makefile_is_explained(target):
    assert f"make {target} " in make("help")
    assert make(target)


def test_the_demo_starts_continues_and_reuses_with_the_same_commands():
    lines = make("demo").splitlines()
    stages = [line for line in lines if re.search(r" (?:train|explain)\.py ", line)]
    words = [line.split(".py ")[1].split()[0] for line in stages]
    assert words == ["classifier", "cae", "traverse", "manifold", "report"]
    assert all("name=demo" in line and "overwrite" not in line for line in stages)
    assert all("resume=last" in line for line in stages if "train.py" in line)
    assert make("demo-clean").strip() == "rm -rf runs/demo"


def test_the_front_page_of_the_documents_shows_a_report():
    assert "](images/report.png)" in (ROOT / "docs" / "index.md").read_text(encoding="utf-8")
    assert (ROOT / "docs" / "images" / "report.png").stat().st_size > 50_000


def test_continuous_integration_runs_the_slow_tests_too():
    assert '-m "not slow"' in make("test", "CI=")
    assert "not slow" not in make("test", "CI=true").split("-m pytest")[1]


def test_a_fresh_clone_sets_itself_up_once(tmp_path):
    fresh = make("lint", f"VENV={tmp_path / 'venv'}")
    assert "-m venv" in fresh
    assert "-e '.[dev]'" in fresh
    (tmp_path / "venv").mkdir()
    (tmp_path / "venv" / ".installed").touch()
    assert "-m venv" not in make("lint", f"VENV={tmp_path / 'venv'}")
