"""The one gate for folders of results, whose names come from options: nothing outside the run is written or removed."""

from __future__ import annotations

import re
import shutil
from collections.abc import Collection
from pathlib import Path

from cae.errors import UserError

# whose results lie in it: a folder that another command may clear must not be theirs
OWNERS = {"traverse": "traverse.folder", "caes": "caes.folder", "compare": "explain.folder", "manifold": None}


def result_folder(run: Path, place: str, name: str, option: str | None, taken: Collection[str] = ()) -> Path:
    """Path of ``run/place/name``, if it is a folder of the run itself that nothing else uses, or is not there yet.

    Args:
        run: the run folder; it may itself be a link.
        place: folder below it that holds such folders, or an empty text.
        name: of the folder, as an option gives it.
        option: that option; None for a name of the program's own.
        taken: names that something else of the run has.

    Raises:
        UserError: if the name is more than the name of a folder or is taken, if the folder or what holds it is a link,
            or if a file is in its way.
    """
    others = {other.casefold() for other in taken}
    if not re.fullmatch(r"\w([\w. -]*[\w-])?", name) or name.casefold() in others:
        raise UserError(
            f"{option or 'the folder of results'} must be a plain folder name, without / or \\, and not that of "
            f"another command or of a training, but got {name!r}: results always lie below '{run / place}'."
        )
    path, other = run / place / name, f", or give another {option}" if option else ""
    for part in dict.fromkeys((run / place, path)):
        if part != run and part.is_symlink():
            raise UserError(
                f"'{part}' is a link to '{part.resolve()}': results are written, and with overwrite=true removed, only "
                f"in the run folder itself; remove the link{other}."
            )
        if part.exists() and not part.is_dir():
            raise UserError(f"'{part}' is a file where a folder of results should be: move it away{other}.")
    return path


def taken_by_others(option: str | None) -> set[str]:
    """Names below ``explanations`` that belong to other commands than that of this option."""
    return {name for name, owner in OWNERS.items() if option is not None and owner != option}


def remove_results(path: Path) -> None:
    """Remove a folder that has passed the gate; links within it are removed, not what they lead to."""
    if path.is_dir():
        shutil.rmtree(path)
