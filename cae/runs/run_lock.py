"""One owner of a folder: a lock with host and process, which one that died without a word leaves to the next."""

from __future__ import annotations

import atexit
import contextlib
import errno
import json
import os
import socket
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from cae.errors import UserError
from cae.files import alone_in, damaged, existing_text
from cae.processes import is_alive, is_first_process, started
from cae.written_files import remove_temporaries, temporary_prefix

LOCK = ".lock"
_NO_LINKS = (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK)
_held: dict[Path, int] = {}  # locks of this process, with its id: a fork does not own them


@dataclass(frozen=True)
class Owner:
    """Who writes in a folder: host, process, when that was started, since when it writes, and the cluster's job."""

    host: str
    pid: int
    start: str
    since: str
    job: str

    @classmethod
    def present(cls) -> Owner:
        """This process."""
        now, job = time.strftime("%Y-%m-%d %H:%M:%S"), os.environ.get("SLURM_JOB_ID", "")
        return cls(socket.gethostname(), os.getpid(), started(os.getpid()), now, job)

    @property
    def is_this_process(self) -> bool:
        """Whether it is the one that asks."""
        return (self.host, self.pid, self.start) == (socket.gethostname(), os.getpid(), started(os.getpid()))

    @property
    def gone(self) -> bool:
        """Whether it is known to have ended: a process of this host, or this very job of a cluster, begun again."""
        if self.host == socket.gethostname():
            return not is_alive(self.pid, self.start)
        return bool(self.job) and self.job == os.environ.get("SLURM_JOB_ID")


def take_lock(folder: Path, elsewhere: str) -> None:
    """Make this process the owner of a folder until it ends; only the first of a distributed training takes it.

    What processes that died were writing there is removed.

    Args:
        folder: is there.
        elsewhere: the setting that sends this work to another folder, such as ``name=…``.

    Raises:
        UserError: if another process owns the folder.
    """
    path = folder.resolve() / LOCK  # that itself may be a link, which is not followed
    if not is_first_process() or _held.get(path) == os.getpid():
        return
    with alone_in(path.parent):  # or one that has seen a dead owner might take away the lock of the next
        while not _made(path):
            before = _owner(path)
            if before is not None and before.is_this_process:
                break  # the folder was moved meanwhile
            if before is not None and not before.gone:
                raise UserError(_sentence(folder, path, before, elsewhere))
            if before is not None and _taken_away(path, before):
                print(
                    f"note: process {before.pid} on {before.host}, which wrote in '{folder}' since {before.since}, "
                    "ended without a word; its place is taken over"
                )
    _held[path] = os.getpid()
    remove_temporaries(folder)


@atexit.register
def release_locks() -> None:
    """Give back all that this process owns."""
    for path, pid in list(_held.items()):
        if pid == os.getpid():
            with contextlib.suppress(OSError):
                path.unlink()
            del _held[path]


def _made(path: Path) -> bool:
    """Write the lock, unless there is one; it is never half there, however full the disk is."""
    words, whole = json.dumps(asdict(Owner.present())), _beside(path)
    try:
        whole.write_text(words, encoding="utf-8")
        os.link(whole, path)
    except FileExistsError:
        return False
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        return _made_in_place(path, words)
    finally:
        whole.unlink(missing_ok=True)
    return True


def _made_in_place(path: Path, words: str) -> bool:
    """The same on a disk that knows no links."""
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(words)
    except FileExistsError:
        return False
    return True


def _beside(path: Path) -> Path:
    """A name beside the lock, for what is removed by the next owner if this process is killed."""
    return path.with_name(temporary_prefix("lock"))


def _owner(path: Path) -> Owner | None:
    """Who owns a lock; None if it has just been given back."""
    try:
        for _ in range(20):
            if not path.is_file() or path.stat().st_size:
                break
            time.sleep(0.05)  # it is being written
        else:  # its owner was killed before it had written a word
            path.unlink(missing_ok=True)
            return None
        with damaged(path, "a lock", "no other process may be writing there then"):
            return Owner(**json.loads(existing_text(path)))
    except (UserError, FileNotFoundError):
        if os.path.lexists(path):
            raise
        return None


def _taken_away(path: Path, owner: Owner) -> bool:
    """Remove the lock of a process that is gone, if it still is that one: another may be doing the same."""
    aside = _beside(path)
    try:
        path.rename(aside)
        if _owner(aside) == owner:
            return True
        with contextlib.suppress(FileExistsError):
            os.link(aside, path)
        return False
    except FileNotFoundError:
        return False
    finally:
        aside.unlink(missing_ok=True)


def _sentence(folder: Path, path: Path, owner: Owner, elsewhere: str) -> str:
    foreign = owner.host != socket.gethostname()
    unsure = f" If that process is no longer there, which cannot be seen from here, remove '{path}'." if foreign else ""
    return (
        f"'{folder}' is in use: process {owner.pid} on {owner.host} has been writing there since {owner.since}. Wait "
        f"for it, stop it, or write elsewhere with {elsewhere}.{unsure}"
    )
