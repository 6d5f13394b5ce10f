"""YAML files and ``key=value`` arguments, read into a flat list of settings that know where they were written.

Scalars stay text until the type of their option is known, so that ``name: 007``, ``wandb: off`` or ``2e-3`` mean what
they say (YAML 1.1 would make them 7, False and a string). Nothing is ever executed: tags and resolvers are refused.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from cae.config.fields import Option, all_options, all_sections, nearest, option_of, section_name
from cae.config.former_options import DROPPED, RENAMED, RENAMED_VALUES
from cae.errors import UserError, did_you_mean

_BOOLEANS = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}
_REFERENCE = re.compile(r"(?<!\\)\$\{\s*([a-z_0-9.]+)\s*\}")
_PLAIN_TAGS = {"null", "bool", "int", "float", "str", "seq", "map", "timestamp", "value", "merge"}
MOST_BYTES = 4 << 20  # of a YAML file; the largest recipe has 10 kB
Place = Callable[[yaml.Node], str]


@dataclass(frozen=True)
class Setting:
    """One assignment: dotted key, value (text, None, list or dict of these), and where it was written, in words."""

    key: str
    value: Any
    origin: str
    from_file: bool = True


def read_file(path: str | Path, problems: list[str]) -> list[Setting]:
    """The settings of a YAML file, in its order; what is wrong with some of them is appended to ``problems``.

    Raises:
        UserError: where nothing can be read of the file.
    """
    root = _compose(Path(path))
    if root is None or _is_null(root):
        return []
    if not isinstance(root, yaml.MappingNode):
        raise UserError(f"{path}: a configuration file holds options, written as name: value, but this one holds none")
    settings = list(_section("", root, lambda node: f"{path}, line {node.start_mark.line + 1}", problems))
    _report_repeats(settings, problems)
    return settings


def read_argument(argument: str, problems: list[str]) -> list[Setting]:
    """The settings of a ``key=value`` argument: text, nothing, or a YAML list or mapping in one line."""
    key, equals, value = (part.strip() for part in argument.partition("="))
    if not equals:
        problems.append(f"'{argument}' sets nothing: an option is written key=value")
        return []
    origin = f"argument '{argument}'"
    if argument.encode("utf-8", "replace").decode() != argument:
        problems.append(f"{origin}: it holds bytes that are no text in UTF-8; rename the file or folder")
        return []
    if value[:1] not in ("[", "{", '"', "'"):
        node: yaml.Node = yaml.ScalarNode("tag:yaml.org,2002:str", value, None, None, None)
    else:
        try:
            node = yaml.compose(value, Loader=yaml.SafeLoader)
        except yaml.YAMLError as error:
            words = getattr(error, "problem", None) or "it cannot be read"
            problems.append(f"{origin}: {value!r} is not a valid list, mapping or quoted text: {words}")
            return []
    settings = _settings(key, node, origin, lambda _: origin, problems)
    return [replace(setting, from_file=False) for setting in settings]


def typed(option: Option, key: str, value: Any) -> Any:
    """A read value in the form that OmegaConf converts to the option's type without surprises.

    Raises:
        ValueError: where the shape is wrong (a list for a number), or text is no truth value.
    """
    if _is_reference(value):
        return value
    if option.or_pair:
        return _number_or_pair(option, value)
    if option.or_file and isinstance(value, str):
        return [value]
    if key == option.name and option.container:
        kind = list if option.container == "list" else dict
        if not isinstance(kind() if value is None else value, kind):
            raise ValueError(value)
        entries = value or kind()
        if isinstance(entries, list):
            return [_typed_scalar(option, entry) for entry in entries]
        return {name: _typed_scalar(option, entry) for name, entry in entries.items()}
    return None if value is None and option.optional else _typed_scalar(option, value)


def _number_or_pair(option: Option, value: Any) -> int | list[int]:
    """A whole number, or two of them; two that are equal are one."""
    numbers = [int(str(_typed_scalar(option, entry))) for entry in (value if isinstance(value, list) else [value])]
    if len(numbers) != (2 if isinstance(value, list) else 1):
        raise ValueError(value)
    return numbers if len(set(numbers)) == 2 else numbers[0]


def foreign_reference(value: Any) -> str | None:
    """The first ``${…}`` that is not a plain reference to another option, such as an environment variable."""
    for text in _texts(value):
        left = _REFERENCE.sub("", text)
        if "${" in left:
            return left[left.index("${") :]
    return None


def references(value: Any) -> list[str]:
    """Names of the options that a value refers to by ``${name}``."""
    return [name for text in _texts(value) for name in _REFERENCE.findall(text)]


def _compose(path: Path) -> yaml.Node | None:
    try:
        return yaml.compose(_read_text(path), Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        line = f", line {error.problem_mark.line + 1}" if error.problem_mark else ""
        words = " ".join(filter(None, (error.context, error.problem)))
        raise UserError(f"{path}{line}: not valid YAML: {words}") from error
    except (yaml.YAMLError, RecursionError) as error:
        raise UserError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from error


def _read_text(path: Path) -> str:
    try:
        if path.exists() and not path.is_dir() and not path.is_file():
            raise UserError(f"'{path}' is no ordinary file, but a pipe or a device; give a YAML file")
        if path.is_file() and path.stat().st_size > MOST_BYTES:
            raise UserError(f"'{path}' is larger than {MOST_BYTES >> 20} MB, which no configuration file is")
        return path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        near = did_you_mean(path.name, [other.name for other in path.parent.glob("*.y*ml")])
        hint = f"; an option is written {path}=VALUE" if str(path) in all_options() else near
        raise UserError(f"no configuration file '{path}'{hint}") from error
    except IsADirectoryError as error:
        raise UserError(f"'{path}' is a folder, not a YAML file") from error
    except UnicodeDecodeError as error:
        raise UserError(f"'{path}' is not a text file in UTF-8; a configuration file is YAML text") from error
    except OSError as error:
        raise UserError(f"'{path}' cannot be read: {error.strerror}") from error


def _section(prefix: str, node: yaml.MappingNode, place: Place, problems: list[str]) -> Iterator[Setting]:
    first: dict[str, str] = {}
    for name, child in node.value:
        origin = place(name)
        if not isinstance(name, yaml.ScalarNode):
            problems.append(f"{origin}: the name of an option must be plain text")
        elif name.value in first:
            problems.append(f"{origin}: '{prefix}{name.value}' is set twice (first in {first[name.value]})")
        else:
            first[name.value] = origin
            yield from _settings(prefix + name.value, child, origin, place, problems)


def _settings(key: str, node: yaml.Node, origin: str, place: Place, problems: list[str]) -> Iterator[Setting]:
    """Settings below one key: of a whole section, or of one option."""
    if key and key in all_sections():
        if isinstance(node, yaml.MappingNode):
            yield from _section(f"{key}.", node, place, problems)
        elif not _is_null(node):
            names = [name.rpartition(".")[2] for name in all_options() if section_name(name) == key]
            problems.append(f"{origin}: '{key}' is a section, with options {', '.join(names)}")
    elif key in DROPPED:
        yield Setting(key, None, origin)
    elif key in RENAMED:
        yield from _settings(RENAMED[key], node, origin, place, problems)
    elif option_of(key) is None:
        problems.append(f"{origin}: unknown option '{key}'{nearest(key)}")
    else:
        try:
            value = _value(node)
            yield Setting(key, RENAMED_VALUES.get(key, {}).get(str(value), value), origin)
        except ValueError as error:
            problems.append(f"{origin}: '{key}' {error}")


def _value(node: yaml.Node) -> Any:
    if isinstance(node, yaml.SequenceNode):
        return [_scalar(child) for child in node.value]
    if isinstance(node, yaml.MappingNode):
        entries = {_scalar(name): _scalar(child) for name, child in node.value}
        if len(entries) < len(node.value):
            raise ValueError("sets an entry twice")
        return entries
    return _scalar(node)


def _scalar(node: yaml.Node) -> str | None:
    if not isinstance(node, yaml.ScalarNode):
        raise ValueError("must not nest lists or mappings in one another")
    if node.tag.removeprefix("tag:yaml.org,2002:") not in _PLAIN_TAGS:
        raise ValueError(f"carries the YAML tag '{node.tag}'; tags are not supported, write the value alone")
    return None if _is_null(node) else str(node.value)


def _is_null(node: yaml.Node) -> bool:
    return isinstance(node, yaml.ScalarNode) and node.style is None and node.value in ("", "~", "null", "Null", "NULL")


def _typed_scalar(option: Option, value: Any) -> Any:
    if isinstance(value, (list, dict)):
        raise ValueError(value)
    if value is None:
        return "" if option.kind is str else None
    text = str(value)
    if _is_reference(text):
        return text
    if option.kind is bool:
        if text.lower() not in _BOOLEANS:
            raise ValueError(value)
        return _BOOLEANS[text.lower()]
    if option.kind is int and re.fullmatch(r"[0-9.]+[eE]\+?[0-9]{1,2}", text) and float(text).is_integer():
        return int(float(text))  # 1e4 is how people write many steps
    return text


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, (list, dict)):
        for entry in value.values() if isinstance(value, dict) else value:
            yield from _texts(entry)
    elif isinstance(value, str):
        yield value


def _is_reference(value: Any) -> bool:
    return isinstance(value, str) and "${" in value


def _report_repeats(settings: list[Setting], problems: list[str]) -> None:
    """Find an option written both nested and dotted, ``data: {flip: true}`` and ``data.flip: false``."""
    first: dict[str, Setting] = {}
    for setting in settings:
        if setting.key in first:
            problems.append(f"{setting.origin}: '{setting.key}' is set twice (first in {first[setting.key].origin})")
        first.setdefault(setting.key, setting)
