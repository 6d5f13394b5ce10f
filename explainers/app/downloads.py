"""Files that visitors ask for: in a folder of the server that goes with it, and that never holds more than a few."""

from __future__ import annotations

import shutil
import tempfile
import threading
from pathlib import Path

from cae.counterfactuals.result import Counterfactual
from explainers.app.engine import written

KEPT = 32  # visitors' folders at once


class Downloads:
    """The newest downloads; older ones are removed.

    Args:
        most: folders that are kept.
    """

    def __init__(self, most: int = KEPT):
        self._folder = tempfile.TemporaryDirectory(prefix="cae-explain-")
        self._made: list[Path] = []
        self._most, self._lock = most, threading.Lock()

    def write(self, result: Counterfactual) -> list[Path]:
        """The files that `explain.py traverse` writes of a result, in a folder of their own."""
        place = Path(tempfile.mkdtemp(dir=self._folder.name))
        files = written(result, place)
        with self._lock:
            self._made.append(place)
            outdated, self._made = self._made[: -self._most], self._made[-self._most :]
        for folder in outdated:
            shutil.rmtree(folder, ignore_errors=True)
        return files
