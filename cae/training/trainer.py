"""The one place that builds a Lightning trainer, so that every stage logs, saves and resumes alike."""

from __future__ import annotations

import logging
import os
import secrets
import sys
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import ModelCheckpoint
from pytorch_lightning.loggers import Logger, TensorBoardLogger, WandbLogger
from pytorch_lightning.plugins.environments import SLURMEnvironment
from pytorch_lightning.plugins.io import TorchCheckpointIO
from pytorch_lightning.utilities.exceptions import MisconfigurationException
from pytorch_lightning.utilities.rank_zero import rank_zero_info, rank_zero_only

from cae.config import Config, LoggingConfig, TrainerConfig
from cae.devices import keep_freed_memory, parse_devices
from cae.errors import UserError, printable
from cae.files import atomic_path, read_checkpoint, read_json, write_json
from cae.processes import is_first_process
from cae.requeue import check_tasks, is_requeued
from cae.runs.result_folder import check_outputs, remove_outputs
from cae.training.csv_log import ContinuedCSVLogger
from cae.training.finite import FiniteTraining
from cae.training.own_signals import OwnSignals
from cae.training.requeueing import Requeueing
from cae.training.synchronisation import SynchronisedBatchNorm

# what Lightning warns of and this program means: continued folders, few workers, epochs shorter than a log interval
EXPECTED_WARNINGS = (
    ".*Checkpoint directory .* exists and is not empty.*",
    ".*Experiment logs directory .* exists and is not empty.*",
    ".*does not have many workers.*",
    ".*The number of training batches .* is smaller than the logging interval.*",
    ".*LeafSpec.*",
)
WANDB_IDS = "wandb.json"


class AtomicCheckpointIO(TorchCheckpointIO):
    """Checkpoints that are either whole or absent, even if the process dies while it writes.

    Lightning 2.6 writes to the system's temporary folder first, which is a copy, not a rename, on another disk.
    """

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | os.PathLike, storage_options: Any | None = None
    ) -> None:
        """Write the checkpoint beside ``path``, then rename it."""
        if storage_options is not None:
            raise TypeError("`storage_options` is not supported: checkpoints are local files.")
        with atomic_path(os.fspath(path)) as temporary:
            torch.save(checkpoint, temporary)

    def load_checkpoint(
        self, path: str | os.PathLike, map_location: Any = None, weights_only: bool | None = None
    ) -> dict[str, Any]:
        """Read a checkpoint onto the CPU, whatever is asked for; a damaged one is named."""
        return read_checkpoint(os.fspath(path), to_continue=True)


def _strategy(config: TrainerConfig, devices: str | int | list[int]) -> str:
    """The strategy asked for; with several devices and ``auto``, DDP that allows loss terms to be switched off."""
    if config.strategy != "auto":
        return config.strategy
    if isinstance(devices, list):
        count = len(devices)
    elif isinstance(devices, int) and devices > 0:
        count = devices
    else:  # auto, or -1 for all
        count = torch.cuda.device_count() if config.accelerator in ("auto", "gpu", "cuda") else 1
    return "ddp_find_unused_parameters_true" if count > 1 or config.num_nodes > 1 else "auto"


def build_loggers(config: LoggingConfig, folder: Path, stage: str, run_name: str, resume: bool) -> list[Logger]:
    """The CSV logger, and Weights & Biases and TensorBoard where asked for; all write inside ``folder``.

    With ``resume``, or in a job that SLURM has queued again, the run at Weights & Biases goes on under its id.
    """
    # the curve of the main job is what people look for first
    place = "" if stage == "cae" else f"{stage}_logs"
    loggers: list[Logger] = [ContinuedCSVLogger(folder, place, keep=resume)]
    if config.tensorboard:
        try:
            loggers.append(TensorBoardLogger(folder, name=f"{stage}_tensorboard", version=""))
        except ModuleNotFoundError:
            raise UserError(
                "`logging.tensorboard=true` needs TensorBoard: pip install 'cae-explain[tensorboard]'."
            ) from None
    if config.wandb != "off":
        offline = config.wandb == "offline"
        loggers.append(
            WandbLogger(
                name=f"{run_name}-{stage}", save_dir=folder, offline=offline, project=config.wandb_project,
                id=_wandb_id(folder, stage, resume or is_requeued()), group=config.wandb_group, resume="allow",
            )
        )  # fmt: skip
    return loggers


