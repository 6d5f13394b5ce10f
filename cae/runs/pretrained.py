"""The trained models that the package carries: lesions at 64 x 64 pixels, to look at before training anything."""

from __future__ import annotations

import shutil
from pathlib import Path

from cae.errors import UserError
from cae.files import atomic_path

SHIPPED = Path(__file__).parents[1] / "weights" / "lesions"
RESULT = "cae.safetensors"  # copied last: a folder that has it is complete


def install_pretrained(folder: Path) -> None:
    """Copy the shipped models into a run folder, which is then like one that was trained here; at most once.

    Raises:
        UserError: if the folder holds something else, or cannot be written.
    """
    if (folder / RESULT).exists():
        return
    names = sorted(path.name for path in SHIPPED.iterdir())
    foreign = [path.name for path in folder.iterdir() if path.name not in names] if folder.is_dir() else []
    if foreign:
        some = ", ".join(sorted(foreign)[:3])
        raise UserError(f"`pretrained=true` starts a new run, but '{folder}' holds {some} …; set name= to another one.")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name in sorted(names, key=lambda name: name == RESULT):
            with atomic_path(folder / name) as temporary:
                shutil.copyfile(SHIPPED / name, temporary)
    except OSError as error:
        raise UserError(f"the shipped models cannot be copied to '{folder}': {error.strerror}.") from error
