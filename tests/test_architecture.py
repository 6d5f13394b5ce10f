"""The house rules, read from the code: layers of imports, sizes, no `assert`, a first sentence for every module."""

from __future__ import annotations

import ast
import re
from functools import cache
from itertools import pairwise
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
DEPTH = {"cae": 8, "explainers": 5}  # layers at most
MOST_LINES, MOST_LINES_OF_A_CLASS = 400, 250
LIBRARY = sorted(path for package in DEPTH for path in (ROOT / package).rglob("*.py"))


def place(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


@cache
def nodes(path: Path) -> list[ast.AST]:
    return list(ast.walk(parsed(path)))


@cache
def room(module: str) -> str:
    """The package that a module lies in: ``cae.data`` of ``cae.data.images``; ``cae`` of what lies at the top."""
    parts = module.split(".")
    return ".".join(parts[:2]) if len(parts) > 1 and (ROOT / parts[0] / parts[1]).is_dir() else parts[0]


@cache
def imported(path: Path) -> list[str]:
    """Modules that a file imports, at its top or within a function, for types alone or not."""
    found: list[str] = []
    for node in nodes(path):
        if isinstance(node, ast.ImportFrom) and node.module:
            found += (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Import):
            found += (alias.name for alias in node.names)
    return found


@cache
def graph(package: str) -> dict[str, dict[str, str]]:
    """Rooms of a package, each with the rooms that it imports, and a file that does."""
    found: dict[str, dict[str, str]] = {}
    for path in (ROOT / package).rglob("*.py"):
        own = room(".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"))
        uses = found.setdefault(own, {})
        if path == ROOT / package / "__init__.py":  # the face shows everything, by name, and imports nothing
            continue
        for module in imported(path):
            if module.split(".")[0] == package and room(module) != own:
                uses[room(module)] = place(path)
    return found


def layers(rooms: dict[str, dict[str, str]]) -> dict[str, int]:
    """Layer of every room, from 1: one above the highest that it imports. A circle is an error that names its files."""
    found: dict[str, int] = {}

    def layer(name: str, above: tuple[str, ...] = ()) -> int:
        if name in above:
            circle = [*above[above.index(name) :], name]
            files = [rooms[a][b] for a, b in pairwise(circle)]
            raise AssertionError(f"a circle of imports: {' > '.join(circle)} ({', '.join(files)})")
        if name not in found:
            found[name] = 1 + max((layer(other, (*above, name)) for other in rooms[name]), default=0)
        return found[name]

    for name in rooms:
        layer(name)
    return found


@pytest.mark.parametrize("package", DEPTH)
def test_packages_lie_in_layers_without_a_circle(package):
    found = layers(graph(package))
    assert len(found) > 5
    assert max(found.values()) <= DEPTH[package], sorted(found.items(), key=lambda item: item[1])


@pytest.mark.parametrize(("package", "column"), [("cae", 2), ("explainers", 3)])
def test_the_document_shows_the_layers_that_the_code_has(package, column):
    shown = {}
    for line in (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8").splitlines():
        if re.match(r"\| \d \| ", line):
            cells = line.split("|")
            shown |= {f"{package}.{name}": int(cells[1]) for name in re.findall(r"`(\w+)`", cells[column])}
    found = layers(graph(package))
    assert found.pop(package) == 1
    assert shown == found


def test_a_circle_is_found_even_where_it_goes_through_a_function():
    with pytest.raises(AssertionError, match=r"a > b > a \(a\.py, b\.py\)"):
        layers({"a": {"b": "a.py"}, "b": {"a": "b.py"}})


def test_cae_knows_nothing_of_explainers():
    found = [place(path) for path in (ROOT / "cae").rglob("*.py") for module in imported(path)
             if module.split(".")[0] == "explainers"]  # fmt: skip
    assert found == []


@pytest.mark.parametrize("module", ["cae.config", "cae.runs.run_folder", "cae.runs.run_config", "cae.continuing"])
def test_what_the_command_line_reads_does_not_wait_for_torch(module):
    """``cae.files`` and ``cae.errors``, on which these build, import torch within functions at most."""
    start = Path(ROOT, *module.split("."))
    files = sorted(start.glob("*.py")) if start.is_dir() else [start.with_suffix(".py")]
    for path in (*files, ROOT / "cae" / "files.py", ROOT / "cae" / "errors.py"):
        top = [node for node in parsed(path).body if isinstance(node, ast.Import | ast.ImportFrom)]
        names = {getattr(node, "module", None) or node.names[0].name for node in top}
        assert not {name for name in names if name.split(".")[0] == "torch"}, place(path)


def test_library_code_asserts_nothing():
    found = [f"{place(path)}:{node.lineno}" for path in LIBRARY for node in nodes(path)
             if isinstance(node, ast.Assert)]  # fmt: skip
    assert found == []


def test_no_file_is_too_long():
    found = [place(path) for path in LIBRARY if len(path.read_text(encoding="utf-8").splitlines()) > MOST_LINES]
    assert found == []


def test_no_class_is_too_long():
    found = [
        f"{place(path)}: {node.name}"
        for path in LIBRARY
        for node in nodes(path)
        if isinstance(node, ast.ClassDef) and (node.end_lineno or 0) - node.lineno + 1 > MOST_LINES_OF_A_CLASS
    ]
    assert found == []


def test_every_module_says_in_one_line_what_it_is():
    firsts = {place(path): (ast.get_docstring(parsed(path)) or "").partition("\n")[0] for path in LIBRARY}
    assert {name: first for name, first in firsts.items() if not re.fullmatch(r"[A-Z`].*[.?]", first)} == {}
