"""Opening the data of a training: told in short, and every file decoded before anything is learned from any."""

from __future__ import annotations

from typing import Any

from cae.classifiers import TargetClassifier
from cae.config import Config
from cae.data import CAEDataModule
from cae.data.notes import printable, say_notes
from cae.data.records import FileSet
from cae.data.report import survey_doubts
from cae.data.splits import SPLITS, raise_problems
from cae.data.survey import duplicates_across, survey_all
from cae.processes import is_first_process
from cae.runs.data_record import data_change, data_warnings, keep_record
from cae.runs.run_folder import OUTPUTS, RunFolder, Start


def open_training_data(config: Config, stage: str) -> tuple[CAEDataModule, RunFolder]:
    """The data and the run folder of a training, with counts, blank images and duplicates told.

    With ``data.check=all`` every file is decoded first, unless the stage is finished and only asked to go on.

    Raises:
        UserError: that lists everything wrong with the source, and every damaged file.
    """
    data, run = CAEDataModule(config.data), RunFolder(config)
    data.setup()
    if is_first_process():
        print(printable(data.describe()))
        files = all(isinstance(data.dataset(name), FileSet) for name in SPLITS)
        if files and config.data.check == "all" and not run.is_finished(stage):
            surveys = survey_all(data.splits, config.data.workers, config.logging.progress)
            raise_problems([problem for found in surveys.values() for problem in found.problems])
            say_notes(survey_doubts(surveys, duplicates_across(data.splits, surveys)))
    return data, run


def begin_stage(run: RunFolder, stage: str, data: CAEDataModule, classifier: TargetClassifier | None = None) -> Start:
    """Make the run folder ready for a stage, tell which others knew other data, and keep what this one is given.

    ``classifier`` is what the stage learns from, which it must not go on without.
    """
    fingerprints: dict[str, Any] = {"data": data.fingerprint}
    if classifier is not None:
        fingerprints["classifier"] = classifier.fingerprint()
    start = run.prepare(stage, fingerprints, {"data": lambda before, _: data_change(run.path, stage, data, before)})
    if is_first_process():
        before = [name for name in OUTPUTS if name != stage or start.checkpoint is not None or start.finished]
        for sentence in data_warnings(run.path, data, before):
            print(printable(f"warning: {sentence}"))
        if not start.finished and start.checkpoint is None:
            keep_record(run.path, stage, data.splits)
    return start
