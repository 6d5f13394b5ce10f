"""From an experiment to its jobs: which command lines run in which folder, and who lends a classifier to whom."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cae.config import Config
from cae.config.command_line import load_config
from cae.config.fields import all_options, get_value, within
from cae.continuing import changed_names
from cae.errors import UserError
from cae.experiments.definition import Experiment, Options, Step
from cae.files import read_json

RECORD = "job.json"
SHARED = "shared"
# of these an arm may have others than the classifier that it borrows
NOT_OF_A_STAGE = ("data.batch_size", "data.workers", "data.cache", "data.flip")
# of these the results of a job do not depend
NOT_OF_THE_WORK = ("name", "runs", "resume", "overwrite", "logging", "trainer", "data.workers", "data.cache")
# and those of a training on these alone; an explanation may depend on any
_OF_STAGE = {
    "classifier": ("data", "classifier", "seed"),
    "oracle": ("data", "classifier", "oracle", "seed"),
    "cae": ("data", "classifier", "oracle", "cae", "manifold", "seed"),
    "sampler": ("data", "sampler", "seed"),
    "ncc": ("ncc", "seed"),
}


@dataclass(frozen=True)
class Call:
    """One command line: its word, and recipes and ``key=value`` arguments; ``identity`` says what it depends on."""

    word: str
    arguments: tuple[str, ...]
    identity: Mapping[str, Any]


@dataclass(frozen=True)
class Job:
    """What one process does: calls in turn, in one run folder.

    Attributes:
        name: of the job and of its run folder.
        arm: name of the arm; empty where it trains what arms share.
        seed: of the job.
        folder: the run folder.
        calls: in turn.
        lender: name of the job whose stages are copied here first; None for none.
        lent: these stages.
    """

    name: str
    arm: str
    seed: int
    folder: Path
    calls: tuple[Call, ...]
    lender: str | None = None
    lent: tuple[str, ...] = ()

    def record(self) -> dict[str, Any]:
        """What an earlier call has noted of this job: ``status``, ``reason``, and ``finished`` calls."""
        return read_json(self.folder / RECORD)

    def remaining(self) -> list[Call]:
        """Calls that no earlier one has finished."""
        done = self.record().get("finished", [])
        return [call for call in self.calls if call_note(call) not in done]


def call_note(call: Call) -> dict[str, Any]:
    """What is noted of a finished call."""
    return {"command": call.word, "options": dict(call.identity)}


def expand(experiment: Experiment) -> list[Job]:
    """All jobs; those that train for others come first.

    Raises:
        UserError: that lists every wrong option, and every job whose options have changed since it was run.
    """
    reader = _Reader(experiment)
    lenders: dict[str, Job] = {}
    jobs: list[Job] = []
    shared = [step for step in experiment.commands if step.word in experiment.shared]
    own = [step for step in experiment.commands if step.word not in experiment.shared]
    for arm, options in experiment.arms.items():
        apart = {name: value for name, value in options.items() if _concerns(name, experiment.shared)}
        for seed in experiment.seeds:
            lender = None
            if shared:
                lender = _job(experiment, _lender_name(apart), "", seed, apart, shared, reader)
                lenders.setdefault(lender.name, lender)
            job = _job(experiment, arm, arm, seed, options, own, reader, lender)
            jobs.append(job)
    found = [*lenders.values(), *jobs]
    problems = [*reader.problems, *(change for job in found for change in _changes(job))]
    if problems:
        raise UserError(problems)
    return found


class _Reader:
    """Reads the options of every call once, and keeps what is wrong with them: many jobs have the same mistake."""

    def __init__(self, experiment: Experiment):
        self.base = experiment.base
        self.problems: dict[str, None] = {}  # a set in order
        self._read: dict[tuple[str, ...], Config | None] = {}

    def config(self, label: str, overrides: tuple[str, ...]) -> Config | None:
        """The configuration of a call, or None where something is wrong with it."""
        if overrides not in self._read:
            try:
                self._read[overrides] = load_config(self.base, overrides)
            except UserError as error:
                self.problems.update(dict.fromkeys(f"{label}: {problem}" for problem in error.problems))
                self._read[overrides] = None
        return self._read[overrides]


def _concerns(option: str, stages: Sequence[str]) -> bool:
    """Whether a shared stage is another one with this option."""
    sections = {section for stage in stages for section in _OF_STAGE[stage]}
    return within(option, sections) and option not in NOT_OF_A_STAGE


def _lender_name(apart: Options) -> str:
    return ",".join([SHARED, *(f"{name.rpartition('.')[2]}={value}" for name, value in apart.items())])


def _job(
    experiment: Experiment,
    label: str,
    arm: str,
    seed: int,
    options: Options,
    steps: Sequence[Step],
    reader: _Reader,
    lender: Job | None = None,
) -> Job:
    name = f"{label}-seed{seed}".replace("/", "_")
    own = {"runs": str(experiment.folder), "name": name, "seed": str(seed), "logging.progress": "false"}
    own["logging.wandb_group"] = experiment.name
    calls = []
    for step in steps:
        merged = {**experiment.options, **options, **step.options, **own}
        overrides = tuple(f"{key}={value}" for key, value in merged.items())
        config = reader.config(label, overrides)
        if config is not None:
            arguments = (*map(_file, experiment.base), *overrides)
            calls.append(Call(step.word, arguments, identity(config, step.word)))
    lent = tuple(call.word for call in lender.calls) if lender else ()
    folder = experiment.folder / name
    return Job(name, arm, seed, folder, tuple(calls), lender.name if lender else None, lent)


def _file(name: str) -> str:
    """A file by its full path, since a job may start elsewhere; a recipe by its name."""
    path = Path(name)
    return str(path.resolve()) if path.is_file() else name


def identity(config: Config, word: str) -> dict[str, Any]:
    """Every option that the results of a command depend on and that is not at its default."""
    names = (name for name in all_options() if not within(name, NOT_OF_THE_WORK))
    counted = [name for name in names if word not in _OF_STAGE or within(name, _OF_STAGE[word])]
    values = {name: get_value(config, name) for name in counted}
    return {name: value for name, value in values.items() if value != all_options()[name].default}


def _changes(job: Job) -> Iterator[str]:
    """Finished calls whose options are others by now, in words; of a word that is called twice, any may be meant."""
    changes = []
    for note in job.record().get("finished", []):
        wanted = [call_note(call) for call in job.calls if call.word == note["command"]]
        if len(wanted) == 1 and note != wanted[0]:
            names = changed_names(note["options"], wanted[0]["options"])
            changes.append(f"`{note['command']}` with another {' and '.join(names)}")
    if changes:
        yield (
            f"'{job.folder}' holds results of {', '.join(changes)}: give the experiment another name=, set the options "
            "back, or remove that folder to run it anew"
        )
