"""Jobs of an experiment on their devices, by submitit: processes of this machine, or arrays of a SLURM cluster."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import explainers
from cae.config.command_line import load_config
from cae.errors import UserError
from cae.experiments.definition import Experiment
from cae.experiments.gathering import FINISHED, outcome
from cae.experiments.jobs import Job
from explainers.commands.experiment_job import JobRun

LOGS = "logs"  # below the folder of the experiment
POLL = 0.5  # seconds
LONG = 60 * 24 * 365  # minutes: local jobs have no time limit


def launch(experiment: Experiment, jobs: Sequence[Job]) -> None:
    """Run what is left of the jobs and wait for it; what fails is noted in the jobs' folders.

    Raises:
        UserError: if this machine has no such device, or no SLURM.
    """
    left = [job for job in jobs if job.remaining()]
    if not left:
        return
    with _environment(experiment, len(left)) as devices:
        if experiment.executor == "slurm":
            _on_slurm(experiment, left)
        else:
            _here(experiment, left, devices)


def _here(experiment: Experiment, jobs: Sequence[Job], devices: Sequence[int]) -> None:
    """Start jobs as slots become free, lenders before those who borrow from them."""
    from submitit import LocalExecutor

    executor = LocalExecutor(experiment.folder / LOGS)
    slots = _at_once(experiment, devices)
    waiting, running = list(jobs), dict[int, tuple[Job, Any]]()
    try:
        while waiting or running:
            for slot, (job, process) in list(running.items()):
                if process.done():
                    del running[slot]
                    _tell(job, process.paths.stderr)
            busy = {job.name for job, _ in running.values()} | {job.name for job in waiting if job.lender is None}
            for slot in range(slots):
                ready = next((job for job in waiting if job.lender not in busy), None)
                if slot not in running and ready is not None:
                    waiting.remove(ready)
                    devices_of = {"visible_gpus": [devices[slot % len(devices)]], "gpus_per_node": 1} if devices else {}
                    executor.update_parameters(timeout_min=LONG, **devices_of)
                    print(f"{ready.name}: begins", flush=True)
                    running[slot] = ready, executor.submit(JobRun(), ready, _lender(experiment, ready))
            time.sleep(POLL)
    finally:
        for _, process in running.values():
            process.cancel()


def _on_slurm(experiment: Experiment, jobs: Sequence[Job]) -> None:
    """Two arrays: lenders, and after them those who borrow."""
    from submitit import AutoExecutor

    try:
        executor = AutoExecutor(experiment.folder / LOGS, cluster="slurm")
    except RuntimeError as error:
        raise UserError(f"executor=slurm, but this machine has no SLURM ({error}): use executor=local") from error
    queued: list[tuple[Job, Any]] = []
    for wave in ([job for job in jobs if job.lender is None], [job for job in jobs if job.lender is not None]):
        if wave:
            _update(executor, experiment, [process.job_id for _, process in queued])
            with executor.batch():
                submitted = [executor.submit(JobRun(), job, _lender(experiment, job)) for job in wave]
            queued += zip(wave, submitted, strict=True)
    print(f"{len(queued)} jobs are queued; stopping this command leaves them there, the same one gathers them later")
    while queued:
        ended = [(job, process) for job, process in queued if process.done()]
        queued = [pair for pair in queued if pair not in ended]
        for job, process in ended:
            _tell(job, process.paths.stderr)
        time.sleep(POLL * 20 if queued else 0)


def _update(executor: Any, experiment: Experiment, after: Sequence[str]) -> None:
    parameters: dict[str, Any] = {"name": experiment.name, "slurm_array_parallelism": experiment.jobs_at_once or 256}
    parameters |= {"timeout_min": 24 * 60, **experiment.slurm}
    if after:
        arrays = sorted({job_id.partition("_")[0] for job_id in after})
        extra = parameters.pop("slurm_additional_parameters", {})
        parameters["slurm_additional_parameters"] = {**extra, "dependency": f"afterany:{':'.join(arrays)}"}
    try:
        executor.update_parameters(**parameters)
    except (NameError, TypeError, ValueError, AssertionError) as error:
        raise UserError(f"slurm: submitit does not take these parameters: {error}") from error


def _lender(experiment: Experiment, job: Job) -> Path | None:
    return None if job.lender is None else experiment.folder / job.lender


def _tell(job: Job, log: Path) -> None:
    found = outcome(job)
    if found.status == FINISHED:
        print(f"{job.name}: finished in {found.seconds:,.0f} s", flush=True)
    else:
        print(f"{job.name}: {found.status}, {found.reason}; log in '{log}'", file=sys.stderr, flush=True)


def _at_once(experiment: Experiment, devices: Sequence[int]) -> int:
    return experiment.jobs_at_once or max(1, len(devices))


@contextmanager
def _environment(experiment: Experiment, jobs: int) -> Iterator[list[int]]:
    """The GPUs that jobs take in turn; within the block, processes find this package and share the cores."""
    options = [f"{key}={value}" for key, value in experiment.options.items()]
    trainer = load_config(experiment.base, options).trainer
    if trainer.devices not in ("auto", "1") or trainer.num_nodes != 1:
        raise UserError(
            f"each job of an experiment takes one device, but trainer.devices={trainer.devices} and "
            f"trainer.num_nodes={trainer.num_nodes}: remove them, or run such a training by itself."
        )
    devices = _devices(experiment, trainer.accelerator)
    before = dict(os.environ)
    place = str(Path(explainers.__file__).resolve().parents[1])
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (place, before.get("PYTHONPATH"))))
    at_once = min(jobs, _at_once(experiment, devices))
    if experiment.executor == "local" and at_once > 1 and not devices and trainer.threads is None:
        os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // at_once)))
    try:
        yield devices
    finally:
        os.environ.clear()
        os.environ.update(before)


def _devices(experiment: Experiment, accelerator: str) -> list[int]:
    if experiment.executor == "slurm" or accelerator not in ("auto", "gpu", "cuda"):
        return []
    import torch

    there = torch.cuda.device_count() if torch.cuda.is_available() else 0
    wanted = list(range(there)) if experiment.devices is None else list(experiment.devices)
    absent = [number for number in wanted if number >= there]
    if absent:
        raise UserError(f"devices: {', '.join(map(str, absent))} named, but this machine has {there} CUDA GPUs")
    return wanted
