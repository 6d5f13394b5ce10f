"""Files of JSON and tensors, written atomically: a reader never meets a half-written one.

Torch is imported where tensors are written or read: the command line reads JSON and answers without it.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from csv import Error as CSVError
from pathlib import Path
from pickle import PickleError
from typing import TYPE_CHECKING, Any

from cae.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor

# what readers raise over the content of a file; a RecursionError is a RuntimeError
FAULTS = (OSError, ValueError, KeyError, TypeError, AttributeError, EOFError, RuntimeError, PickleError, CSVError)


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """A temporary path beside ``path``, with the same suffix, that replaces it when the block ends without an error.

    Raises:
        UserError: if a folder is in its place.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.is_dir():
        raise UserError(f"'{path}' is a folder where a file is to be written: move it away.")
    handle, name = tempfile.mkstemp(prefix=f".{path.stem}-", suffix=path.suffix, dir=path.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        temporary.chmod(0o644)  # mkstemp makes it private
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_json(path: str | Path, content: Any) -> None:
    """Write indented JSON, atomically."""
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def read_json(path: str | Path, kind: type = dict) -> Any:
    """Read JSON that holds a dict, or another ``kind``; an absent file gives an empty one.

    Raises:
        UserError: if the file is damaged, holds something else, or is no file; with ways out.
    """
    path = Path(path)
    if not path.exists():
        return kind()
    with damaged(path, "JSON", "the command that wrote it makes it anew"):
        content = json.loads(existing_text(path))
        if not isinstance(content, kind):
            raise ValueError(f"it holds a {type(content).__name__} instead of a {kind.__name__}")
    return content


def existing_text(path: str | Path) -> str:
    """The text of an ordinary file.

    Raises:
        OSError: if it is none, such as a folder or a pipe, or cannot be read.
        ValueError: if it is not UTF-8.
    """
    path = Path(path)
    if not path.is_file():
        raise OSError("it is no ordinary file")
    return path.read_text(encoding="utf-8")


@contextmanager
def damaged(path: str | Path, words: str, otherwise: str) -> Iterator[None]:
    """Put what goes wrong while a file of the program's own is read into words.

    Args:
        path: the file.
        words: what it is to be read as.
        otherwise: what happens when it is moved away.
    """
    try:
        yield
    except FAULTS as error:
        reason = (str(error).strip().splitlines() or [""])[0] or type(error).__name__
        raise UserError(
            f"'{path}' is damaged, it cannot be read as {words} ({reason}): restore it from a copy, or move it away: "
            f"{otherwise}."
        ) from error


def read_checkpoint(path: str | Path, to_continue: bool = False) -> dict[str, Any]:
    """A checkpoint of a training, on the CPU; no code in it is run. ``to_continue`` asks for more than the weights.

    Raises:
        UserError: if the file is damaged or none; with ways out.
    """
    import torch

    with damaged(path, "a checkpoint", "resume=last then goes on from another one, overwrite=true begins anew"):
        if not Path(path).is_file():
            raise OSError("it is no ordinary file")
        with Path(path).open("rb") as file:  # by its name, PyTorch takes a .safetensors file for one
            content = torch.load(file, map_location="cpu", weights_only=True)
        missing = {"state_dict", *(("epoch", "global_step") if to_continue else ())} - set(content)
        if missing:
            raise ValueError(f"it lacks {', '.join(sorted(missing))}")
    return content


def update_json(path: str | Path, changes: Mapping[str, Any]) -> dict[str, Any]:
    """Merge ``changes`` into a flat JSON file and return the result."""
    content = {**read_json(path), **changes}
    write_json(path, content)
    return content


def file_name(text: str) -> str:
    """A text as part of the name of a file, different for different texts.

    >>> file_name("test/00017"), file_name("a b/c_d.png")
    ('test_00017', 'a-b_c_d.png-e09882c5')
    """
    name = text.replace("/", "_")
    if re.fullmatch(r"\w[\w.-]{0,99}", name) and "_" not in text:
        return name
    digest = hashlib.sha256(text.encode()).hexdigest()[:8]
    return re.sub(r"[^\w.-]+", "-", name).strip(".-")[-80:] + f"-{digest}"


def write_tensors(path: str | Path, tensors: Mapping[str, Tensor], kind: str, header: Any) -> None:
    """Write tensors, with ``header`` as JSON under the name ``kind``."""
    import torch
    from safetensors.torch import save_file

    # copies: safetensors refuses tensors that share memory or are not contiguous
    copies = {
        name: tensor.detach().cpu().clone(memory_format=torch.contiguous_format) for name, tensor in tensors.items()
    }
    with atomic_path(path) as temporary:
        save_file(copies, temporary, metadata={kind: json.dumps(header)})


def non_finite(tensors: Mapping[str, Tensor]) -> list[str]:
    """Names of the tensors that hold a NaN or an infinite value."""
    return [name for name, value in tensors.items() if value.is_floating_point() and not value.isfinite().all().item()]


def write_weights(path: str | Path, weights: Mapping[str, Tensor], kind: str, header: Any) -> None:
    """The same for what a training made: the only way in which weights are exported.

    Raises:
        UserError: if a value is not finite; nothing is written then.
    """
    bad = non_finite(weights)
    if bad:
        raise UserError(
            f"'{path}' is not written: {len(bad)} of {len(weights)} tensors hold values that are not finite (the first "
            f"is {bad[0]!r}), as after a training that diverged; train anew with a lower learning rate."
        )
    write_tensors(path, weights, kind, header)


def read_tensors(path: str | Path, kind: str) -> tuple[Any, dict[str, Tensor]]:
    """The header under the name ``kind`` (empty where there is none) and all tensors, on the CPU.

    Raises:
        OSError: if the file is missing or cannot be read.
        safetensors.SafetensorError: if it is no safetensors file.
        ValueError: if the header is not JSON.
    """
    from safetensors import safe_open

    with safe_open(str(path), framework="pt") as file:
        header = json.loads((file.metadata() or {}).get(kind, "{}"))
        if not isinstance(header, dict):
            raise ValueError(f"its header {kind!r} is no mapping")
        return header, {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)


def read_saved(path: str | Path, kind: str, version: str) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Header and tensors of an object that was written as ``kind``, its header saying ``format: version``.

    Raises:
        UserError: if there is no such file, it cannot be read, or it holds something else.
    """
    from safetensors import SafetensorError

    try:
        header, tensors = read_tensors(path, kind)
    except (OSError, SafetensorError, ValueError) as error:
        raise UserError(f"'{path}' cannot be read as {_with_article(kind)}: {error}") from error
    found = header.get("format")
    if found != version:
        raise UserError(f"'{path}' is no {kind} of this program (its format is {found}).")
    return header, tensors


def _with_article(noun: str) -> str:
    return f"an {noun}" if noun[0] in "aeiou" else f"a {noun}"
