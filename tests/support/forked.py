"""Programs of the checkout in processes of their own, forked from one that has imported torch: that takes seconds.

A program started here has its own process id, signals, output and exit code, as if a shell had started it. What an
interpreter does before a script's first line and after its last is not repeated; tests of just that start a fresh one.
"""

from __future__ import annotations

import atexit
import gc
import importlib
import json
import os
import runpy
import select
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import IO

HEAVY = ("torch._dynamo", "pytorch_lightning", "matplotlib.pyplot", "pandas", "pyarrow.parquet", "scipy.stats",
         "sklearn.manifold", "networkx", "skimage.metrics", "captum.attr")  # fmt: skip
ENVIRONMENT = {"OMP_NUM_THREADS": "1", "MPLBACKEND": "Agg"}
NUMBER = struct.Struct("!i")


# --- what tests call --------------------------------------------------------------------------------------------------


class Program:
    """A running program: its process, and its exit code when it has ended."""

    def __init__(self, connection: socket.socket):
        self._connection = connection
        self.pid = self._number()
        self.returncode: int | None = None

    def poll(self) -> int | None:
        """The exit code (negative: the signal that ended it), or None while it runs."""
        if self.returncode is None and select.select([self._connection], [], [], 0)[0]:
            self.returncode = self._number()
            self._connection.close()
        return self.returncode

    def wait(self, timeout: float = 600) -> int:
        """The exit code; a program that takes longer than ``timeout`` seconds is killed."""
        deadline = time.monotonic() + timeout
        while (code := self.poll()) is None:
            if time.monotonic() > deadline:
                os.kill(self.pid, signal.SIGKILL)
                raise TimeoutError(f"the program took longer than {timeout} s")
            select.select([self._connection], [], [], max(deadline - time.monotonic(), 0))
        return code

    def _number(self) -> int:
        return NUMBER.unpack(self._connection.recv(NUMBER.size, socket.MSG_WAITALL))[0]


def start(
    command: Sequence[str],
    folder: Path,
    environment: Mapping[str, str] | None = None,
    *,
    out: IO[str] | None = None,
    err: IO[str] | None = None,
    python: str = sys.executable,
    apart: bool = False,
) -> Program:
    """Start the script ``command[0]`` in a folder, as ``python`` would; output goes to files, or nowhere.

    With ``apart``, the program and all that it starts are a session of their own, which signals can be sent to.
    """
    with open(os.devnull, "r+") as nothing:
        streams = [nothing.fileno(), (out or nothing).fileno(), (err or nothing).fileno()]
        wanted = {**os.environ, **ENVIRONMENT} if environment is None else dict(environment)
        return Program(asked(address(python), list(command), str(folder), wanted, streams, apart))


def run(
    command: Sequence[str],
    folder: Path,
    environment: Mapping[str, str] | None = None,
    timeout: float = 600,
    python: str = sys.executable,
) -> subprocess.CompletedProcess[str]:
    """Run a script to its end; what it wrote comes back as text."""
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        code = start(command, folder, environment, out=out, err=err, python=python).wait(timeout)
        texts = []
        for file in (out, err):
            file.seek(0)
            texts.append(file.read())
    return subprocess.CompletedProcess(list(command), code, *texts)


def shell_line() -> str:
    """The beginning of a line in a shell that runs a script; the script and its arguments follow."""
    return f'"{sys.executable}" -S "{__file__}" ask "{address()}"'


@cache
def address(python: str = sys.executable) -> str:
    """Where the process of an interpreter listens that programs are forked from: started when first needed."""
    place = str(Path(tempfile.mkdtemp(prefix="programs")) / "socket")
    server = subprocess.Popen(
        [python, __file__, "serve", place], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        env={name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | ENVIRONMENT,
    )  # fmt: skip
    if server.stdout is None or server.stdout.readline() != b"ready\n":
        raise RuntimeError("the process that programs are forked from did not start")
    atexit.register(server.communicate)  # closes its input, which tells it to end
    return place


# --- between the processes --------------------------------------------------------------------------------------------


def asked(
    place: str, command: list[str], folder: str, environment: dict[str, str], streams: list[int], apart: bool = False
) -> socket.socket:
    """A connection over which the program's process id comes, and its exit code in the end."""
    connection = socket.socket(socket.AF_UNIX)
    connection.connect(place)
    request = json.dumps([command, folder, environment, apart]).encode()
    socket.send_fds(connection, [NUMBER.pack(len(request))], streams)
    connection.sendall(request)
    return connection


def serve(place: str) -> list[str]:
    """Fork a program for every request, until the tests have ended; returns in the programs, with their command."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(place)
    listener.listen()
    print("ready", flush=True)
    attending = []
    while sys.stdin not in (ready := select.select([listener, sys.stdin], [], [])[0]):
        if listener in ready:
            connection, _ = listener.accept()
            child = os.fork()
            if child == 0:
                listener.close()
                return attend(connection)
            connection.close()
            attending = [one for one in (*attending, child) if os.waitpid(one, os.WNOHANG) == (0, 0)]
    for child in attending:
        os.waitpid(child, 0)
    shutil.rmtree(Path(place).parent, ignore_errors=True)
    os._exit(0)


def attend(connection: socket.socket) -> list[str]:
    """Fork the program and report on it; returns in the program alone."""
    size, streams, _, _ = socket.recv_fds(connection, NUMBER.size, 3)
    request = connection.recv(NUMBER.unpack(size)[0], socket.MSG_WAITALL)
    command, folder, environment, apart = json.loads(request)
    child = os.fork()
    if child == 0:
        connection.close()
        if apart:
            os.setsid()
        become(command, folder, environment, streams)
        return command
    for number in (*range(3), *streams):  # a reader of the program's output waits until nobody else holds it
        os.close(number)
    connection.sendall(NUMBER.pack(child))
    connection.sendall(NUMBER.pack(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])))
    os._exit(0)


def become(command: list[str], folder: str, environment: dict[str, str], streams: list[int]) -> None:
    """Make this process look as a fresh interpreter does at a script's first line, in the foreground of a terminal."""
    signal.signal(
        signal.SIGINT, signal.default_int_handler
    )  # a shell has background jobs ignore Ctrl-C, `nohup` SIGHUP
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = command
    extra = [path for path in environment.get("PYTHONPATH", "").split(os.pathsep) if path]
    sys.path[:1] = [str(Path(command[0]).resolve().parent), *extra]


# --- the interpreter that holds torch ---------------------------------------------------------------------------------


def run_to_its_end(script: str) -> None:
    """What an interpreter does with a script, up to where it would take its modules apart, which takes seconds here."""
    code: object = 0
    try:
        runpy.run_path(script, run_name="__main__")
    except SystemExit as stop:
        code = stop.code
    except BaseException:
        code = 1
        sys.excepthook(*sys.exc_info())
    if not isinstance(code, int | None):
        print(code, file=sys.stderr)
        code = 1
    threading._shutdown()
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code or 0)


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        for name in HEAVY:
            importlib.import_module(name)
        gc.freeze()  # what was imported is never collected, so that its memory stays shared
        sys.argv = serve(sys.argv[2])
        run_to_its_end(sys.argv[0])
    else:
        answers = Program(asked(sys.argv[2], sys.argv[3:], os.getcwd(), dict(os.environ), [0, 1, 2]))
        code = answers.wait()
        sys.exit(code if code >= 0 else 128 - code)
