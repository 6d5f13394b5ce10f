"""A program that is asked to end does so in one sentence, with the exit code that shells expect."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tiny_training import OPTIONS

from cae.config.command_line import run_program
from cae.errors import UserError
from cae.signals import EndingSignals, Stopped

ROOT = Path(__file__).parents[2]
LONGEST = 120  # seconds that one process may take on a busy machine
CODES = {"SIGTERM": 143, "SIGHUP": 129}
SENTENCE = "stopped by {}; finished results and the last checkpoint are saved: the same command goes on from there (a "
LESIONS = ("data.lesions.train=60", "data.lesions.val=12", "data.lesions.test=12", "data.workers=2")
COMMANDS = {
    "classifier": ("classifier", "classifier.epochs=1000", "classifier.width=4"),
    "sampler": ("sampler", "sampler.window=4", "sampler.width=4", "sampler.max_steps=20000",
                "sampler.validate_every=5", "sampler.validation_crops=20"),
}  # fmt: skip


@pytest.fixture(autouse=True)
def _handlers_as_before():
    numbers = (signal.SIGTERM, signal.SIGHUP, signal.SIGCHLD)
    before = [signal.getsignal(number) for number in numbers]
    yield
    for number, handler in zip(numbers, before, strict=True):
        signal.signal(number, handler)


def exit_code(main) -> int:
    with pytest.raises(SystemExit) as stop:
        run_program(main, [])
    return stop.value.code


@pytest.mark.parametrize("name", CODES)
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


def test_a_stop_is_a_kind_of_ctrl_c():
    with pytest.raises(KeyboardInterrupt), EndingSignals() as signals:
        signal.raise_signal(signal.SIGTERM)
    assert issubclass(Stopped, KeyboardInterrupt)
    assert (signals.received, signals.exit_code) == ("SIGTERM", 143)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("command", "name", "group"),
    [  # every two of command, signal and whom it meets come together
        ("classifier", "SIGTERM", False),
        ("classifier", "SIGHUP", True),
        ("sampler", "SIGTERM", True),
        ("sampler", "SIGHUP", False),
    ],
)
def test_a_training_with_loader_processes_ends_in_one_sentence(command, name, group, tmp_path):
    arguments = [*OPTIONS, *LESIONS, f"runs={tmp_path}", "name=run"]
    word, *options = COMMANDS[command]
    process = subprocess.Popen(
        [sys.executable, "train.py", word, *arguments, *options], cwd=ROOT, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True, start_new_session=True, env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    last, deadline = tmp_path / "run" / f"{word}_checkpoints" / "last.ckpt", time.monotonic() + LONGEST
    while not last.exists() and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.05)
    (os.killpg if group else os.kill)(process.pid, signal.Signals[name])
    _, err = process.communicate(timeout=LONGEST)
    assert process.returncode == CODES[name], err
    sentences = [line for line in err.splitlines() if "Warning" not in line]
    assert [line for line in sentences if "stopped by" in line] == [sentences[-1]], err
    assert "Traceback" not in err
    assert last.exists()