def _wandb_id(folder: Path, stage: str, keep: bool) -> str:
    """The id of a stage's run at Weights & Biases, kept in the run folder."""
    known = read_json(folder / WANDB_IDS)
    if not (keep and stage in known):
        known[stage] = secrets.token_hex(4)
        if is_first_process():
            write_json(folder / WANDB_IDS, known)
    return known[stage]


def _where_it_runs(config: TrainerConfig) -> dict[str, Any]:
    """Lightning's arguments for devices and arithmetic."""
    devices = parse_devices(config.devices)
    return {
        "accelerator": config.accelerator,
        "devices": devices,
        "num_nodes": config.num_nodes,
        "strategy": _strategy(config, devices),
        "precision": config.precision,
    }


def build_trainer(
    config: Config,
    folder: str | Path,
    stage: str,
    *,
    max_epochs: int | None = None,
    max_steps: int = -1,
    callbacks: Sequence[pl.Callback] = (),
    resume: bool = False,
    exact_steps: bool = False,
    **settings: Any,
) -> pl.Trainer:
    """A Lightning trainer from ``config.trainer`` and ``config.logging``; nothing is written outside ``folder``.

    Args:
        config: the program's options.
        folder: the run folder.
        stage: name of the stage; logs go to ``<folder>/<stage>_logs/metrics.csv``, those of the CAE to
            ``<folder>/metrics.csv``.
        max_epochs: epochs to train, None for no bound.
        max_steps: optimiser steps to train, -1 for no bound.
        callbacks: Lightning callbacks, checkpoints among them; ``FiniteTraining`` comes before them.
        resume: continue the CSV file instead of beginning a new one.
        exact_steps: whether the training goes on exactly from a checkpoint within an epoch.
        settings: further arguments of ``pl.Trainer``; they win.

    Raises:
        UserError: for a device, strategy or precision that this machine does not have, or a missing extra.
    """
    check_tasks()
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    expect_known_warnings()
    keep_freed_memory()
    if config.trainer.threads:
        torch.set_num_threads(config.trainer.threads)
    defaults = {
        **_where_it_runs(config.trainer),
        "max_epochs": -1 if max_epochs is None else max_epochs,
        "max_steps": max_steps,
        "log_every_n_steps": config.logging.every,
        # in a file, a bar would be thousands of lines
        "enable_progress_bar": config.logging.progress and sys.stdout.isatty(),
        "enable_model_summary": False,
        "num_sanity_val_steps": 0,
        "enable_checkpointing": any(isinstance(callback, ModelCheckpoint) for callback in callbacks),
    }
    loggers = build_loggers(config.logging, folder, stage, config.name, resume)
    own = [OwnSignals(), FiniteTraining(config, stage)]
    guarded = [*own, *callbacks, *_requeueing(callbacks, exact_steps, config.logging.every)]
    # a folder of the stage's own: Lightning continues, and tests, any checkpoint of a requeued job that lies there
    fixed = {"default_root_dir": folder / f"{stage}_checkpoints", "logger": loggers, "callbacks": guarded}
    try:
        fixed["plugins"] = [AtomicCheckpointIO(), SynchronisedBatchNorm(), *cluster_plugins()]
        return pl.Trainer(**{**defaults, **fixed, **settings})
    except (MisconfigurationException, RuntimeError, ValueError) as error:
        trainer = config.trainer
        raise UserError(
            f"Lightning cannot run with trainer.accelerator={trainer.accelerator}, trainer.devices={trainer.devices}, "
            f"trainer.strategy={trainer.strategy}, trainer.precision={trainer.precision} on this machine: {error}"
        ) from error


