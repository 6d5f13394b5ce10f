"""Sentences about the user's data, printed once."""

from __future__ import annotations

import sys
from collections.abc import Iterable

from cae.processes import is_first_process


def say_notes(notes: Iterable[str]) -> None:
    """Print every note on a line of its own, in the first process of a training only."""
    if is_first_process():
        for note in notes:
            print(printable(f"note: {note}"))


def printable(text: str) -> str:
    """The text with what the terminal cannot show, such as bytes of a file name in another encoding, escaped."""
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    return text.encode(encoding, "backslashreplace").decode(encoding)
