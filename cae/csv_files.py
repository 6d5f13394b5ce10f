"""Tables as CSV files that spreadsheets open without taking a name for a formula."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from cae.files import atomic_path, existing_text

# with which a spreadsheet takes text for a formula: at its beginning, and where one that parts cells by another sign
# than the comma, as most of Europe's do, begins a new one
_FORMULA = re.compile(r"(^|[;\t|\r\n])(?=[=+\-@\t\r])")


def write_csv(path: str | Path, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Write rows of cells, atomically: None is empty, truth values are ``true`` and ``false``, floats are exact."""
    with (
        atomic_path(path) as temporary,
        temporary.open("w", newline="", encoding="utf-8", errors="backslashreplace") as file,
    ):
        writer = csv.writer(file)
        writer.writerow([plain_text(name) for name in columns])
        writer.writerows([_cell(value) for value in row] for row in rows)


def csv_rows(path: Path) -> list[dict[str, Any]]:
    """The rows of a CSV file of the program's, by the names of its columns.

    Raises:
        OSError: if it is no ordinary file.
        ValueError: if it is not UTF-8, or larger than any that the program writes.
        csv.Error: if it is no CSV.
    """
    return list(csv.DictReader(io.StringIO(existing_text(path), newline="")))


def plain_text(text: str) -> str:
    """The text, with an apostrophe wherever a spreadsheet would begin to compute it.

    >>> plain_text("=1+1"), plain_text("a;=1+1"), plain_text("test/00017")
    ("'=1+1", "a;'=1+1", 'test/00017')

    Reference: OWASP, CSV injection.
    """
    return _FORMULA.sub(r"\1'", text)


def _cell(value: Any) -> Any:
    if isinstance(value, str):
        return plain_text(value)
    return str(value).lower() if isinstance(value, bool) else value
