"""The log of a training: one CSV file, whole at every moment, that a resumed training continues."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pytorch_lightning.loggers import CSVLogger
from pytorch_lightning.loggers.csv_logs import ExperimentWriter
from pytorch_lightning.loggers.logger import rank_zero_experiment
from pytorch_lightning.utilities.rank_zero import rank_zero_only

from cae.files import atomic_path, damaged, existing_text
from cae.written_files import refuse_link


class ContinuedCSVLogger(CSVLogger):
    """``<folder>/<name>/metrics.csv``, written through at every line; a resumed run continues the file.

    Lines from the resumed step on are dropped, as they are about to be written again. Killed at any moment, the program
    leaves every line that it has written.
    """

    def __init__(self, folder: Path, name: str, keep: bool):
        super().__init__(folder, name=name, version="")
        self._history: list[dict[str, Any]] = []
        path = Path(self.log_dir) / "metrics.csv"
        for written_on in (*([path.parent] if name else []), path, path.with_name("hparams.yaml")):
            refuse_link(written_on)
        if keep and path.exists():
            self._history = read_log(path)

    @property
    @rank_zero_experiment
    def experiment(self) -> Any:
        """What writes the file, in the main process."""
        if self._experiment is None:
            self._experiment = _Writer(self.log_dir, self._history)
        return self._experiment

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        """Append one line and write it to the disk."""
        if self._history and step is not None:
            self.experiment.before = [row for row in self._history if int(row["step"]) < step]
            self._history = []
        super().log_metrics(dict(metrics), step)
        self.save()


class _Writer(ExperimentWriter):
    """Lightning's writer (2.6) empties the file where it begins and wherever a new column comes; this one replaces it.

    Attributes:
        before: lines to put in the place of the file with the next one; None to leave those that are there.
    """

    def __init__(self, log_dir: str, before: list[dict[str, Any]]):
        super().__init__(log_dir)
        self.before: list[dict[str, Any]] | None = before

    def save(self) -> None:
        """Write the lines that are not in the file yet."""
        if not self.metrics:
            return
        path, columns = Path(self.metrics_file_path), set(self.metrics_keys).union(*self.metrics)
        if self.before is None and columns == set(self.metrics_keys):
            with path.open("a", newline="", encoding="utf-8") as file:
                csv.DictWriter(file, self.metrics_keys).writerows(self.metrics)
        else:
            rows = read_log(path) if self.before is None else self.before
            self.metrics_keys = sorted(columns.union(*rows))
            with atomic_path(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
                writer = csv.DictWriter(file, self.metrics_keys)
                writer.writeheader()
                writer.writerows([*rows, *self.metrics])
            self.before = None
        self.metrics = []

    def _check_log_dir_exists(self) -> None:
        """Lightning removes the file of an earlier run here."""


def read_log(path: Path) -> list[dict[str, Any]]:
    """Lines of a ``metrics.csv``, without empty cells; a last line that was cut off is left out.

    Raises:
        UserError: if the file is damaged.
    """
    with damaged(path, "the log of a training", "the training then goes on with a new log"):
        rows = list(csv.DictReader(existing_text(path).splitlines(), strict=True))
        if rows and not _whole(rows[-1]):
            rows.pop()
        bad = [number for number, row in enumerate(rows, start=2) if not _whole(row)]
        if bad:
            raise ValueError(f"line {bad[0]} is no line of it")
    return [{key: value for key, value in row.items() if value} for row in rows]


def _whole(row: Mapping[str | None, Any]) -> bool:
    return None not in row and None not in row.values() and str(row.get("step", "")).isdigit()
