"""Earlier work goes on only as the same work: what its results depend on is noted beside them and compared.

An *identity* is a mapping from the name of an option or model to a plain value. Values are compared as JSON holds them,
so that a tuple is the list that was read back.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cae.errors import UserError
from cae.files import read_json, write_json

NOTE = "options.json"
_PARTS = "parts"  # under which the note keeps the identities of parts


def same_work(before: Any, now: Any) -> bool:
    """Whether two identities are equal as JSON holds them.

    >>> same_work({"sizes": [1, 2]}, {"sizes": (1, 2)})
    True
    """
    return _plain(before) == _plain(now)


def changed_names(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Names whose values differ between two identities; one that is not there counts as null."""
    return [name for name in {**before, **now} if not same_work(before.get(name), now.get(name))]


def work_digest(identity: Mapping[str, Any], *content: bytes) -> str:
    """12 hexadecimal digits of an identity and of what was worked on, for the name of a file that holds the result."""
    digest = hashlib.sha256(json.dumps(identity, sort_keys=True, default=str).encode())
    for part in content:
        digest.update(part)
    return digest.hexdigest()[:12]


def continue_work(
    folder: Path,
    identity: Mapping[str, Any],
    elsewhere: str,
    *,
    parts: Mapping[str, Any] | None = None,
    begun: bool | None = None,
) -> None:
    """Note in the folder what its results depend on; refuse a folder whose results were made otherwise.

    Args:
        folder: of the results.
        identity: everything that all of them depend on, by name.
        elsewhere: the option that sends results to another folder, such as ``traverse.folder``.
        parts: what single parts of them depend on besides, such as the maps of one method, by name. Parts that are
            not asked for now stay as they are.
        begun: whether the folder holds results; by default, whether it holds a note.

    Raises:
        UserError: names what differs, and the ways out.
    """
    path, parts = folder / NOTE, parts or {}
    common, known = _read(path)
    if path.exists() if begun is None else begun:
        joined = {name: known[name] for name in parts if name in known}
        _refuse(folder, {**common, **joined}, {**identity, **{name: parts[name] for name in joined}}, elsewhere)
    else:
        known = {}
    write_json(path, {**identity, _PARTS: {**known, **parts}} if parts else dict(identity))


def _read(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Identity and parts of a note, also of one of the former form."""
    note = read_json(path)
    common, parts = (note["common"], note.get("methods")) if "common" in note else (note, note.pop(_PARTS, {}))
    if not isinstance(common, dict) or not isinstance(parts, dict):
        raise UserError(f"'{path}' is damaged, it holds no names of options: start anew with overwrite=true.")
    return common, parts


def _refuse(folder: Path, before: Mapping[str, Any], now: Mapping[str, Any], elsewhere: str) -> None:
    names = changed_names(before, now)
    if names:
        changes = "; ".join(f"{name} was {_shown(before.get(name))} and is {_shown(now.get(name))}" for name in names)
        raise UserError(
            f"'{folder}' holds results made otherwise: {changes}. Start anew with overwrite=true, keep them and write "
            f"elsewhere with {elsewhere}=NAME, or set {_it(names)} back to continue."
        )


def _it(names: Sequence[str]) -> str:
    return "it" if len(names) == 1 else "them"


def _plain(value: Any) -> Any:
    return json.loads(json.dumps(value))


def _shown(value: Any) -> str:
    if isinstance(value, str):
        return value or "absent"  # the fingerprint of a model that is not there
    return json.dumps(value, ensure_ascii=False)
