"""A disk that is full: a sentence, what was written before stays, and the same command goes on once there is room.

On a small tmpfs where the system lets it be mounted; elsewhere the system bounds the size of every file instead.
"""

from __future__ import annotations

import os
import resource
import signal
import subprocess
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
from killed import Told, config_in, contents, no_rests, write_models

from cae.classifiers import load_classifier
from cae.commands.train import cae_stage, classifier_stage
from cae.commands.traverse import traverse
from cae.config import Config
from cae.data import CAEDataModule
from cae.files import read_json
from cae.models.cae import CAE
from cae.training.cae import export_cae
from explainers.commands.compare import compare
from explainers.commands.report import report
from explainers.infills.training import sampler_command

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="a system without fork")
OPTIONS = (
    "classifier.epochs=1",
    "explain.limit=3",
    "explain.figures=1",
    "explain.metrics=none",
    "methods=[random,edges]",
)
SENTENCES = ("the disk is full", "no more of it is taken")


class Mounted:
    """A tmpfs of a size that can be changed."""

    def __init__(self, place: Path):
        self.place = place
        place.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "small", place], check=True, capture_output=True)

    def allow(self, kilobytes: int) -> None:
        """Let it hold so much."""
        command = ["mount", "-o", f"remount,size={kilobytes}k", self.place]
        subprocess.run(command, check=True, capture_output=True)

    def enter(self) -> None:
        """In the process that writes."""

    def close(self) -> None:
        """Take it away."""
        subprocess.run(["umount", "--lazy", self.place], check=True)


class Bounded:
    """A folder in which no file of a process may be larger than a size."""

    def __init__(self, place: Path):
        self.place, self._bytes = place, 0
        place.mkdir()

    def allow(self, kilobytes: int) -> None:
        """Bound every file."""
        self._bytes = 1024 * kilobytes

    def enter(self) -> None:
        """In the process that writes."""
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (self._bytes, self._bytes))

    def close(self) -> None:
        """Nothing is to be done."""


@pytest.fixture(params=[Mounted, Bounded])
def disk(request, tmp_path) -> Iterator[Mounted | Bounded]:
    try:
        small = request.param(tmp_path / "small")
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"no tmpfs can be mounted here ({error})")
    yield small
    small.close()


def told(work: Callable[[], object], small: Mounted | Bounded) -> tuple[int, str]:
    """Exit code and words of the work as a program that writes onto the small disk."""
    return Told(work, small.enter).wait()


STEPS: dict[str, tuple[Callable[[Config], object], tuple[str, ...]]] = {
    "training": (classifier_stage, ("resume=last",)),
    "explaining": (compare, ()),
}


@pytest.mark.parametrize("step", STEPS)
def test_what_meets_a_full_disk_says_so_and_goes_on_once_there_is_room(step, disk, tmp_path):
    work, more = STEPS[step]
    for runs in (tmp_path / "whole", disk.place):
        if step == "explaining":
            disk.allow(4096)
            write_models(runs / "own")
    work(config_in(tmp_path / "whole", *OPTIONS))
    space = os.statvfs(disk.place)  # files take whole pages
    used = (space.f_blocks - space.f_bfree) * space.f_frsize // 1024
    room = (
        [1, 8, 24, 40, 80, 160, 4096] if isinstance(disk, Bounded) else [used + extra for extra in (8, 64, 160, 4096)]
    )
    full = 0
    for kilobytes in room:
        disk.allow(kilobytes)
        code, said = told(partial(work, config_in(disk.place, *OPTIONS, *more)), disk)
        if code == 0:
            break
        full += 1
        assert code == 2, said
        assert any(words in said for words in SENTENCES), said
        assert "Traceback" not in said
    assert code == 0, said
    assert full >= 2
    found, whole = disk.place / "own", tmp_path / "whole" / "own"
    if step == "training":
        assert read_json(found / "metrics.json") == read_json(whole / "metrics.json")
        assert (found / "classifier.safetensors").read_bytes() == (whole / "classifier.safetensors").read_bytes()
    else:
        folders = [contents(run / "explanations" / "compare") for run in (found, whole)]
        assert folders[0].keys() == folders[1].keys()
        assert (found / "explanations/compare/classes.json").exists()
    assert no_rests(found)


CHAIN: dict[str, Callable[[Config], object]] = {
    "cae": cae_stage,
    "sampler": sampler_command,
    "traverse": traverse,
    "report": report,
}
SMALL = (
    "sampler.window=4", "sampler.width=4", "sampler.max_steps=6", "sampler.validate_every=3",
    "sampler.validation_crops=6", "oracle.epochs=1", "traverse.limit=3", "traverse.gif=false", "traverse.save=all",
    "counterfactual.steps=5", "manifold.embeddings=[pca]",
)  # fmt: skip
PLENTY = 16_384


def write_embedding(config: Config, run: Path) -> None:
    """An untrained CAE for the classifier of the run, with the codes of the training images."""
    data = CAEDataModule(config.data)
    classifier = load_classifier(config.classifier, data.classes, data.image_shape, run)
    export_cae(CAE(data.image_shape, config.cae.model).eval(), config, data, classifier, run)


def finished(run: Path) -> dict[str, str]:
    """Digests of weights and explanations, by path, and of a report that was made before."""
    return {name: digest for name, digest in contents(run).items()
            if name.endswith((".safetensors", ".html")) or "explanations/" in name}  # fmt: skip


@pytest.mark.slow
def test_every_command_that_meets_a_full_disk_says_so_and_touches_nothing_that_was_finished(tmp_path):
    try:
        disk: Mounted | Bounded = Mounted(tmp_path / "small")
    except (OSError, subprocess.CalledProcessError):
        disk = Bounded(tmp_path / "bounded")
    run = disk.place / "own"
    try:
        disk.allow(PLENTY)
        write_models(run)
        write_embedding(config_in(disk.place, *SMALL), run)
        for name, work in CHAIN.items():
            training = name in ("cae", "sampler")
            options = [f"name=apart-{name}", f"classifier.weights={run / 'classifier.safetensors'}"] if training else []
            task = partial(work, config_in(disk.place, *SMALL, *options))
            if name == "report":  # there may be a former one
                assert told(task, disk) == (0, "")
            before = finished(disk.place)
            disk.allow(scarce(disk))
            code, said = told(task, disk)
            assert code == 2, said
            assert any(words in said for words in SENTENCES), said
            assert "Traceback" not in said
            assert finished(disk.place).items() >= before.items(), name
            disk.allow(PLENTY)
            if not training:
                assert told(task, disk)[0] == 0
        assert (run / "report.html").exists()
        assert no_rests(disk.place)
    finally:
        disk.close()


def scarce(disk: Mounted | Bounded) -> int:
    """Kilobytes that do not suffice: of the whole disk, or of every file."""
    if isinstance(disk, Bounded):
        return 24
    space = os.statvfs(disk.place)  # files take whole pages
    return (space.f_blocks - space.f_bfree) * space.f_frsize // 1024 + 24
