"""Signals that ask the program to end: one exception and one exit code, also with loader processes."""

from __future__ import annotations

import os
import signal
import sys
import threading
from types import FrameType, TracebackType
from typing import Any

ENDING = ("SIGTERM", "SIGHUP")  # Ctrl-C is Python's own; Windows has no SIGHUP


class Stopped(KeyboardInterrupt):
    """A signal asks the program to end.

    A kind of Ctrl-C, so that PyTorch's loader processes and Lightning, which know that one, end as quietly.
    """


class EndingSignals:
    """Within its block, the first SIGTERM or SIGHUP raises ``Stopped`` and later ones are ignored.

    A signal that is ignored already, as by ``nohup``, stays so. Forked loader processes leave SIGHUP to this process,
    which ends them, and obey SIGTERM. Ctrl-C stays Python's own and is noted.

    Attributes:
        received: name of the first signal that came, or None.
        asked: whether one came, or Ctrl-C.
    """

    def __init__(self) -> None:
        self.received: str | None = None
        self.asked = False
        self._owner = os.getpid()
        self._before: dict[int, Any] = {}

    @property
    def exit_code(self) -> int | None:
        """What a shell reports of a program that this signal ended: 143 after SIGTERM, 129 after SIGHUP."""
        return None if self.received is None else 128 + signal.Signals[self.received]

    def __enter__(self) -> EndingSignals:
        numbers = [getattr(signal, name) for name in ENDING if hasattr(signal, name)]
        if threading.current_thread() is threading.main_thread():
            sys.excepthook = _lost_connections_pass  # forked loader processes take it with them
            for number in numbers:
                before = signal.getsignal(number)
                if before is not signal.SIG_IGN:
                    self._before[number] = signal.signal(number, self._stop)
            if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
                self._before[signal.SIGINT] = signal.signal(signal.SIGINT, self._interrupt)
        _blocks.append(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        _blocks.remove(self)
        if self.received is None:  # else the program is ending, in which no second signal may disturb it
            sys.excepthook = sys.__excepthook__
            for number, before in self._before.items():
                signal.signal(number, before)

    def _interrupt(self, number: int, frame: FrameType | None) -> None:
        self.asked = os.getpid() == self._owner
        signal.default_int_handler(number, frame)

    def _stop(self, number: int, frame: FrameType | None) -> None:
        if os.getpid() != self._owner:
            if number == signal.SIGTERM:
                signal.signal(number, signal.SIG_DFL)
                os.kill(os.getpid(), number)
            return
        if self.received is not None:
            return
        self.received, self.asked = signal.Signals(number).name, True
        if hasattr(signal, "SIGCHLD"):
            # PyTorch takes the end of loader processes, which the signal may have met too, for a fault
            signal.signal(signal.SIGCHLD, lambda number, frame: None)
        raise Stopped(self.received)


_blocks: list[EndingSignals] = []


def end_if_asked() -> None:
    """Raise what a signal has raised before, if this process was asked to end and still goes on.

    An exception that a signal raises is lost where Python itself calls the code that it meets: in a finaliser, or in a
    hook of a backward pass.
    """
    for block in _blocks:
        if block.asked:
            raise Stopped(block.received) if block.received else KeyboardInterrupt


def _lost_connections_pass(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Say nothing where a thread that shares tensors between processes finds the other one ended, as it should."""
    lost = isinstance(error, (OSError, EOFError)) and threading.current_thread() is not threading.main_thread()
    if not lost:
        sys.__excepthook__(kind, error, trace)
