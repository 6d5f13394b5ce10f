"""Jobs of SLURM that are queued again: when they are, and how a running one asks for it."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from cae.errors import UserError
from cae.processes import is_first_process
from cae.signals import Stopped

SIGNAL = "SIGUSR1"  # of `#SBATCH --signal=USR1@300`


def is_requeued() -> bool:
    """Whether SLURM runs this job again: it must go on, even where it was first called with ``overwrite=true``."""
    return os.environ.get("SLURM_RESTART_COUNT", "0") not in ("", "0")


def check_tasks() -> None:
    """Refuse a SLURM job of several tasks of which only this one has been started: the training would wait for ever.

    Raises:
        UserError: with the way to start all of them.
    """
    tasks = os.environ.get("SLURM_NTASKS", "1")
    interactive = os.environ.get("SLURM_JOB_NAME") in ("bash", "interactive")  # Lightning starts processes itself
    if tasks.isdigit() and int(tasks) > 1 and not interactive and "SLURM_STEP_ID" not in os.environ:
        raise UserError(
            f"this SLURM job has {tasks} tasks (SLURM_NTASKS), but the program was started once and would wait for the "
            "others: start it with srun, `srun cae-train …`, with --ntasks-per-node as many as trainer.devices; or ask "
            "for one task."
        )


class RequeueSignal:
    """Within its block, SIGUSR1 makes a SLURM job queue itself again and end.

    At once, or where a training has said by ``deferred`` that it saves itself first, when that is done.

    Attributes:
        asked: whether the signal has come and is not obeyed yet.
    """

    def __init__(self) -> None:
        self.asked = False
        self._deferred = False
        self._owner = os.getpid()
        self._before: Any = None

    def __enter__(self) -> RequeueSignal:
        here = threading.current_thread() is threading.main_thread()
        if here and hasattr(signal, SIGNAL) and "SLURM_JOB_ID" in os.environ:
            self._before = signal.signal(getattr(signal, SIGNAL), self._ask)
        return self

    def __exit__(self, *_: Any) -> None:
        if self._before is not None:
            signal.signal(getattr(signal, SIGNAL), self._before)
            self._before = None

    def _ask(self, number: int, frame: FrameType | None) -> None:
        if os.getpid() != self._owner or self.asked:  # SLURM signals loader processes too
            return
        self.asked = True
        if not self._deferred and (not is_first_process() or self.queue_again()):
            raise Stopped(SIGNAL)

    @contextmanager
    def deferred(self) -> Iterator[None]:
        """Within the block, the signal is only noted, in ``asked``."""
        self._deferred = True
        try:
            yield
        finally:
            self._deferred = False

    def queue_again(self) -> bool:
        """Ask SLURM to run this job again. Where it refuses, the program must go on: nobody would take its place."""
        self.asked = False
        accepted = subprocess.call(["scontrol", "requeue", _job()]) == 0
        words = "is queued again" if accepted else "is not taken back by SLURM and goes on"
        print(f"{SIGNAL}: the job {_job()} {words}", flush=True)
        return accepted


REQUEUE = RequeueSignal()  # of this process, as signals are


def _job() -> str:
    array, task = os.environ.get("SLURM_ARRAY_JOB_ID"), os.environ.get("SLURM_ARRAY_TASK_ID")
    return f"{array}_{task}" if array and task else os.environ.get("SLURM_JOB_ID", "")
