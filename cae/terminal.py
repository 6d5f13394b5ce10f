"""What the program prints: names of files and classes are shown, and command no terminal."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TextIO, cast

from cae.errors import printable

_OF_BARS = re.compile(r"(\r|\x1b\[A)")  # by which a progress bar is drawn in the place of the former one


class PrintableStream:
    """A stream of text that escapes what a terminal would obey, but for what draws progress bars.

    Args:
        stream: where the text goes; in everything else this one is like it.
    """

    def __init__(self, stream: TextIO):
        self._stream = stream

    def write(self, text: str) -> int:
        """Write a text, escaped; returns its own length."""
        parts = _OF_BARS.split(text)
        self._stream.write("".join(part if number % 2 else printable(part) for number, part in enumerate(parts)))
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        """Write several texts."""
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextmanager
def printable_output() -> Iterator[None]:
    """Within the block, whatever is printed, by whatever library, commands no terminal."""
    before = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = (stream and cast(TextIO, PrintableStream(stream)) for stream in before)
    try:
        yield
    finally:
        sys.stdout, sys.stderr = before
