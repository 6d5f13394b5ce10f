"""A program that is asked to end does so in one sentence, with the exit code that shells expect."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from pathlib import Path

import forked
import pytest
from tiny_training import OPTIONS

from cae.config.command_line import run_program
from cae.errors import UserError
from cae.signals import EndingSignals, Stopped, end_if_asked

ROOT = Path(__file__).parents[2]
LONGEST = 240  # seconds that one process may take on a busy machine
CODES = {"SIGTERM": 143, "SIGHUP": 129, "SIGINT": 130}
SAVED = "finished results and the last checkpoint are saved: the same command goes on from there (a "
SENTENCE = "stopped by {}; " + SAVED
LESIONS = ("data.lesions.train=60", "data.lesions.val=12", "data.lesions.test=12")
COMMANDS = {
    "classifier": ("classifier", "classifier.epochs=1000", "classifier.width=4"),
    "sampler": ("sampler", "sampler.window=4", "sampler.width=4", "sampler.max_steps=20000",
                "sampler.validate_every=5", "sampler.validation_crops=20"),
}  # fmt: skip


@pytest.fixture(autouse=True)
def _handlers_as_before():
    numbers = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGCHLD)
    before = [signal.getsignal(number) for number in numbers]
    yield
    for number, handler in zip(numbers, before, strict=True):
        signal.signal(number, handler)


def exit_code(main) -> int:
    with pytest.raises(SystemExit) as stop:
        run_program(main, [])
    return stop.value.code


@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP"])
def test_a_signal_ends_the_program_in_words(name, capsys):
    def main(_):
        signal.raise_signal(signal.Signals[name])
        raise AssertionError("it went on")

    assert exit_code(main) == CODES[name]
    out = capsys.readouterr()
    assert out.err.startswith(SENTENCE.format(name))
    assert out.err.count("\n") == 1


@pytest.mark.parametrize("met", [RuntimeError("DataLoader worker is killed"), UserError("mend"), SystemExit(0)])
def test_what_fails_on_the_way_out_hides_no_signal(met):
    def main(_):
        try:
            signal.raise_signal(signal.SIGTERM)
        finally:
            raise met

    assert exit_code(main) == 143


def test_what_fails_on_the_way_out_hides_no_ctrl_c(capsys):
    def main(_):
        try:
            signal.raise_signal(signal.SIGINT)
        finally:
            raise RuntimeError("a loader that has ended")

    signal.signal(signal.SIGINT, signal.default_int_handler)
    assert exit_code(main) == CODES["SIGINT"]
    assert capsys.readouterr().err.startswith("interrupted; " + SAVED)


def test_a_second_signal_does_not_disturb_the_end():
    done = []

    def main(_):
        try:
            signal.raise_signal(signal.SIGTERM)
        finally:
            signal.raise_signal(signal.SIGTERM)
            signal.raise_signal(signal.SIGHUP)
            done.append("saved")

    assert exit_code(main) == 143
    assert done == ["saved"]


def test_handlers_are_put_back_and_an_ignored_signal_stays_ignored():
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup does
    before = signal.getsignal(signal.SIGTERM)
    with EndingSignals():
        signal.raise_signal(signal.SIGHUP)
        assert signal.getsignal(signal.SIGTERM) is not before
    assert signal.getsignal(signal.SIGTERM) is before


class Finalised:
    def __init__(self, number: int):
        self.number = number

    def __del__(self):
        signal.raise_signal(self.number)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize(("number", "kind"), [(signal.SIGTERM, Stopped), (signal.SIGINT, KeyboardInterrupt)])
def test_a_signal_whose_exception_is_lost_in_a_finaliser_ends_the_next_step(number, kind):
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with EndingSignals():
        end_if_asked()
        Finalised(number)  # Python reports what is raised there, and goes on
        with pytest.raises(kind):
            end_if_asked()
    end_if_asked()


def test_a_stop_is_a_kind_of_ctrl_c():
    with pytest.raises(KeyboardInterrupt), EndingSignals() as signals:
        signal.raise_signal(signal.SIGTERM)
    assert issubclass(Stopped, KeyboardInterrupt)
    assert (signals.received, signals.exit_code) == ("SIGTERM", 143)


def of_session(session: int) -> list[str]:
    """Command lines of the processes that live in a session."""
    found = []
    for place in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            fields = (place / "stat").read_text().rpartition(")")[2].split()
            if int(fields[3]) == session and fields[0] != "Z":
                found.append((place / "cmdline").read_text().replace("\0", " "))
    return found


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="a system without /proc")
@pytest.mark.parametrize(
    ("command", "name", "group", "options"),
    [  # every two of command, signal and whom it meets come together
        ("classifier", "SIGTERM", False, ["data.workers=2"]),
        ("classifier", "SIGHUP", True, ["data.workers=2"]),
        ("sampler", "SIGTERM", True, ["data.workers=2"]),
        ("sampler", "SIGHUP", False, ["data.workers=2"]),
        ("sampler", "SIGINT", True, ["data.workers=2"]),  # Ctrl-C meets all
        ("sampler", "SIGTERM", False, ["trainer.devices=2"]),
        ("classifier", "SIGINT", True, ["trainer.devices=2", "data.workers=1"]),
    ],
)
def test_a_training_of_several_processes_ends_in_one_sentence(command, name, group, options, tmp_path):
    word, *more = COMMANDS[command]
    words = ["train.py", word, *OPTIONS, *LESIONS, f"runs={tmp_path}", "name=run", *more, *options]
    errors = tmp_path / "errors"
    with errors.open("w") as file:
        process = forked.start(words, ROOT, err=file, apart=True)
    last, deadline = tmp_path / "run" / f"{word}_checkpoints" / "last.ckpt", time.monotonic() + LONGEST
    while not last.exists() and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.05)
    (os.killpg if group else os.kill)(process.pid, signal.Signals[name])
    code, err = process.wait(LONGEST), errors.read_text()
    assert code == CODES[name], err
    assert [line for line in err.splitlines() if SAVED in line] == [err.splitlines()[-1]], err
    assert "Traceback" not in err
    assert last.exists()
    while of_session(process.pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert of_session(process.pid) == []
