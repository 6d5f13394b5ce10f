"""Earlier work goes on only as the same work: what its results depend on is noted beside them and compared.

An *identity* is a mapping from the name of an option or model to a plain value. Values are compared as JSON holds them,
so that a tuple is the list that was read back.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cae.errors import UserError
from cae.files import read_json, write_json

NOTE = "options.json"
UNFINISHED = "unfinished"  # in the note of results that are being made anew
Same = Callable[[Any, Any], bool]  # whether two values of a name mean the same
IMAGES = ("data", "files", "background images")  # names of fingerprints that are not for reading
_PARTS = "parts"  # under which the note keeps the identities of parts


def same_work(before: Any, now: Any) -> bool:
    """Whether two identities are equal as JSON holds them.

    >>> same_work({"sizes": [1, 2]}, {"sizes": (1, 2)})
    True
    """
    return _plain(before) == _plain(now)


def changed_names(
    before: Mapping[str, Any], now: Mapping[str, Any], same: Mapping[str, Same] | None = None
) -> list[str]:
    """Names whose values differ between two identities; one that is not there counts as null.

    ``same`` says how the values of some names are compared.
    """
    judged = same or {}
    names = {**before, **now}
    return [name for name in names if not judged.get(name, same_work)(before.get(name), now.get(name))]


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
    changed: Callable[[Mapping[str, Any], Mapping[str, Any]], list[str]] = changed_names,
) -> None:
    """Note in the folder what its results depend on; refuse a folder whose results were made otherwise.

    Args:
        folder: of the results.
        identity: everything that all of them depend on, by name.
        elsewhere: the option that sends results to another folder, such as ``traverse.folder``.
        parts: what single parts of them depend on besides, such as the maps of one method, by name. Parts that are
            not asked for now stay as they are.
        begun: whether the folder holds results; by default, whether it holds a note.
        changed: tells the names in which the identity differs from the former one.

    Raises:
        UserError: names what differs, and the ways out.
    """
    path, parts = folder / NOTE, parts or {}
    common, known = read_note(folder)
    if path.exists() if begun is None else begun:
        joined = {name: known[name] for name in parts if name in known}
        before, now = {**common, **joined}, {**identity, **{name: parts[name] for name in joined}}
        changes = [_change(name, before.get(name), now.get(name)) for name in changed(before, now)]
        if changes:
            raise UserError(
                f"'{folder}' holds results made otherwise: {'; '.join(changes)}. Start anew with overwrite=true, keep "
                f"them and write elsewhere with {elsewhere}=NAME, or set {'it' if len(changes) == 1 else 'them'} back "
                "to continue."
            )
    else:
        known = {}
    write_json(path, {**identity, _PARTS: {**known, **parts}} if parts else dict(identity))


@contextmanager
def made_anew(folder: Path, identity: Mapping[str, Any]) -> Iterator[None]:
    """Note what the results depend on that the block writes in place of former ones; meanwhile, that they are mixed.

    Args:
        folder: of the results.
        identity: everything that they depend on, by name.
    """
    write_json(folder / NOTE, {**identity, UNFINISHED: True})
    yield
    write_json(folder / NOTE, dict(identity))


def read_note(folder: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """What is noted of the results of a folder: the identity of all, and of their parts; also in the former form.

    Both are empty where nothing is noted.

    Raises:
        UserError: if the note is damaged.
    """
    path = folder / NOTE
    note = read_json(path)
    common, parts = (note["common"], note.get("methods")) if "common" in note else (note, note.pop(_PARTS, {}))
    if not isinstance(common, dict) or not isinstance(parts, dict):
        raise UserError(f"'{path}' is damaged, it holds no names of options: start anew with overwrite=true.")
    return common, parts


def _change(name: str, before: Any, now: Any) -> str:
    """A change in words; of a method's options those alone that differ, of images no more than that they do."""
    if not (isinstance(before, Mapping) and isinstance(now, Mapping)):
        return f"{name} was {_shown(before)} and is {_shown(now)}"
    if name in IMAGES:
        return f"the {name} are others"
    inner = changed_names(before, now)
    return ", ".join(f"{name}.{key} was {_shown(before.get(key))} and is {_shown(now.get(key))}" for key in inner)


def _plain(value: Any) -> Any:
    return json.loads(json.dumps(value))


def _shown(value: Any) -> str:
    if isinstance(value, str):
        return value or "absent"  # the fingerprint of a model that is not there
    return json.dumps(value, ensure_ascii=False)
