"""Tables as CSV files that spreadsheets open without taking a name for a formula."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from cae.files import atomic_path

FORMULAS = ("=", "+", "-", "@", "\t", "\r")  # with which a spreadsheet takes text for a formula


def write_csv(path: str | Path, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Write rows of cells, atomically: None is empty, truth values are ``true`` and ``false``, floats are exact."""
    with (
        atomic_path(path) as temporary,
        temporary.open("w", newline="", encoding="utf-8", errors="backslashreplace") as file,
    ):
        writer = csv.writer(file)
        writer.writerow([plain_text(name) for name in columns])
        writer.writerows([_cell(value) for value in row] for row in rows)


def plain_text(text: str) -> str:
    """The text, behind an apostrophe where a spreadsheet would compute it.

    >>> plain_text("=1+1"), plain_text("test/00017")
    ("'=1+1", 'test/00017')

    Reference: OWASP, CSV injection.
    """
    return f"'{text}" if text.startswith(FORMULAS) else text


def _cell(value: Any) -> Any:
    if isinstance(value, str):
        return plain_text(value)
    return str(value).lower() if isinstance(value, bool) else value
