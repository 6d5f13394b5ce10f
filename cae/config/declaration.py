"""How an option is declared: a field of a dataclass with its sentence, its range and its choices."""

from __future__ import annotations

from dataclasses import field
from typing import Any


def option(default: Any, help: str, *, low: float | None = None, high: float | None = None, choices: tuple = ()) -> Any:
    """A dataclass field with the sentence that ``--help`` prints and the range that the parser checks (inclusive)."""
    metadata = {"help": help, "low": low, "high": high, "choices": choices}
    if isinstance(default, (list, dict)):
        return field(default_factory=lambda: type(default)(default), metadata=metadata)
    return field(default=default, metadata=metadata)
