"""One process at a time writes in a folder of the run; one that died leaves its place to the next."""

from __future__ import annotations

import contextlib
import errno
import io
import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from cae.errors import UserError
from cae.files import read_json, update_json
from cae.processes import started
from cae.runs.run_lock import LOCK, Owner, release_locks, take_lock

ROOT = Path(__file__).parents[3]
HOLD = """
import sys, time
from pathlib import Path
from cae.runs.run_lock import take_lock
take_lock(Path(sys.argv[1]), "name=…")
print("held", flush=True)
time.sleep(60)
"""


def lock_of(folder: Path, **changes) -> None:
    """The lock of another process."""
    facts = {"host": socket.gethostname(), "pid": os.getppid(), "start": "", "since": "2026-01-02 03:04:05", "job": ""}
    (folder / LOCK).write_text(json.dumps({**facts, **changes}))


@pytest.fixture(autouse=True)
def _given_back(monkeypatch):
    for name in ("RANK", "LOCAL_RANK", "SLURM_PROCID", "NODE_RANK", "GROUP_RANK", "SLURM_JOB_ID"):
        monkeypatch.delenv(name, raising=False)
    yield
    release_locks()


def test_a_process_takes_a_folder_once_and_gives_it_back(tmp_path):
    take_lock(tmp_path, "name=…")
    take_lock(tmp_path, "name=…")
    assert read_json(tmp_path / LOCK)["pid"] == os.getpid()
    release_locks()
    assert list(tmp_path.iterdir()) == []


def test_a_living_process_keeps_its_folder_and_one_that_was_killed_leaves_it(tmp_path, capsys):
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    with pytest.raises(UserError, match=rf"'{tmp_path}' is in use: process {process.pid} on .*with name=…\.$"):
        take_lock(tmp_path, "name=…")
    process.kill()
    while (
        Path(f"/proc/{process.pid}").exists() and "\nState:\tZ" not in Path(f"/proc/{process.pid}/status").read_text()
    ):
        pass
    take_lock(tmp_path, "name=…")  # although nobody has waited for it
    assert f"process {process.pid} on" in capsys.readouterr().out
    assert read_json(tmp_path / LOCK)["pid"] == os.getpid()
    process.communicate()


def test_another_process_of_the_same_number_is_not_the_owner(tmp_path, capsys):
    lock_of(tmp_path, start=started(os.getppid()))
    with pytest.raises(UserError, match="is in use"):
        take_lock(tmp_path, "name=…")
    lock_of(tmp_path, start="1")
    take_lock(tmp_path, "name=…")
    assert "ended without a word" in capsys.readouterr().out


def test_whether_a_process_of_another_host_lives_is_not_guessed(tmp_path, monkeypatch):
    lock_of(tmp_path, host="elsewhere", pid=1, job="7")
    with pytest.raises(UserError, match=rf"process 1 on elsewhere .* remove '{tmp_path / LOCK}'"):
        take_lock(tmp_path, "name=…")
    monkeypatch.setenv("SLURM_JOB_ID", "7")  # the same job, which the cluster runs again
    take_lock(tmp_path, "name=…")
    assert Owner(**read_json(tmp_path / LOCK)).job == "7"


def test_an_owner_that_was_killed_before_it_had_written_a_word_is_gone(tmp_path):
    (tmp_path / LOCK).touch()
    take_lock(tmp_path, "name=…")
    assert read_json(tmp_path / LOCK)["pid"] == os.getpid()


def test_a_disk_that_knows_no_links_has_locks_too(tmp_path, monkeypatch):
    def refused(*_) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", refused)
    take_lock(tmp_path, "name=…")
    assert read_json(tmp_path / LOCK)["pid"] == os.getpid()
    assert [path.name for path in tmp_path.iterdir()] == [LOCK]


@pytest.mark.parametrize("content", ["{", "[]", '{"host": 1}'])
def test_a_damaged_lock_is_named(content, tmp_path):
    (tmp_path / LOCK).write_text(content)
    with pytest.raises(UserError, match=rf"'{tmp_path / LOCK}' is damaged"):
        take_lock(tmp_path, "name=…")


