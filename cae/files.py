"""Files of JSON and tensors, written atomically: a reader never meets a half-written one.

Torch is imported where tensors are written or read: the command line reads JSON and answers without it.
"""

from __future__ import annotations

import errno
import hashlib
import json
import math
import os
import re
import shutil
import tempfile
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from csv import Error as CSVError
from pathlib import Path, PurePath
from pickle import PickleError
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError

from cae.errors import UserError
from cae.written_files import note_written, temporary_prefix

if TYPE_CHECKING:
    from torch import Tensor

# what readers raise over the content of a file; a RecursionError is a RuntimeError
FAULTS = (OSError, ValueError, KeyError, TypeError, AttributeError, EOFError, RuntimeError, PickleError, CSVError,
          SafetensorError, zipfile.BadZipFile)  # fmt: skip
MOST_TEXT = 1 << 30  # bytes of a JSON file or a log
_NOTHING = 1 << 16  # bytes that are free on a disk that takes no more
_DEPTHS = ("reductions", "blocks", "downsampling")  # how names of numbers of layers end
_NOT_KEPT = ("discriminator_width",)  # sizes of what is not in the file
_CUT_OFF = ("File too large", "inline_container")  # the latter of PyTorch, of a file that it could not write on
DIGEST = "cae_sha256"  # under which the header of a safetensors file keeps that of its content


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """A temporary path beside ``path``, with the same suffix, that replaces it when the block ends without an error.

    Raises:
        UserError: if a folder is in its place, or the disk is full or may not be written to.
    """
    path = Path(path)
    temporary: Path | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.is_dir():
            raise UserError(f"'{path}' is a folder where a file is to be written: move it away.")
        handle, name = tempfile.mkstemp(prefix=temporary_prefix(path.stem), suffix=path.suffix, dir=path.parent)
        os.close(handle)
        temporary = Path(name)
        yield temporary
        temporary.chmod(0o644)  # mkstemp makes it private
        note_written(path)
        os.replace(temporary, path)
    except Exception as error:  # of what writes: PyTorch and safetensors have errors of their own for a full disk
        if (words := disk_problem(error, path.parent)) is not None:
            raise UserError(f"'{path}' is not written: {words}") from error
        raise
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def disk_problem(error: BaseException, folder: str | Path) -> str | None:
    """A sentence with a way out if an error comes from a disk that takes nothing, else None.

    Args:
        error: met while something was written.
        folder: in which.
    """
    number = getattr(error, "errno", None) if isinstance(error, OSError) else None
    kept = "; what was written before is as it was. Then the same command goes on (a training with resume=last)."
    if number in (errno.EACCES, errno.EPERM, errno.EROFS):
        return f"the folder '{folder}' may not be written to; change that, or set runs= to another place{kept}"
    full = number in (errno.ENOSPC, errno.EDQUOT) or "No space left" in str(error)
    if not full and not isinstance(error, (UserError, OSError, ValueError, TypeError)):
        with suppress(OSError):  # PyTorch says no more than that writing failed
            full = shutil.disk_usage(folder).free < _NOTHING
    if full:
        return f"the disk is full; free some space, or set runs= to another disk{kept}"
    if number == errno.EFBIG or any(words in str(error) for words in _CUT_OFF):
        return f"no more of it is taken in '{folder}', by a limit of the disk or of `ulimit -f`: raise that{kept}"
    return None


def write_json(path: str | Path, content: Any) -> None:
    """Write indented JSON, atomically."""
    text = json.dumps(content, indent=2, ensure_ascii=False) + "\n"
    with atomic_path(path) as temporary:  # what is no text is escaped, as JSON does it
        temporary.write_text(text, encoding="utf-8", errors="backslashreplace")


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
        ValueError: if it is not UTF-8, or larger than any that the program writes.
    """
    path = Path(path)
    if not path.is_file():
        raise OSError("it is no ordinary file")
    if path.stat().st_size > MOST_TEXT:
        raise ValueError(f"it is larger than {MOST_TEXT >> 20} MB")
    return path.read_text(encoding="utf-8")


def check_inside(name: str) -> None:
    """Raise a ValueError if a path that a file names does not lie below the folder of that file.

    >>> check_inside("images/a.png")
    """
    path = PurePath(name)
    if path.is_absolute() or path.drive or ".." in path.parts:
        raise ValueError(f"it names {name!r}, which lies outside its folder")


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
        with zipfile.ZipFile(path) as archive:
            check_archive(archive)
        with Path(path).open("rb") as file:  # by its name, PyTorch takes a .safetensors file for one
            content = torch.load(file, map_location="cpu", weights_only=True)
        missing = {"state_dict", *(("epoch", "global_step") if to_continue else ())} - set(content)
        if missing:
            raise ValueError(f"it lacks {', '.join(sorted(missing))}")
    return content


def check_archive(archive: zipfile.ZipFile) -> None:
    """Raise a ValueError if a checkpoint is not what PyTorch has written.

    It is if a part is compressed, which PyTorch never does and by which a small file could fill memory, or is not what
    its checksum says, at which PyTorch does not look.
    """
    if any(entry.compress_type != zipfile.ZIP_STORED for entry in archive.infolist()):
        raise ValueError("its parts are compressed, which PyTorch never does")
    if (flipped := archive.testzip()) is not None:
        raise ValueError(
            f"its part {Path(flipped).name!r} is not what its checksum says, as after an error of the disk or of a copy"
        )


def update_json(path: str | Path, changes: Mapping[str, Any], drop: tuple[str, ...] = ()) -> dict[str, Any]:
    """Merge ``changes`` into a flat JSON file and return the result; names that begin as in ``drop`` go before.

    Processes that change the same file wait for each other.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with alone_in(path.parent):
        before = read_json(path)
        content = {**{name: value for name, value in before.items() if not name.startswith(drop)}, **changes}
        if content != before or not path.exists():
            write_json(path, content)
    return content


@contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Keep others that ask for the same out of a folder for a moment, where system and disk know such locks."""
    try:
        import fcntl
    except ModuleNotFoundError:  # Windows
        yield
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


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
    if isinstance(header, Mapping):  # in the one text: the order of several differs from file to file
        header = {**header, DIGEST: tensors_digest(copies, kind, header)}
    with atomic_path(path) as temporary:
        save_file(copies, temporary, metadata={kind: json.dumps(header)})


def tensors_digest(tensors: Mapping[str, Tensor], kind: str, header: Mapping[str, Any]) -> str:
    """SHA-256 over the header with its name, and names, types, shapes and bytes of tensors on the CPU."""
    import torch

    digest = hashlib.sha256(json.dumps([kind, header], sort_keys=True).encode())
    for name, tensor in sorted(tensors.items()):
        digest.update(f"\n{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def checked_header(metadata: Mapping[str, str], tensors: Mapping[str, Tensor]) -> tuple[str, Any]:
    """Name and content of the header of a safetensors file of the program's; the content is None where it is no JSON.

    Raises:
        ValueError: if header or tensors are not what was written. Files of version 0.1 do not tell.
    """
    kind, words = next(iter(metadata.items())) if len(metadata) == 1 else ("", "{}")
    try:
        header = json.loads(words)
    except ValueError:
        return kind, None
    digest = header.pop(DIGEST, None) if isinstance(header, dict) else None
    if digest is not None and digest != tensors_digest(tensors, kind, header):
        raise ValueError("its content is not what was written, as after an error of the disk or of a copy")
    return kind, header


def non_finite(tensors: Mapping[str, Tensor]) -> list[str]:
    """Names of the tensors that hold a NaN or an infinite value."""
    return [name for name, value in tensors.items() if value.is_floating_point() and not value.isfinite().all().item()]


def check_finite(path: str | Path, weights: Mapping[str, Tensor]) -> None:
    """Raise a UserError if a value of what is about to be written to ``path`` is not finite."""
    bad = non_finite(weights)
    if bad:
        raise UserError(
            f"'{path}' is not written: {len(bad)} of {len(weights)} tensors hold values that are not finite (the first "
            f"is {bad[0]!r}), as after a training that diverged; train anew with a lower learning rate."
        )


def write_weights(path: str | Path, weights: Mapping[str, Tensor], kind: str, header: Any) -> None:
    """The same for what a training made: the only way in which weights are exported.

    Raises:
        UserError: if a value is not finite; nothing is written then.
    """
    check_finite(path, weights)
    write_tensors(path, weights, kind, header)


def read_tensors(path: str | Path, kind: str) -> tuple[Any, dict[str, Tensor]]:
    """The header under the name ``kind`` (empty where there is none) and all tensors, on the CPU.

    Raises:
        OSError: if the file is missing or cannot be read.
        safetensors.SafetensorError: if it is no safetensors file.
        ValueError: if the header is not JSON, or the content is not what was written.
    """
    from safetensors import safe_open

    if Path(path).exists() and not Path(path).is_file():
        raise OSError("it is no ordinary file")
    with safe_open(str(path), framework="pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
        found, header = checked_header(file.metadata() or {}, tensors)
    header = header if found == kind else {}
    if not isinstance(header, dict):
        raise ValueError(f"its header {kind!r} is no mapping")
    return header, tensors


def check_sizes(sizes: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
    """Raise a ValueError if a header asks for a network that its weights cannot be of, before that takes memory.

    A layer of ``width`` channels holds ``width * width`` values or more, and every layer is a tensor or more.
    """
    values = sum(tensor.numel() for tensor in tensors.values())
    for name, size in sizes.items():
        bound = math.isqrt(values) if name == "width" else len(tensors) if name.endswith(_DEPTHS) else values
        if isinstance(size, int) and name not in _NOT_KEPT and not 0 <= size <= bound:
            raise ValueError(f"{name}={size} is no size of a network with these weights")


def read_header(path: str | Path) -> dict[str, Any]:
    """The one header of a safetensors file of the program's, without a look at its tensors; empty where there is none.

    What is wrong with a file is told where its tensors are read.
    """
    from safetensors import SafetensorError, safe_open

    with suppress(OSError, SafetensorError, ValueError), safe_open(str(path), framework="pt") as file:
        metadata = file.metadata() or {}
        content = json.loads(next(iter(metadata.values()))) if len(metadata) == 1 else {}
        return content if isinstance(content, dict) else {}
    return {}


def read_saved(path: str | Path, kind: str, version: str) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Header and tensors of an object that was written as ``kind``, its header saying ``format: version``.

    Raises:
        UserError: if there is no such file, it cannot be read, or it holds something else.
    """
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
