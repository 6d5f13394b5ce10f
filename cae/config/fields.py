"""The options of ``config.py`` as a table: what ``--help`` prints, and what error messages say is allowed."""

from __future__ import annotations

import dataclasses
import difflib
import functools
import textwrap
import typing
from collections.abc import Collection, Iterator, Mapping
from types import NoneType
from typing import Any

from cae.config import Config

_WORDS = {int: "a whole number", float: "a number", bool: "true or false", str: "text"}


@dataclasses.dataclass(frozen=True)
class Option:
    """One leaf of the configuration, under its dotted name; ``kind`` is the type of the value or of its elements."""

    name: str
    kind: type
    container: str  # "", "list" or "dict"
    optional: bool
    default: Any
    help: str
    low: float | None
    high: float | None
    choices: tuple
    or_file: bool = False
    or_pair: bool = False

    @property
    def limits(self) -> str:
        """Range or choices in words, ``at least 1``; empty where everything of the type is allowed."""
        if self.choices:
            return "one of " + ", ".join(str(choice) for choice in self.choices)
        if self.low is not None and self.high is not None:
            return f"between {self.low:g} and {self.high:g}"
        if self.low is not None:
            return f"at least {self.low:g}"
        return f"at most {self.high:g}" if self.high is not None else ""

    @property
    def expected(self) -> str:
        """Everything that is allowed, in words: ``a whole number, at least 1``."""
        words = self.limits if self.choices else ", ".join(filter(None, [_WORDS[self.kind], self.limits]))
        if self.container == "list":
            words = f"a list, written [a, b], of items that are each {words}"
        if self.or_pair:
            words += ", or two of them, written [height, width]"
        if self.or_file:
            words += ", or a file"
        if self.container == "dict":
            words = f"a mapping, written {{key: value}}, to {words}"
        return f"{words}, or null for none" if self.optional else words


def section_name(name: str) -> str:
    """``cae.model`` of ``cae.model.width``; empty at the top."""
    return name.rpartition(".")[0]


def _split_type(annotation: Any) -> tuple[type, str, bool]:
    """Kind, container and whether None is allowed, of a type annotation of ``config.py``."""
    arguments = typing.get_args(annotation)
    if NoneType in arguments:
        kind, container, _ = _split_type(next(part for part in arguments if part is not NoneType))
        return kind, container, True
    origin = typing.get_origin(annotation)
    if origin in (list, dict):
        return arguments[-1], origin.__name__, False
    return annotation, "", False


def _walk(cls: type, prefix: str) -> Iterator[tuple[str, type | Option]]:
    yield prefix.rstrip("."), cls
    types = typing.get_type_hints(cls)
    for field in dataclasses.fields(cls):
        name = prefix + field.name
        if dataclasses.is_dataclass(types[field.name]):
            yield from _walk(types[field.name], name + ".")
            continue
        default = field.default if field.default_factory is dataclasses.MISSING else field.default_factory()
        known = {key: field.metadata[key] for key in ("help", "low", "high", "choices", "or_file", "or_pair")}
        annotation = int if known["or_pair"] else types[field.name]
        yield name, Option(name, *_split_type(annotation), default, **known)


@functools.cache
def all_options() -> Mapping[str, Option]:
    """Every option by its dotted name, in the order of ``config.py``."""
    return {name: item for name, item in _walk(Config, "") if isinstance(item, Option)}


@functools.cache
def all_sections() -> Mapping[str, type]:
    """Every dataclass of the configuration by its dotted name; the top is the empty name."""
    return {name: item for name, item in _walk(Config, "") if not isinstance(item, Option)}


def option_of(key: str) -> Option | None:
    """The option that a dotted key sets; ``data.columns.label`` sets an entry of the mapping ``data.columns``."""
    options = all_options()
    parent = options.get(section_name(key))
    return options.get(key) or (parent if parent is not None and parent.container == "dict" else None)


def nearest(key: str) -> str:
    """The known options most like an unknown key, of any section, as a sentence part; else where to look."""
    known = [name for name in [*all_options(), *all_sections()] if name]
    leaf = key.rpartition(".")[2]
    ends = [name for name in known if name.endswith(f".{key}")]
    same_leaf = difflib.get_close_matches(key, [name for name in known if name.endswith(f".{leaf}")], n=3, cutoff=0)
    close = difflib.get_close_matches(key, known, n=1, cutoff=0.75)
    leaves = difflib.get_close_matches(leaf, {name.rpartition(".")[2] for name in known}, n=1)
    close_leaf = [name for name in known if name.rpartition(".")[2] in leaves]
    found = (ends or same_leaf or close or close_leaf)[:3]
    if not found:
        return " (--help lists every option)"
    return f" (did you mean {' or '.join(repr(name) for name in found)}?)"


def get_value(config: Config, name: str) -> Any:
    """Value of an option by its dotted name."""
    return functools.reduce(getattr, name.split("."), config)


def set_value(config: Config, name: str, value: Any) -> None:
    """Set an option by its dotted name."""
    section, _, leaf = name.rpartition(".")
    setattr(get_value(config, section) if section else config, leaf, value)


def within(name: str, sections: Collection[str]) -> bool:
    """Whether an option is one of these, or belongs to one of these sections."""
    return any(name == section or name.startswith(f"{section}.") for section in sections)


def differing(config: Config, other: Config, sections: Collection[str]) -> list[str]:
    """Names of the options of these sections (or these options) in which two configurations differ."""
    return [
        name for name in all_options() if within(name, sections) and get_value(config, name) != get_value(other, name)
    ]


def shown(value: Any) -> str:
    """A value as it is written in YAML: ``null``, ``true``, ``[pca, tsne]``."""
    if value is None or value == "":
        return "null" if value is None else '""'
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return "[" + ", ".join(map(shown, value)) + "]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {shown(entry)}" for key, entry in value.items()) + "}"
    return f"{value:g}" if isinstance(value, float) else str(value)


def options_table(width: int = 100) -> str:
    """Every option with default, meaning and what is allowed, one block for each section under its docstring."""
    blocks = []
    for section, cls in all_sections().items():
        title = (cls.__doc__ or "").strip().splitlines()[0]
        rows = [option for name, option in all_options().items() if section_name(name) == section]
        lines = textwrap.wrap(f"{section or 'top level'}: {title}", width)
        blocks.append("\n".join([*lines, *_rows(rows, width)]))
    return "\n\n".join(blocks)


def _rows(options: list[Option], width: int) -> Iterator[str]:
    """Table rows; a name or default too long for its column pushes the meaning to the next line."""
    column = min(max(len(option.name) for option in options) + 2, 36)
    indent = 2 + column + 12
    for option in options:
        head = f"  {option.name:<{column}}{shown(option.default):<12}"
        meaning = f"{option.help} [{option.limits or _WORDS[option.kind].removeprefix('a ')}]"
        body = textwrap.wrap(meaning, max(width - indent, 30), break_long_words=False)
        if len(head) > indent or head[-1] != " ":
            yield head.rstrip()
        else:
            yield head + body.pop(0)
        yield from (" " * indent + line for line in body)
