"""Stages and explanations in processes that are killed, and what is left of them; on data of a few images."""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import io
import os
import resource
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

import forked
import torch
from tiny_training import OPTIONS

from cae.classifiers import save_classifier
from cae.classifiers.networks import PlainConvNet, SmallResNet
from cae.config import ClassifierConfig, Config, OracleConfig
from cae.config.command_line import load_config, run_program, save_config
from cae.data import CAEDataModule
from cae.written_files import LIST, TEMPORARY

SMALL = (*OPTIONS, "name=own", "classifier.width=4", "classifier.epochs=3", "oracle.width=4", "data.lesions.train=24",
         "data.lesions.val=9", "data.lesions.test=9")  # fmt: skip
CLASSES = ("healthy", "mass", "cyst")
MOST = 60  # processes of one chain

for heavy in forked.HEAVY:  # once, instead of in every process
    importlib.import_module(heavy)


def config_in(runs: Path, *overrides: str) -> Config:
    return load_config(overrides=[*SMALL, f"runs={runs}", *overrides])


class Told:
    """The work as a program in a process of its own: begun at once, its exit code and words when it has ended.

    Args:
        work: what ``main`` would do.
        enter: done before it, such as to set limits for the process.
    """

    def __init__(self, work: Callable[[], object], enter: Callable[[], object] = lambda: None):
        read, write = os.pipe()
        self._process = os.fork()
        if self._process == 0:
            code = 70
            try:
                os.close(read)
                sys.stderr, sys.stdout = os.fdopen(write, "w"), io.StringIO()
                enter()
                run_program(lambda _: work(), [])
            except SystemExit as stop:
                code = int(stop.code or 0)
            except BaseException as error:
                print(f"Traceback: {error!r}", file=sys.stderr)
            finally:
                sys.stderr.flush()
                os._exit(code)
        os.close(write)
        self._words = read

    def wait(self) -> tuple[int, str]:
        """Exit code, and what went to the standard error."""
        with os.fdopen(self._words, errors="replace") as words:
            said = words.read()
        return os.waitstatus_to_exitcode(os.waitpid(self._process, 0)[1]), said


def ended(work: Callable[[], object]) -> bool:
    """Do the work in a process of its own; whether it was finished, not killed."""
    process = os.fork()
    if process == 0:
        code = 1
        try:
            with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):
                work()
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(code)
    _, status = os.waitpid(process, 0)
    assert status in (0, signal.SIGKILL, signal.SIGVTALRM), f"it failed, with status {status}"
    return status == 0


def killed_after(seconds: float, work: Callable[[], object]) -> Callable[[], None]:
    """The work, in which the system ends the process once it has computed for so long, whatever it is doing."""

    def doomed() -> None:
        signal.signal(signal.SIGVTALRM, signal.SIG_DFL)
        signal.setitimer(signal.ITIMER_VIRTUAL, max(seconds, 1e-3))
        work()

    return doomed


def computing_time(work: Callable[[], object]) -> float:
    """Seconds for which the work computes, in a process of its own."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
    assert ended(work)
    return resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - before


def killed_at_rename(
    number: int, after: bool, work: Callable[[], object], since: Path | None = None
) -> Callable[[], None]:
    """The work, in which the process is killed right before, or after, a file gets its name.

    Files are counted from the beginning, or once the file ``since`` is there, or about to be.
    """

    def doomed() -> None:
        rename, count = os.replace, 0

        def replaced(source, target) -> None:
            nonlocal count
            count += since is None or since.exists() or Path(target) == since
            if count == number and not after:
                os.kill(os.getpid(), signal.SIGKILL)
            rename(source, target)
            if count == number and after:
                os.kill(os.getpid(), signal.SIGKILL)

        os.replace = replaced
        work()

    return doomed


def killed_until_done(work: Callable[[], object], since: Path | None = None) -> int:
    """Start the work again and again, and kill it before and after ever later renames; how often it was killed."""
    for kills in range(MOST):
        if ended(killed_at_rename(1 + kills // 2, kills % 2 == 1, work, since)):
            return kills
    raise AssertionError("it was never done")


def contents(folder: Path) -> dict[str, str]:
    """Digests of everything below a folder by path, without what tells times or processes."""
    files = (path for path in folder.rglob("*") if path.is_file() and path.name not in (".lock", LIST, "costs.csv"))
    return {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def no_rests(folder: Path) -> bool:
    return not [path for path in folder.rglob("*") if path.name.startswith(TEMPORARY)]


def write_models(folder: Path) -> None:
    """An untrained classifier whose predictions spread over the classes, an oracle, and the run's configuration."""
    config = config_in(folder.parent)
    data = CAEDataModule(config.data)
    images = torch.stack([data.train[place].image for place in range(len(data.train))])
    torch.manual_seed(0)
    network = SmallResNet(3, width=4).eval()
    with torch.no_grad():
        network.head.weight *= 3 / network(images).std(0)[:, None]
        network.head.bias.zero_()
        network.head.bias -= network(images).mean(0)
    folder.mkdir(parents=True)
    save_classifier(folder, network, ClassifierConfig(width=4), CLASSES, (1, 16, 16))
    save_classifier(folder, PlainConvNet(3, width=4), OracleConfig(width=4), CLASSES, (1, 16, 16), name="oracle")
    save_config(config, folder / "config.yaml")
