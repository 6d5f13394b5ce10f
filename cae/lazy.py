"""Public names of a package that are imported when they are first asked for, so that importing it costs nothing."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Mapping
from typing import Any

from cae.errors import did_you_mean


def lazy_names(package: str, places: Mapping[str, str]) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """``__getattr__`` and ``__dir__`` (PEP 562) of a package whose names stand in modules that it does not import.

    Args:
        package: its ``__name__``.
        places: the module of every name.
    """

    def get(name: str) -> Any:
        if name not in places:
            near = did_you_mean(name, places)
            raise AttributeError(f"module {package!r} has no attribute {name!r}{near}", name=name)
        value = getattr(importlib.import_module(places[name]), name)
        setattr(sys.modules[package], name, value)  # found without this function from now on
        return value

    def names() -> list[str]:
        return sorted({*vars(sys.modules[package]), *places})

    return get, names
