"""Names of classes, files and runs as text that cannot be anything else: no control character, no end of a script."""

from __future__ import annotations

import json
import math
import unicodedata
from typing import Any

REPLACEMENT = "\N{REPLACEMENT CHARACTER}"
UNIT = "\N{NO-BREAK SPACE}%"


def printable(text: str) -> str:
    """The text with its control characters as visible symbols, and without those that turn the direction of others.

    >>> printable("a\\x1b[31mb")
    'a␛[31mb'
    """
    return "".join(_visible(character) for character in text)


def _visible(character: str) -> str:
    code = ord(character)
    if code < 0x20:
        return chr(0x2400 + code)  # the block of pictures of control characters
    if code == 0x7F:
        return "␡"
    kind = unicodedata.category(character)
    joins = character in "\u200c\u200d"  # letters of Persian and emoji are joined by these
    return REPLACEMENT if kind in ("Cs", "Cc") or (kind == "Cf" and not joins) else character


def script_json(value: Any) -> str:
    """JSON that may stand in a script element: nothing in it ends the element, and no number is other than finite.

    >>> script_json({"name": "</script>", "value": float("nan")})
    '{"name":"\\\\u003c/script\\\\u003e","value":null}'
    """
    text = json.dumps(_plain(value), ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def _plain(value: Any) -> Any:
    """The value with printable texts, and None for numbers that are not finite."""
    if isinstance(value, str):
        return printable(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {printable(str(key)): _plain(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(entry) for entry in value]
    return value


def percent(share: float) -> str:
    """A share as a percentage that never says 100 % or 0 % of what is not.

    >>> [percent(share).replace("\N{NO-BREAK SPACE}", " ") for share in (0.9996, 1.0, 0.42, 0.995)]
    ['> 99.9 %', '100 %', '42 %', '99.5 %']
    """
    if share in (0, 1):
        return f"{share:.0%}".replace("%", UNIT)
    if share > 0.999:
        return "> 99.9" + UNIT
    if share < 0.001:
        return "< 0.1" + UNIT
    digits = 1 if share > 0.99 or share < 0.1 else 0
    return f"{100 * share:.{digits}f}".removesuffix(".0") + UNIT
