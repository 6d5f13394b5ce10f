"""The one gate for folders of results, whose names come from options: nothing outside the run is written or removed."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from fnmatch import fnmatch
from pathlib import Path

from cae.errors import UserError
from cae.runs.run_lock import LOCK
from cae.written_files import LIST, TEMPORARY, all_files, listed

# whose results lie in it: a folder that another command may clear must not be theirs
OWNERS = {"traverse": "traverse.folder", "caes": "caes.folder", "compare": "explain.folder",
          "generators": "generators.folder", "manifold": None, "export": None}  # fmt: skip

# what trainings write into folders of their own, beside what is noted: by Lightning, and by versions before the list
OF_TRAININGS = ("*.ckpt", "step-*.png", "metrics.csv", "hparams.yaml", "events.out.tfevents.*")


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
    """Remove what the program has noted as its own in a folder that has passed the gate; the lock stays.

    Raises:
        UserError: if other files lie there, which are named; nothing is removed then.
    """
    own = listed(path)
    others = _foreign(path, lambda name: name in own or _is_output(name))
    if others:
        raise UserError(
            f"overwrite=true removes only what this program has noted as its own, but '{path}' also holds "
            f"{_some(others)} (version 0.1 noted nothing): move what you want to keep, or remove the folder yourself."
        )
    _remove_files(path)


def check_outputs(path: Path) -> None:
    """Raise a UserError if a folder of checkpoints, logs or samples holds what no training writes there."""
    others = [] if path.is_symlink() else _foreign(path, _is_output)
    if others:
        raise UserError(
            f"overwrite=true removes what a training has written, but '{path}' also holds {_some(others)}: move that "
            "away, or give name=… to write elsewhere."
        )


def remove_outputs(path: Path) -> None:
    """Remove a file, a link, or a folder of checkpoints, logs or samples with all that trainings write there."""
    if path.is_dir() and not path.is_symlink():
        _remove_files(path)
    else:
        path.unlink(missing_ok=True)


def _is_output(name: str) -> bool:
    last = Path(name).name
    return last in (LOCK, LIST) or last.startswith(TEMPORARY) or any(fnmatch(last, pattern) for pattern in OF_TRAININGS)


def _foreign(path: Path, is_own: Callable[[str], bool]) -> list[str]:
    return sorted(name for name in all_files(path) if not is_own(name)) if path.is_dir() else []


def _some(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def _remove_files(path: Path) -> None:
    """Remove all files below a folder but its lock, the list last; then all folders that are empty."""
    for name in sorted(all_files(path) - {LOCK}, key=lambda name: name == LIST):
        (path / name).unlink(missing_ok=True)
    for folder in sorted((part for part in path.rglob("*") if part.is_dir()), reverse=True):
        folder.rmdir()
    if path.is_dir() and not any(path.iterdir()):
        path.rmdir()