@pytest.mark.parametrize("content", ["", "mine", None])
def test_a_lock_that_is_a_link_is_not_followed(content, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / LOCK).symlink_to(tmp_path / "mine")
    if content is not None:
        (tmp_path / "mine").write_text(content)
    with contextlib.suppress(UserError):
        take_lock(tmp_path / "run", "name=…")
    release_locks()
    assert (tmp_path / "mine").exists() == (content is not None)
    assert content is None or (tmp_path / "mine").read_text() == content
    assert {path.name for path in tmp_path.iterdir()} <= {"run", "mine"}


def test_only_the_first_process_of_a_training_takes_the_lock(tmp_path, monkeypatch):
    lock_of(tmp_path)
    monkeypatch.setenv("LOCAL_RANK", "1")
    take_lock(tmp_path, "name=…")
    assert read_json(tmp_path / LOCK)["pid"] == os.getppid()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="a system without fork")
@pytest.mark.parametrize(("former", "rounds"), [("none", 2), ("dead", 6), ("empty", 1)])
def test_of_many_that_start_at_once_one_owns_the_folder_and_all_others_are_told(former, rounds, tmp_path):
    for number in range(rounds):
        folder = tmp_path / str(number)
        folder.mkdir()
        if former == "dead":
            lock_of(folder, pid=2**22 + 1)
        elif former == "empty":
            (folder / LOCK).touch()
        said = started_at_once(9, folder)
        assert sorted(said)[-1] == "held", said
        assert sum("is in use: process" in words for words in said) == 8, said
        assert [path.name for path in folder.iterdir()] == [LOCK]


def started_at_once(count: int, folder: Path) -> list[str]:
    """What becomes of processes that all ask for a folder in the same moment, and end together."""
    start, end = os.pipe(), os.pipe()
    streams, processes = [], []
    for _ in range(count):
        read, write = os.pipe()
        process = os.fork()
        if process == 0:
            os.close(start[1])
            os.close(end[1])
            os.read(start[0], 1)  # until nobody can write any more
            sys.stdout = io.StringIO()
            words = "held"
            try:
                take_lock(folder, "name=…")
            except BaseException as error:
                words = f"{type(error).__name__}: {error}"
            os.write(write, words.encode())
            os.close(write)
            os.read(end[0], 1)
            os._exit(0)
        os.close(write)
        streams.append(os.fdopen(read))
        processes.append(process)
    os.close(start[1])
    said = []
    for stream in streams:
        with stream:
            said.append(stream.read())
    os.close(end[1])
    for process in processes:
        os.waitpid(process, 0)
    for place in (start[0], end[0]):
        os.close(place)
    return said


def test_what_dead_processes_were_writing_is_removed(tmp_path):
    dead, alive = 2**22 + 1, os.getpid()
    code = "from cae.written_files import temporary_prefix as p; print(p('last'))"
    prefix = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    (tmp_path / "deep").mkdir()
    left = [tmp_path / f"{prefix.strip()}abc.ckpt", tmp_path / "deep" / f"{prefix.strip()}abc.png"]
    others = (f"{prefix.strip().rsplit('-', 3)[0]}-{alive}-last-abc.ckpt", f".writing-00000000-{dead}-last-abc.ckpt")
    kept = [tmp_path / name for name in (".writing", "a.ckpt", *others)]
    for path in (*left, *kept):
        path.touch()
    take_lock(tmp_path, "name=…")
    assert [path for path in (*left, *kept) if path.exists()] == kept
    os.utime(kept[-1], (0, 0))  # of another host, and forgotten
    release_locks()
    take_lock(tmp_path, "name=…")
    assert not kept[-1].exists()


def test_figures_that_two_processes_add_at_once_are_all_kept(tmp_path):
    code = "import sys; from cae.files import update_json\n"
    code += "for i in range(40): update_json(sys.argv[1], {f'{sys.argv[2]}{i}': i})"
    path = tmp_path / "metrics.json"
    processes = [subprocess.Popen([sys.executable, "-c", code, str(path), name], cwd=ROOT) for name in "ab"]
    assert [process.wait() for process in processes] == [0, 0]
    assert len(read_json(path)) == 80
    assert update_json(path, {"c": 1}, drop=("a", "b")) == {"c": 1}
