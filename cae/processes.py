"""Which process this is: its place in a distributed training, its host, and whether another one still lives."""

from __future__ import annotations

import contextlib
import hashlib
import os
import socket
from pathlib import Path


def is_first_process() -> bool:
    """Whether this is the first of all processes of a distributed training, before Lightning has set anything up."""
    names = ("RANK", "LOCAL_RANK", "SLURM_PROCID", "NODE_RANK", "GROUP_RANK", "JSM_NAMESPACE_RANK")
    return all(os.environ.get(name, "0") in ("", "0") for name in names)


def host_digest() -> str:
    """8 hexadecimal digits of this host's name."""
    return hashlib.sha256(socket.gethostname().encode()).hexdigest()[:8]


def started(pid: int) -> str:
    """When a process of this host was started, in the kernel's own count; empty where the system does not tell."""
    fields = _status(pid)
    return fields[19] if len(fields) > 19 else ""


def is_alive(pid: int, start: str = "") -> bool:
    """Whether a process of this host lives; with ``start``, whether it is the one that was started then.

    >>> is_alive(os.getpid(), started(os.getpid()))
    True
    """
    if os.name == "nt":  # asking there would end it
        return True
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:  # of another user
        pass
    fields = _status(pid)
    ended = bool(fields) and fields[0] in ("Z", "X")
    return not ended and start in ("", started(pid))


def _status(pid: int) -> list[str]:
    """Fields of Linux's ``/proc/<pid>/stat`` after the name, which may hold anything."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
    return []
