"""The list of modules in ``docs/architecture.md``, from the modules' own first sentences: ``make docs-modules``."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "architecture.md"
BEGIN, END = "<!-- modules, by `make docs-modules` -->", "<!-- end of modules -->"
PACKAGES = ("cae", "explainers")


def packages() -> list[Path]:
    """Folders of all packages, a package before those inside it, in alphabetical order."""
    return sorted(path.parent for top in PACKAGES for path in (ROOT / top).rglob("__init__.py"))


def modules(package: Path) -> list[Path]:
    """Files of a package's modules, without ``__init__.py``, in alphabetical order."""
    return sorted(path for path in package.glob("*.py") if path.name != "__init__.py")


def first_line(path: Path) -> str:
    """The first line of a module's docstring; empty where it has none."""
    return (ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or "").partition("\n")[0]


def has_public_docstrings(path: Path) -> bool:
    """Whether a module holds a class or function that the API pages show."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    kinds = (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    return any(isinstance(node, kinds) and node.name[0] != "_" and ast.get_docstring(node) for node in tree.body)


def listing() -> str:
    """Markdown: every package with its sentence, and below it one line for each of its modules."""
    return "\n".join(_lines())


def _lines() -> Iterator[str]:
    for package in packages():
        name = package.relative_to(ROOT).as_posix()
        yield f"\n### `{name}/`\n\n{first_line(package / '__init__.py')}\n"
        for module in modules(package):
            yield f"* `{module.name}`: {first_line(module)}"


def updated(page: str) -> str:
    """The page with the present list between its two marks."""
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{listing()}\n\n{END}{after}"


def main() -> None:
    """Write the list into the page, or with ``--check`` only say whether it is the present one."""
    page = PAGE.read_text(encoding="utf-8")
    if "--check" in sys.argv[1:]:
        raise SystemExit(0 if updated(page) == page else f"{PAGE.name} is out of date: make docs-modules")
    PAGE.write_text(updated(page), encoding="utf-8")
    print(f"written: the list of modules in {PAGE.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
