"""How an option is declared: a field of a dataclass with its sentence, its range and its choices."""

from __future__ import annotations

from dataclasses import field
from typing import Any


def option(
    default: Any,
    help: str,
    *,
    low: float | None = None,
    high: float | None = None,
    choices: tuple = (),
    or_file: bool = False,
    or_pair: bool = False,
) -> Any:
    """A dataclass field with the sentence that ``--help`` prints and the range that the parser checks (inclusive).

    With ``or_file`` a list may be given by the name of a file, which stands alone in it. With ``or_pair`` a whole
    number may be a list of two instead; OmegaConf knows no such type, so that the field is of the type Any.
    """
    metadata = {"help": help, "low": low, "high": high, "choices": choices, "or_file": or_file, "or_pair": or_pair}
    if isinstance(default, (list, dict)):
        return field(default_factory=lambda: type(default)(default), metadata=metadata)
    return field(default=default, metadata=metadata)
