"""The package as a user installs it: a wheel, in an environment of its own, outside the checkout."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import forked
import pytest

ROOT = Path(__file__).parents[1]
SOURCES = ("pyproject.toml", "setup.py", "README.md", "LICENSE")
PACKAGES = ("cae", "explainers", "configs")
OPTIONS = ("lesions", "quick", "name=installed", "trainer.accelerator=cpu")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from a copy, so that nothing is left in the checkout."""
    copy = tmp_path_factory.mktemp("source")
    for name in SOURCES:
        shutil.copy(ROOT / name, copy / name)
    for name in PACKAGES:
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    build = "from setuptools import build_meta; print(build_meta.build_wheel('dist'))"
    done = subprocess.run([sys.executable, "-c", build], cwd=copy, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return copy / "dist" / done.stdout.splitlines()[-1]


@pytest.fixture(scope="module")
def programs(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the installed commands; the dependencies are those of this environment, nothing is downloaded."""
    place = tmp_path_factory.mktemp("environment") / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", place], check=True)
    python = next(place / name for name in ("bin/python", "Scripts/python.exe") if (place / name).exists())
    install = [sys.executable, "-m", "pip", "--python", python, "install", "--no-deps", "--no-index", "--quiet", wheel]
    done = subprocess.run(install, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    site = subprocess.run([python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"], check=True,
                          capture_output=True, text=True).stdout.strip()  # fmt: skip
    shared = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
    (Path(site) / "dependencies.pth").write_text("\n".join(sorted(shared)) + "\n", encoding="utf-8")
    return python.parent


def environment() -> dict[str, str]:
    """This environment, without a path to the checkout."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | forked.ENVIRONMENT


def call(programs: Path, folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run an installed command, or a script, forked from the environment's own interpreter."""
    command = [str(programs / words[0]), *words[1:]]
    return forked.run(command, folder, environment(), python=str(programs / "python"))


@pytest.mark.slow
def test_recipes_weights_and_types_travel_in_the_wheel(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    recipes = {f"cae/recipes/{path.name}" for path in (ROOT / "configs").glob("*.yaml")}
    weights = {f"cae/weights/lesions/{path.name}" for path in (ROOT / "cae" / "weights" / "lesions").iterdir()}
    modules = {path.relative_to(ROOT).as_posix() for name in ("cae", "explainers")
               for path in (ROOT / name).rglob("*.py")}  # fmt: skip
    wanted = {"cae/py.typed", "explainers/py.typed", "explainers/weights/ncc.safetensors"}
    assert recipes | weights | modules | wanted <= names
    assert not [name for name in names if name.startswith(("configs/", "tests/", "benchmarks/"))]


@pytest.mark.slow
def test_the_installed_commands_run_the_quick_recipe_by_name(programs, tmp_path):
    for words in (
        ("cae-train", "classifier", *OPTIONS),
        ("cae-train", "cae", *OPTIONS),
        ("cae-explain", "traverse", *OPTIONS),
        ("cae-explain", "compare", *OPTIONS, "methods=[cae,pmi,random]", "explain.limit=2", "explain.metrics=quick"),
    ):
        done = call(programs, tmp_path, *words)
        assert done.returncode == 0, f"{words}\n{done.stdout}{done.stderr}"
    run = tmp_path / "runs" / "installed"
    assert (run / "explanations" / "traverse" / "gallery.png").stat().st_size
    assert (run / "explanations" / "compare" / "table.md").stat().st_size


@pytest.mark.slow
def test_the_shipped_models_open_from_the_installed_package(programs, tmp_path):
    code = (
        "import cae; run = cae.load_run('pretrained', 'data.lesions.train=30', 'data.lesions.test=3');"
        f"print(run.classes); assert {str(ROOT)!r} not in cae.__file__"
    )
    script = tmp_path / "script.py"
    script.write_text(code, encoding="utf-8")
    done = call(programs, tmp_path, str(script))
    assert done.returncode == 0, done.stderr
    assert "healthy" in done.stdout


@pytest.mark.slow
def test_an_installed_command_calls_itself_by_its_own_name(programs, tmp_path):
    def started(*words: str) -> subprocess.CompletedProcess[str]:  # by the system, as a shell starts it
        command = [programs / "cae-train", *words]
        return subprocess.run(command, cwd=tmp_path, env=environment(), capture_output=True, text=True)

    done = started("--help")
    assert done.stdout.startswith("usage: cae-train COMMAND RECIPE")
    done = started("cae", "lesion")
    assert done.returncode == 2
    assert "did you mean 'lesions'" in done.stderr
