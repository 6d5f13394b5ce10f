"""What the program wrote into a folder of results: a list that grows with it, and temporaries that a kill left."""

from __future__ import annotations

import contextlib
import os
import re
import time
from collections.abc import Iterator
from pathlib import Path

from cae.errors import UserError
from cae.processes import host_digest, is_alive

LIST = ".written"
TEMPORARY = ".writing-"  # then host, process, and the name of the file
_DAY = 86_400  # seconds, after which a temporary of another host is nobody's
_lists: dict[str, set[str]] = {}  # by folder, of this process


def keep_list(folder: Path) -> None:
    """From now on, note every file that is written below a folder, in a hidden file of it.

    Raises:
        UserError: if that file is a link, through which another would be written to.
    """
    refuse_link(folder / LIST)
    _lists[os.path.abspath(folder)] = set(listed(folder))


def refuse_linked_folders(folder: Path) -> None:
    """Raise a UserError if a folder below this one is a link, through which files would be written elsewhere."""
    for path in _below(folder):
        if path.is_symlink() and (path.is_dir() or not path.exists()):
            refuse_link(path)


def refuse_links_out(folder: Path) -> None:
    """Raise a UserError if anything below a folder is a link to outside of it, as in a run that others have made."""
    root = folder.resolve()
    for path in _below(folder):
        if path.is_symlink() and not path.resolve().is_relative_to(root):
            raise UserError(
                f"'{path}' is a link to '{os.readlink(path)}': what lies outside the run is none of its results; "
                "remove the link."
            )


def refuse_link(path: Path) -> None:
    """Raise a UserError if a file that is written on where it lies is a link to another."""
    if path.is_symlink():
        raise UserError(
            f"'{path}' is a link to '{os.readlink(path)}': nothing is written outside the run; remove the link."
        )


def listed(folder: Path) -> set[str]:
    """Paths, relative to the folder, of the files that the program has written there."""
    with contextlib.suppress(OSError):
        return set((folder / LIST).read_text(encoding="utf-8", errors="surrogateescape").splitlines())
    return set()


def note_written(path: Path) -> None:
    """Enter a file that is about to be written into the lists of the folders that it lies in."""
    place = os.path.abspath(path)
    for folder, names in _lists.items():
        if place.startswith(folder + os.sep) and os.path.isdir(folder):
            name = os.path.relpath(place, folder)
            if name not in names or not os.path.exists(os.path.join(folder, LIST)):
                with open(os.path.join(folder, LIST), "a", encoding="utf-8", errors="surrogateescape") as file:
                    file.write(f"{name}\n")
                names.add(name)


def temporary_prefix(stem: str) -> str:
    """How the name of a temporary file begins: it tells host and process, so that what a kill left is known."""
    return f"{TEMPORARY}{host_digest()}-{os.getpid()}-{stem[-60:]}-"


def remove_temporaries(folder: Path) -> None:
    """Remove what processes that no longer live were writing below a folder."""
    for path in list(_below(folder)):
        found = re.match(rf"{re.escape(TEMPORARY)}(\w{{8}})-(\d+)-", path.name)
        if found is None:
            continue
        with contextlib.suppress(OSError):
            here = found[1] == host_digest()
            if not is_alive(int(found[2])) if here else time.time() - path.stat().st_mtime > _DAY:
                path.unlink()


def _below(folder: Path) -> Iterator[Path]:
    """All files below a folder that are no folders; links are not followed."""
    for place, folders, names in os.walk(folder):
        linked = [name for name in folders if os.path.islink(os.path.join(place, name))]
        yield from (Path(place, name) for name in (*names, *linked))


def all_files(folder: Path) -> set[str]:
    """Paths, relative to the folder, of everything below it that is no folder; links are not followed."""
    return {os.path.relpath(path, folder) for path in _below(folder)}
