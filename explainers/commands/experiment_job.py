"""One job of an experiment, in a process of its own: its command lines in turn, and a note of how far it came."""

from __future__ import annotations

import os
import platform
import shutil
import sys
import time
import traceback
from pathlib import Path
from typing import Any

from cae.errors import UserError
from cae.experiments.gathering import FAILED, FINISHED
from cae.experiments.jobs import RECORD, Call, Job, call_note
from cae.files import read_json, update_json, write_json
from explainers.commands import programs

LENT_FILES = "{stage}.safetensors", "{stage}.json"


class JobRun:
    """What submitit calls with a job and the folder of its lender, and again where a cluster has taken it off."""

    def __call__(self, job: Job, lender: Path | None) -> None:
        """Run what is left of a job; a failure is noted and raises nothing."""
        record: dict[str, Any] = {"finished": [], "seconds": 0.0} | job.record()
        record |= {"status": "running", "reason": "", "machine": _machine()}
        begun = time.monotonic() - record["seconds"]
        try:
            if lender is not None:
                borrow(job, lender)
            for call in job.remaining():
                write_json(job.folder / RECORD, record)
                run_call(call)
                record["finished"].append(call_note(call))
                record["seconds"] = time.monotonic() - begun
            record["status"] = FINISHED
        except Exception as error:
            record |= {"status": FAILED, "reason": _reason(error)}
        record["seconds"] = time.monotonic() - begun
        write_json(job.folder / RECORD, record)

    def checkpoint(self, job: Job, lender: Path | None) -> Any:
        """What submitit queues again after a time limit: the same, which goes on where it was."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self, job, lender)


def run_call(call: Call) -> None:
    """Run one command line as the programs would; trainings go on where they are."""
    if call.word in programs.TRAIN:
        programs.train([call.word, *call.arguments, "resume=last"])
    else:
        programs.explain([call.word, *call.arguments])


def borrow(job: Job, lender: Path) -> None:
    """Copy the stages that another job has trained, with their figures, into the run folder.

    Raises:
        UserError: if that job has not finished.
    """
    for stage in job.lent:
        names = [name.format(stage=stage) for name in LENT_FILES]
        if not all((lender / name).exists() for name in names):
            raise UserError(f"'{lender}' has no {stage} to lend, see there")
        job.folder.mkdir(parents=True, exist_ok=True)
        for name in names:
            if not (job.folder / name).exists():
                shutil.copyfile(lender / name, job.folder / name)
    figures = read_json(lender / "metrics.json")
    stages = tuple(f"{stage}/" for stage in job.lent)
    update_json(job.folder / "metrics.json", {key: value for key, value in figures.items() if key.startswith(stages)})


def _reason(error: Exception) -> str:
    if isinstance(error, UserError):
        print(f"error: {error}", file=sys.stderr)
        return "; ".join(error.problems)
    traceback.print_exc()
    return f"{type(error).__name__}: {(str(error).splitlines() or ['no message'])[0]}"


def _machine() -> str:
    import torch

    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    return f"{os.cpu_count()} CPU cores ({platform.machine()}), no GPU"
