"""``train.py cae`` in processes of its own: killed and continued, and on several devices."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import forked
import pytest
import torch
from tiny_training import OPTIONS, same

from cae.classifiers.saved import build_network, save_classifier
from cae.config import OracleConfig
from cae.files import read_json
from cae.models.cae import CAE

ROOT = Path(__file__).parents[3]
LONGEST = 300  # seconds that one process may take on a busy machine
DATA = (
    "data.lesions.train=24", "data.lesions.val=12", "data.lesions.test=12", "data.lesions.classes=[healthy,mass]",
    "classifier.model=callable:tiny_training:level_scores", "cae.black_box=true", "oracle.width=4",
)  # fmt: skip

pytestmark = pytest.mark.slow


def command(runs: Path, *overrides: str) -> list[str]:
    return ["train.py", "cae", *OPTIONS, *DATA, f"runs={runs}", *overrides]


def environment() -> dict[str, str]:
    path = os.pathsep.join([str(ROOT / "tests" / "support"), os.environ.get("PYTHONPATH", "")])
    return {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}


def run(runs: Path, *overrides: str) -> None:
    done = forked.run(command(runs, *overrides), ROOT, environment(), LONGEST)
    assert done.returncode == 0, done.stdout + done.stderr


def with_oracle(folder: Path) -> Path:
    """A run folder with an oracle, which need not be good here."""
    torch.manual_seed(0)
    folder.mkdir(parents=True)
    config = OracleConfig(width=4)
    save_classifier(folder, build_network("plain", 2, 1, 4), config, ("healthy", "mass"), (1, 16, 16), name="oracle")
    return folder


def state_of(folder: Path) -> dict:
    return torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """An undisturbed training in one process."""
    runs = tmp_path_factory.mktemp("whole")
    folder = with_oracle(runs / "run")
    run(runs, "name=run", "cae.max_steps=60")
    return folder


def test_a_killed_training_resumes_to_the_same_weights(whole, tmp_path):
    folder = with_oracle(tmp_path / "run")
    process = forked.start(command(tmp_path, "name=run", "cae.max_steps=60"), ROOT, environment())
    last, deadline = folder / "checkpoints" / "last.ckpt", time.monotonic() + LONGEST
    while not last.exists() and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.01)
    time.sleep(random.random())  # no seed: any moment must do
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert state_of(folder)["global_step"] % 5 == 0  # whole, whenever the kill came
    # in a fresh interpreter: what is continued must not hang on what forked programs have in common, such as hashes
    resumed = [sys.executable, *command(tmp_path, "name=run", "cae.max_steps=60", "resume=last")]
    subprocess.run(resumed, cwd=ROOT, env=environment(), check=True, stdout=subprocess.DEVNULL, timeout=LONGEST)
    expected, found = state_of(whole), state_of(folder)
    assert found["global_step"] == expected["global_step"] == 60
    for part in ("state_dict", "optimizer_states", "lr_schedulers"):
        assert same(expected[part], found[part]), part
    logs = [(path / "metrics.csv").read_text() for path in (whole, folder)]
    assert logs[0] == logs[1]
    exported = [CAE.load(path / "cae.safetensors").state_dict() for path in (whole, folder)]
    assert same(dict(exported[0]), dict(exported[1]))
    metrics = [read_json(path / "metrics.json") for path in (whole, folder)]
    assert metrics[0]["cae/reassignment"] == metrics[1]["cae/reassignment"]


def test_a_finished_training_is_left_alone(whole):
    weights = whole / "cae.safetensors"
    before = weights.stat().st_mtime_ns
    run(whole.parent, "name=run", "cae.max_steps=60", "resume=last")
    assert weights.stat().st_mtime_ns == before


@pytest.mark.parametrize("preset", ["default", "published"])
def test_two_processes_count_as_many_steps_as_one(tmp_path, preset):
    folder = with_oracle(tmp_path / "run")
    overrides = ["cae.preset=published", "data.image_size=32"] if preset == "published" else []
    run(tmp_path, "name=run", "trainer.devices=2", *overrides)
    state = state_of(folder)
    assert state["global_step"] == 12
    assert all(torch.isfinite(value).all() for value in state["state_dict"].values())
    assert read_json(folder / "metrics.json")["cae/steps"] == 12
    rows = (folder / "metrics.csv").read_text().splitlines()
    assert len(rows) == 1 + 12 + 3  # names, steps, validations
    assert (folder / "cae.safetensors").exists()
