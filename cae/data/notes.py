"""Sentences about the user's data, printed once."""

from __future__ import annotations

from collections.abc import Iterable

from cae.errors import printable
from cae.processes import is_first_process


def say_notes(notes: Iterable[str]) -> None:
    """Print every note on a line of its own, in the first process of a training only."""
    if is_first_process():
        for note in notes:
            print(printable(f"note: {note}"))
