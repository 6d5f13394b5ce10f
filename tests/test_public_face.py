"""What a Python user meets: names that are there, typed and cheap to import; and commands that answer at once."""

from __future__ import annotations

import ast
import importlib
import inspect
import os
import subprocess
import sys
from pathlib import Path

import pytest

import cae
import explainers

ROOT = Path(__file__).parents[1]
HEAVY = ("pytorch_lightning", "matplotlib", "sklearn", "pandas")
LAZY = ("cae", "explainers", "cae.data")


def loaded_by(code: str) -> set[str]:
    """Which of the heavy packages, and torch, a fresh interpreter holds after this code."""
    tail = f"import sys\nprint('loaded', *(name for name in ('torch', *{HEAVY!r}) if name in sys.modules))"
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-c", f"{code}\n{tail}"], cwd=ROOT, env=environment, capture_output=True,
                          text=True, check=True)  # fmt: skip
    return set(done.stdout.splitlines()[-1].split()[1:])


@pytest.mark.parametrize("name", LAZY)
def test_every_public_name_is_there_listed_and_where_the_type_checker_sees_it(name):
    package = importlib.import_module(name)
    assert sorted(package.__all__) == sorted(set(package.__all__))
    assert set(package.__all__) <= set(dir(package))
    seen = {"__version__"} if name == "cae" else set()
    tree = ast.parse(Path(str(package.__file__)).read_text(encoding="utf-8"))
    for block in (node for node in tree.body if isinstance(node, ast.If)):
        for node in (node for node in block.body if isinstance(node, ast.ImportFrom)):
            for alias in node.names:
                seen.add(alias.name)
                there = getattr(importlib.import_module(str(node.module)), alias.name)
                assert getattr(package, alias.name) is there
    assert seen == set(package.__all__)


def test_an_unknown_name_is_told_with_the_nearest():
    with pytest.raises(AttributeError, match="did you mean 'load_run'"):
        cae.load_runs  # noqa: B018 (the access is what is tested)


@pytest.mark.parametrize("package", [cae, explainers])
def test_types_travel_with_the_package(package):
    assert (Path(package.__file__).parent / "py.typed").exists()
    for name in package.__all__:
        found = getattr(package, name)
        functions = [found] if inspect.isfunction(found) else []
        if inspect.isclass(found):
            functions = [item for key, item in vars(found).items() if inspect.isfunction(item) and key[0] != "_"]
        for function in functions:
            for parameter in inspect.signature(function).parameters.values():
                if parameter.name not in ("self", "cls"):
                    assert parameter.annotation is not inspect.Parameter.empty, f"{name}: {function.__qualname__}"


def test_importing_both_packages_costs_nothing():
    assert loaded_by("import cae, explainers; dir(cae), dir(explainers)") == set()


@pytest.mark.parametrize("program", ["train", "explain"])
def test_help_answers_without_torch(program):
    code = f"from explainers.commands.programs import {program}\ntry: {program}(['--help'])\nexcept SystemExit: pass"
    assert loaded_by(code) == set()


def test_the_list_of_methods_answers_without_torch():
    code = "from explainers.commands.programs import explain\nexplain(['run', 'method=list'])"
    assert loaded_by(code) == set()


def test_every_word_of_both_programs_leads_to_a_function():
    from explainers.commands.programs import EXPLAIN, TRAIN

    for command in (*TRAIN.values(), *EXPLAIN.values()):
        module, _, function = command.place.partition(":")
        assert callable(getattr(importlib.import_module(module), function))