def cluster_plugins() -> list[SLURMEnvironment]:
    """SLURM without Lightning's own checkpoints, which it takes for those of any stage: see ``Requeueing``."""
    return [SLURMEnvironment(auto_requeue=False)] if SLURMEnvironment.detect() else []


def _requeueing(callbacks: Sequence[pl.Callback], exact: bool, every: int) -> list[pl.Callback]:
    """In a job of SLURM, what obeys its signal; checkpoints lie where the training's own do."""
    own = [callback for callback in callbacks if isinstance(callback, ModelCheckpoint)]
    if "SLURM_JOB_ID" not in os.environ or not own:
        return []
    return [Requeueing(Path(own[0].dirpath or ""), exact, every)]


def close_loggers(trainer: pl.Trainer) -> None:
    """End a run of Weights & Biases, so that the next stage of the same process gets one of its own."""
    for logger in trainer.loggers:
        if isinstance(logger, WandbLogger) and trainer.is_global_zero:
            logger.experiment.finish()


def expect_known_warnings() -> None:
    """Keep warnings and tips of Lightning off the terminal where they tell nothing that the user can change."""
    for message in EXPECTED_WARNINGS:
        warnings.filterwarnings("ignore", message=message)
    for name in ("pytorch_lightning.utilities.rank_zero", "lightning_fabric.utilities.rank_zero"):
        logging.getLogger(name).setLevel(logging.WARNING)


def checkpoint_to_continue(config: Config, folder: str | Path, stage: str) -> Path | None:
    """The checkpoint that a stage continues from, or None to begin anew; never overwrites silently.

    A stage keeps ``<folder>/<stage>.safetensors`` (its result), ``<stage>_checkpoints/`` and ``<stage>_logs/``. With
    ``overwrite=true`` the checkpoints and logs of an earlier training are removed, its result is replaced at the end.
    A job that SLURM has queued again goes on, whatever it was called with.

    Raises:
        UserError: if the folder holds this stage and neither ``resume=last`` nor ``overwrite=true`` is set.
    """
    folder = Path(folder)
    result, checkpoints = folder / f"{stage}.safetensors", folder / f"{stage}_checkpoints"
    last, requeued = checkpoints / "last.ckpt", is_requeued()
    if config.resume and config.overwrite and not requeued:
        raise UserError("`resume=last` continues a training and `overwrite=true` replaces it: set one of them.")
    if config.resume or requeued:
        if last.exists():
            return last
        if result.exists():
            raise UserError(
                f"'{result}' is there, but no '{last}' to continue from; set `overwrite=true` to train again."
            )
        rank_zero_info(f"Nothing to continue in '{checkpoints}': the training begins anew.")
        return None
    found = [path for path in (result, last) if path.exists()]
    if found and not config.overwrite:
        advice = [] if not last.exists() else ["`resume=last` continues its training"]
        advice += ["`overwrite=true` replaces it", "another `name=…` writes to another run folder"]
        names = " and ".join(f"'{path}'" for path in found)
        raise UserError(f"The run folder already holds {names}: {', '.join(advice)}.")
    _remove(checkpoints, folder / f"{stage}_logs")
    return None


@rank_zero_only
def _remove(*folders: Path) -> None:
    for path in folders:
        check_outputs(path)
        remove_outputs(path)


def check_same_options(before: Mapping[str, Any], wanted: Mapping[str, Any], path: str | Path, section: str) -> None:
    """Raise a UserError that lists every option in which a checkpoint to be continued differs from the present ones.

    Args:
        before: hyper-parameters in the checkpoint.
        wanted: hyper-parameters of the module that is to continue.
        path: the checkpoint's file.
        section: what is trained, such as ``classifier``.
    """
    problems = [
        f"`{key}` of the {section} was {before.get(key)!r} in '{path}' and is {value!r} now: set it back to continue "
        "with `resume=last`, or set `overwrite=true` to train anew."
        for key, value in wanted.items()
        if before.get(key) != value
    ]
    if problems:
        raise UserError(problems)


@rank_zero_only
def say(sentence: str) -> None:
    """Print a sentence, once for all processes of a training."""
    print(printable(sentence))
