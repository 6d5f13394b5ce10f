"""The list of modules is made from the modules' own first sentences."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "docs" / "scripts"))

from modules import PAGE, first_line, modules, packages, updated  # noqa: E402 (the path above comes first)

MODULES = [path for package in packages() for path in (package / "__init__.py", *modules(package))]


def test_the_architecture_names_every_module_by_its_own_sentence():
    page = PAGE.read_text(encoding="utf-8")
    assert updated(page) == page, "out of date: make docs-modules"


def test_a_module_begins_with_one_sentence_on_one_line():
    lines = {path.relative_to(ROOT).as_posix(): first_line(path) for path in MODULES}
    assert {
        name: line for name, line in lines.items() if not line or not line[0].isupper() or line[-1] not in ".?"
    } == {}


def test_the_list_counts_every_module_once():
    listed = [
        line for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("* `") and ".py`: " in line
    ]
    assert len(listed) == sum(len(modules(package)) for package in packages())


def test_a_module_that_is_new_shows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    import modules as script

    folder = tmp_path / "cae"
    folder.mkdir()
    (folder / "__init__.py").write_text('"""A package."""\n', encoding="utf-8")
    (folder / "fresh.py").write_text('"""Something new.\n\nMore of it.\n"""\n', encoding="utf-8")
    monkeypatch.setattr(script, "ROOT", tmp_path)
    assert "### `cae/`\n\nA package.\n\n* `fresh.py`: Something new." in script.listing()
    assert ast.parse((folder / "fresh.py").read_text(encoding="utf-8"))
