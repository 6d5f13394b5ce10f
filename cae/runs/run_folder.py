"""The run folder ``runs/<name>``: what each stage writes there, and the rule that nothing is overwritten silently."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cae.config import Config
from cae.config.command_line import save_config
from cae.config.fields import differing, get_value, shown
from cae.errors import UserError
from cae.files import update_json
from cae.processes import is_first_process
from cae.requeue import is_requeued
from cae.runs.result_folder import check_outputs, remove_outputs, remove_results, result_folder, taken_by_others
from cae.runs.run_config import load_run_config
from cae.runs.run_lock import take_lock
from cae.runs.stage_options import NOTE, Differs, is_noted, note_stage, stage_changes, stage_identity
from cae.written_files import keep_list, refuse_link, refuse_linked_folders

CAE_COMMAND = "python train.py cae …"
# What a stage writes. The first is its result: a stage that has it is finished.
OUTPUTS = {
    "classifier": (
        "classifier.safetensors", "classifier.json", "classifier_checkpoints", "classifier_logs",
        "classifier_confusion.png",
    ),
    "oracle": ("oracle.safetensors", "oracle.json", "oracle_checkpoints", "oracle_logs", "oracle_confusion.png"),
    "cae": (
        "cae.safetensors", "cae.json", "checkpoints", "manifold.safetensors", "samples", "metrics.csv",
        "hparams.yaml", "diagnostics.json", "surrogate.safetensors", "surrogate.json", "surrogate_checkpoints",
        "surrogate_logs",
    ),
    "ncc": ("ncc.safetensors", "ncc_checkpoints", "ncc_logs"),
    "sampler": ("sampler.safetensors", "sampler.json", "sampler_checkpoints", "sampler_logs"),
}  # fmt: skip
_CHECKPOINTS = {"classifier": "classifier_checkpoints", "oracle": "oracle_checkpoints", "cae": "checkpoints",
                "ncc": "ncc_checkpoints", "sampler": "sampler_checkpoints"}  # fmt: skip
# What no stage has for itself.
_OF_ALL = (
    "explanations",
    "config.yaml",
    NOTE,
    "metrics.json",
    "data",
    "data.json",
    "labels.json",
    "report.html",
    "wandb",
    "wandb.json",
    "lightning_logs",
)
_METRICS = {
    "classifier": ("classifier/",),
    "oracle": ("oracle/",),
    "cae": ("cae/", "surrogate/", "counterfactual/", "localisation/", "generators/", "seconds/cae"),
    "ncc": ("ncc/", "seconds/ncc"),
    "sampler": ("sampler/", "seconds/sampler"),
}
# What was made from a stage's result and no longer fits once the stage is trained anew.
_MADE_FROM = {"classifier": ("cae.safetensors", "explanations"), "cae": ("explanations",)}

# Options whose change makes the weights of a checkpoint useless, for runs that did not note all that matters.
_SHAPE = {
    "classifier": ("data.source", "data.image_size", "data.channels", "data.lesions.classes", "classifier.model",
                   "classifier.width"),
    "oracle": ("data.source", "data.image_size", "data.channels", "data.lesions.classes", "oracle.model",
               "oracle.width"),
    "cae": ("data.source", "data.image_size", "data.channels", "data.lesions.classes", "cae.preset", "cae.model"),
    "ncc": ("ncc.networks", "ncc.width"),
    "sampler": ("data.source", "data.image_size", "data.channels", "sampler.window", "sampler.architecture",
                "sampler.head", "sampler.width", "sampler.factors"),
}  # fmt: skip


@dataclass(frozen=True)
class Start:
    """How a stage starts: from a checkpoint (None: from the beginning), or not at all because it is finished."""

    checkpoint: Path | None
    finished: bool = False


class RunFolder:
    """``runs/<name>`` of a configuration."""

    def __init__(self, config: Config):
        self.config = config
        self.path = Path(config.runs) / config.name

    def prepare(
        self, stage: str, fingerprints: Mapping[str, Any] | None = None, differs: Mapping[str, Differs] | None = None
    ) -> Start:
        """Make the folder ready for a training stage and save the configuration in it.

        Call it after the data has been opened, so that a mistake there costs no earlier result. With ``resume=last``
        a finished stage is left alone, an interrupted one goes on, and one without a checkpoint starts from the
        beginning. With ``overwrite=true`` the outputs of this stage, and of no other, are removed.

        Args:
            stage: what is trained.
            fingerprints: of the ``data`` and the models, by name, that the result depends on beside the options.
            differs: how the fingerprints of some names are compared.

        Raises:
            UserError: if the stage has written here and neither is given, if it is to go on with other options or
                fingerprints than it began with, or if another process is writing here.
        """
        resume = self.config.resume == "last" or is_requeued()
        if not is_first_process():  # the first one clears and saves; the others only need to know where to start
            return self._start(stage) if resume else Start(None)
        _make(self.path)
        take_lock(self.path, "name=…")
        existing = self.existing(stage)
        self._refuse_links(stage, existing if self.config.overwrite and not resume else [])
        if resume:
            self._check_same(stage, {**stage_identity(self.config, stage), **(fingerprints or {})}, differs)
        elif existing and not self.config.overwrite:
            raise UserError(self._occupied(stage, existing))
        elif existing:
            self._clear(stage, existing)
        start = self._start(stage) if resume else Start(None)
        if resume:
            print(self._resume_note(stage, start))
        self._save_config()
        if not start.finished:
            begins = start.checkpoint is None
            note_stage(self.path, stage, {**stage_identity(self.config, stage), **(fingerprints or {})}, begins)
        return start

    def is_finished(self, stage: str) -> bool:
        """Whether ``prepare`` will find nothing left to do: the stage has its result, and is asked to go on."""
        return (self.config.resume == "last" or is_requeued()) and self._start(stage).finished

    def depends_on(self, stage: str, fingerprints: Mapping[str, Any]) -> None:
        """Compare, or note, the fingerprints of models that a prepared stage could not know before.

        Raises:
            UserError: if the stage began with others.
        """
        if is_first_process():
            finished = self._start(stage).finished
            if problems := stage_changes(self.path, stage, fingerprints, finished):
                raise UserError(problems)
            if is_noted(self.path, stage) and not finished:
                note_stage(self.path, stage, fingerprints, anew=False)

    def existing(self, stage: str) -> list[Path]:
        """Outputs of a stage that are there: files, and folders that hold any file."""
        return [self.path / name for name in OUTPUTS[stage] if _holds_something(self.path / name)]

    def last_checkpoint(self, stage: str) -> Path | None:
        """The newest ``last*.ckpt`` of a stage (Lightning numbers them where one was in the way)."""
        found = (self.path / _CHECKPOINTS[stage]).glob("last*.ckpt")
        return max(found, key=lambda path: path.stat().st_mtime, default=None)

    def require(self, name: str, command: str) -> Path:
        """Path of a file of the run that an earlier stage writes.

        Raises:
            UserError: if it is missing; says which ``command`` makes it.
        """
        path = self.path / name
        if not path.exists():
            raise UserError(f"'{path}' is missing: make it with `{command}`, or set name= to the run that has it")
        return path

    def explanations(self, name: str, option: str | None = None) -> Path:
        """The folder ``explanations/<name>``, made if need be; work there goes on, unless ``overwrite=true``.

        Args:
            name: of the folder.
            option: where the user gave it, such as ``traverse.folder``; None for a name of the program's own.

        Raises:
            UserError: if it is no folder of this run, or that of another command.
        """
        return self.own(self.check_explanations(name, option), option)

    def own(self, path: Path, option: str | None) -> Path:
        """Make a folder of results that has passed the gate, for this process alone; emptied with ``overwrite=true``.

        What is written there from now on is noted.

        Raises:
            UserError: if another process works there, or something else than results is in the way of an overwrite.
        """
        _make(path)
        take_lock(path, f"{option}=…" if option else "name=…")
        if is_first_process():
            if self.config.overwrite and not is_requeued():
                remove_results(path)
            refuse_linked_folders(path)
        keep_list(path)
        return path

    def check_explanations(self, name: str, option: str | None = None) -> Path:
        """Path of ``explanations/<name>``; refuses what ``explanations`` refuses, and changes nothing."""
        return result_folder(self.path, "explanations", name, option, taken_by_others(option))

    def beside_trainings(self, name: str, option: str) -> Path:
        """Path of a folder of the run beside what its trainings write.

        Raises:
            UserError: if it is no folder of this run, or that of a training.
        """
        stages = (f"{stage}_{logger}" for stage in OUTPUTS for logger in ("tensorboard", "logs"))
        outputs = (output for names in OUTPUTS.values() for output in names)
        return result_folder(self.path, "", name, option, {*_OF_ALL, *outputs, *stages})

    def _start(self, stage: str) -> Start:
        return Start(self.last_checkpoint(stage), finished=(self.path / OUTPUTS[stage][0]).exists())

    def _save_config(self) -> None:
        _make(self.path)
        saved = copy.deepcopy(self.config)
        saved.resume, saved.overwrite = None, False  # of this call only
        save_config(saved, self.path / "config.yaml")

    def _occupied(self, stage: str, existing: list[Path]) -> str:
        return (
            f"'{existing[0]}' exists: '{self.path}' already holds output of the stage '{stage}'; add resume=last to "
            "continue it, overwrite=true to replace it, or name=… to write elsewhere"
        )

    def _refuse_links(self, stage: str, removed: list[Path]) -> None:
        """No folder of a stage may be a link; a link that is about to be removed leaves what it points to alone."""
        for path in (self.path / name for name in OUTPUTS[stage]):
            if path not in removed and not path.is_file():  # a file is replaced where it lies
                refuse_link(path)

    def _clear(self, stage: str, existing: list[Path]) -> None:
        for path in existing:
            check_outputs(path)
        for path in existing:
            remove_outputs(path)
        if (self.path / "metrics.json").exists():
            update_json(self.path / "metrics.json", {}, drop=_METRICS[stage])
        for name in _MADE_FROM.get(stage, ()):
            if _holds_something(self.path / name):
                print(f"note: '{self.path / name}' was made from the former {stage}; make it anew after this training")

    def _check_same(self, stage: str, identity: Mapping[str, Any], differs: Mapping[str, Differs] | None) -> None:
        """What goes on must be what began; of a run that did not note it, sizes at least must fit the checkpoint."""
        start = self._start(stage)
        if start.checkpoint is None and not start.finished:
            return
        if is_noted(self.path, stage):
            problems = stage_changes(self.path, stage, identity, start.finished, differs)
        else:
            problems = self._other_sizes(stage)
        if problems:
            raise UserError(problems)

    def _other_sizes(self, stage: str) -> list[str]:
        if self.last_checkpoint(stage) is None or not (self.path / "config.yaml").exists():
            return []
        saved = load_run_config(self.path)
        return [
            f"'{name}' is {shown(get_value(self.config, name))}, but the run was started with "
            f"{shown(get_value(saved, name))}; give that value to continue, or overwrite=true to start anew"
            for name in differing(self.config, saved, _SHAPE[stage])
        ]

    def _resume_note(self, stage: str, start: Start) -> str:
        if start.finished:
            return (
                f"{stage}: already finished, '{self.path / OUTPUTS[stage][0]}' is used as it is "
                "(remove that file to train on from the last checkpoint, or give overwrite=true to start anew)"
            )
        if start.checkpoint:
            return f"{stage}: continuing from '{start.checkpoint}'"
        return f"{stage}: nothing to resume in '{self.path}', starting from the beginning"


def _holds_something(path: Path) -> bool:
    return path.is_file() or (path.is_dir() and any(item.is_file() for item in path.rglob("*")))


def _make(path: Path) -> None:
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"the folder '{path}' cannot be made: {error.strerror}; set runs= to another place") from error
