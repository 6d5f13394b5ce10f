"""Work on many images, dealt to the processes of a Lightning strategy, each of which writes what it finds."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytorch_lightning as pl
from torch import distributed
from torch.utils.data import DataLoader

from cae.config import Config, TrainerConfig
from cae.devices import parse_devices
from cae.requeue import check_tasks
from cae.training.own_signals import OwnSignals
from cae.training.trainer import cluster_plugins, expect_known_warnings

Problems = list[str]
_NOTHING = -1  # the number of no part


def process_count(config: TrainerConfig) -> int:
    """In how many processes an explanation is asked to run; ``auto`` is one device."""
    devices = parse_devices(config.devices)
    count = len(devices) if isinstance(devices, list) else devices if isinstance(devices, int) else 1
    return max(1, count) * config.num_nodes


def deal(config: Config, parts: Sequence[int], do: Callable[[int], Problems]) -> Problems | None:
    """Do every part of some work, here or in the processes of ``trainer.devices`` and ``trainer.num_nodes``.

    Parts go to the processes in turn. What is done in one must not depend on what is done in another, and must be on
    disk when ``do`` returns; it returns what was wrong, in words.

    Args:
        config: the program's options.
        parts: numbers of the parts, the same in every process.
        do: does one of them.

    Returns:
        everything that was wrong, in the order of the parts; None in all processes but the first, which have nothing
        to do any more.
    """
    if process_count(config.trainer) == 1:
        return [problem for part in parts for problem in do(part)]
    check_tasks()
    expect_known_warnings()
    options = config.trainer
    trainer = pl.Trainer(
        accelerator=options.accelerator, devices=parse_devices(options.devices), num_nodes=options.num_nodes,
        strategy="ddp" if options.strategy == "auto" else options.strategy, logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False, use_distributed_sampler=False,
        plugins=[*cluster_plugins()], callbacks=[OwnSignals()],
    )  # fmt: skip
    work = _Work(do)
    # Lightning (2.6) refuses a process that gets nothing to do
    mine = list(parts)[trainer.global_rank :: trainer.world_size] or [_NOTHING]
    trainer.predict(work, DataLoader(mine, batch_size=None), return_predictions=False)  # type: ignore[arg-type]
    return work.problems if trainer.is_global_zero else None


class _Work(pl.LightningModule):
    """One part at a time; at the end, the first process waits for the others and knows their problems."""

    def __init__(self, do: Callable[[int], Problems]):
        super().__init__()
        self._do = do
        self._told: list[tuple[int, str]] = []
        self.problems: Problems = []

    def predict_step(self, part: int, batch_idx: int) -> None:
        """Do a part."""
        if int(part) == _NOTHING:
            return
        self._told += [(int(part), problem) for problem in self._do(int(part))]

    def on_predict_end(self) -> None:
        """Meet the others."""
        everyone = [self._told]
        if distributed.is_available() and distributed.is_initialized():
            everyone = [[] for _ in range(distributed.get_world_size())]
            distributed.all_gather_object(everyone, self._told)
        told = sorted((one for some in everyone for one in some), key=lambda one: one[0])
        self.problems = [problem for _, problem in told]
