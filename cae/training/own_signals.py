"""While Lightning trains, a request to end is answered as everywhere else in the program."""

from __future__ import annotations

import signal
from typing import Any

import pytorch_lightning as pl

from cae.signals import end_if_asked


class OwnSignals(pl.Callback):
    """Takes SIGTERM back from Lightning, which (2.6) broadcasts in its handler.

    Of several processes of which one waits for the other in the midst of a step, that would end none.
    """

    def __init__(self) -> None:
        self._handler: Any = None

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Lightning has not put its handler in place yet."""
        self._handler = signal.getsignal(signal.SIGTERM)

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """It has now."""
        self._take_back()

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """End here at the latest."""
        end_if_asked()

    def on_test_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Likewise."""
        self._take_back()

    def on_predict_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Likewise."""
        self._take_back()

    def _take_back(self) -> None:
        if self._handler is not None and signal.getsignal(signal.SIGTERM) is not self._handler:
            signal.signal(signal.SIGTERM, self._handler)
