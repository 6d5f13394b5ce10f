"""Importing a module that the user names."""

from __future__ import annotations

import importlib
from types import ModuleType

from cae.errors import UserError


def named_module(name: str, said: str) -> ModuleType:
    """The module of this dotted name; ``said`` is what an error calls it.

    Raises:
        UserError: if it cannot be imported.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise UserError(f"{said} cannot be imported ({error}); is its folder in PYTHONPATH?") from error
