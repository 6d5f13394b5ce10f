"""Names in pictures: characters that the typeface lacks are spelled out, so that no two names look alike."""

from __future__ import annotations

import unicodedata
from collections.abc import Container
from functools import lru_cache
from itertools import groupby
from pathlib import Path
from typing import Any

from PIL import ImageFont

INVISIBLE = ("Cf", "Mn", "Cc")  # joiners, selectors and marks: nothing is drawn for them where they are not known


@lru_cache
def font(size: int, bold: bool = False) -> ImageFont.FreeTypeFont:
    """DejaVu Sans, which matplotlib brings along, so that pictures look alike on every machine.

    It draws Latin, Greek, Cyrillic, Arabic and Hebrew letters; what else there is in a text, as ``legible`` spells it.
    """
    return _SpellingFont(_file(bold), size)


def _file(bold: bool) -> Path:
    import matplotlib  # takes half a second, which a program that draws nothing should not wait for

    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    return Path(matplotlib.get_data_path()) / "fonts" / "ttf" / name


@lru_cache
def _characters(path: str) -> frozenset[int]:
    from matplotlib.ft2font import FT2Font

    return frozenset(FT2Font(path).get_charmap())


def legible(text: str, known: Container[int] | None = None) -> str:
    """A text in characters that are drawn: symbols that are not by their names, letters that are not by their numbers.

    Args:
        text: any.
        known: numbers of the characters that the typeface has; by default those of ``font``.

    >>> legible("dog 犬猫 🐶")
    'dog [72AC 732B] [dog face]'
    """
    if text.isascii():
        return text
    known = _characters(str(_file(False))) if known is None else known
    runs = groupby(text, key=lambda character: character.isspace() or ord(character) in known)
    return "".join("".join(run) if is_known else _spelled("".join(run)) for is_known, run in runs)


def _spelled(run: str) -> str:
    words = [_word(character) for character in run if unicodedata.category(character) not in INVISIBLE]
    return f"[{' '.join(words)}]" if words else ""


def _word(character: str) -> str:
    symbol = unicodedata.category(character).startswith("S")
    return unicodedata.name(character, "").lower() if symbol else f"{ord(character):04X}"


class _SpellingFont(ImageFont.FreeTypeFont):
    """A typeface that draws and measures what ``legible`` makes of a text."""

    def __init__(self, path: Path, size: int):
        super().__init__(str(path), size)
        self._known = _characters(str(path))

    def getmask2(self, text: Any, *rest: Any, **options: Any) -> Any:
        """As Pillow's, of the text as it is spelled."""
        return super().getmask2(self._spelled(text), *rest, **options)

    def getbbox(self, text: Any, *rest: Any, **options: Any) -> Any:
        """As Pillow's, of the text as it is spelled."""
        return super().getbbox(self._spelled(text), *rest, **options)

    def getlength(self, text: Any, *rest: Any, **options: Any) -> float:
        """As Pillow's, of the text as it is spelled."""
        return super().getlength(self._spelled(text), *rest, **options)

    def _spelled(self, text: Any) -> Any:
        return legible(text, self._known) if isinstance(text, str) else text
