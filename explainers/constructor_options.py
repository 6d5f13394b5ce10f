"""Options of an explainer, read from the source of its constructor: a list of methods should not wait for torch."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
NO_OPTION = {"self", "classifier"}


class NotInSourceError(LookupError):
    """What is looked for is not written down plainly; the class has to be imported to know it."""


def constructor_options(place: str) -> dict[str, Any]:
    """Keyword options of a class with their defaults, in the order of its constructor; its ``resources`` are left out.

    Args:
        place: ``module:Class`` of this package.

    Raises:
        NotInSourceError: if the constructor or a default is not found as a plain value.
    """
    module, _, name = place.partition(":")
    lineage = list(_lineage(module, name))
    left_out = NO_OPTION | next((found for _, body in lineage if (found := _resources(body)) is not None), set())
    for module, body in lineage:
        for node in body:
            if isinstance(node, ast.FunctionDef) and node.name == "__init__":
                return {key: value for key, value in _defaults(node.args, module) if key not in left_out}
    raise NotInSourceError(place)


def _lineage(module: str, name: str) -> Iterator[tuple[str, list[ast.stmt]]]:
    """Module and body of a class, then of its first base, and so on, as far as they are written in this package."""
    while True:
        module, node = _definition(module, name)
        if not isinstance(node, ast.ClassDef):
            raise NotInSourceError(f"{module}:{name}")
        yield module, node.body
        bases = [base.id for base in node.bases if isinstance(base, ast.Name)]
        if not bases or bases[0] in ("ABC", "Protocol"):
            return
        name = bases[0]


def _definition(module: str, name: str) -> tuple[str, ast.stmt]:
    """Where a name of a module is defined or assigned, wherever it was imported from."""
    for node in _tree(module):
        if isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                if (alias.asname or alias.name) == name:
                    return _definition(node.module, alias.name)
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        if getattr(node, "name", None) == name or any(isinstance(t, ast.Name) and t.id == name for t in targets):
            return module, node
    raise NotInSourceError(f"{module}:{name}")


def _defaults(arguments: ast.arguments, module: str) -> Iterator[tuple[str, Any]]:
    for argument, default in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True):
        if default is None:
            raise NotInSourceError(argument.arg)
        yield argument.arg, _value(default, module)


def _value(node: ast.expr, module: str) -> Any:
    """The value of a literal, or of a constant that a module names."""
    if isinstance(node, ast.Name):
        module, found = _definition(module, node.id)
        if not isinstance(found, (ast.Assign, ast.AnnAssign)) or found.value is None:
            raise NotInSourceError(node.id)
        return _value(found.value, module)
    try:
        return ast.literal_eval(node)
    except ValueError:
        raise NotInSourceError(ast.unparse(node)) from None


def _resources(body: list[ast.stmt]) -> set[str] | None:
    """Arguments that only a run can give, by the class attribute ``resources = frozenset({…})``."""
    for node in body:
        target = node.targets[0] if isinstance(node, ast.Assign) else getattr(node, "target", None)
        if isinstance(target, ast.Name) and target.id == "resources":
            return {str(part.value) for part in ast.walk(node) if isinstance(part, ast.Constant)}
    return None


@cache
def _tree(module: str) -> list[ast.stmt]:
    path = ROOT.joinpath(*module.split("."))
    for file in (path.with_suffix(".py"), path / "__init__.py"):
        if file.exists():
            return ast.parse(file.read_text(encoding="utf-8")).body
    raise NotInSourceError(module)
