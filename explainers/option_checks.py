"""Sentences about options of explainers that are out of range."""

from __future__ import annotations

from collections.abc import Iterable

from cae.errors import did_you_mean


def below(owner: object, least: float, *names: str) -> list[str]:
    """What is wrong with options, attributes of ``owner``, that must be at least so much; None stands for a default."""
    values = {name: getattr(owner, name) for name in names}
    return [
        f"`{name}` must be at least {least}, but is {value}."
        for name, value in values.items()
        if value is not None and not value >= least
    ]


def unknown(owner: object, name: str, known: Iterable[str]) -> list[str]:
    """What is wrong with an option, an attribute of ``owner``, that must be one of the words known."""
    value, words = getattr(owner, name), list(known)
    if value in words:
        return []
    return [f"`{name}` must be one of {', '.join(words)}, but is {value!r}{did_you_mean(str(value), words)}."]
