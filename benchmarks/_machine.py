"""The machine that a benchmark runs on, in the words of its file of results."""

from __future__ import annotations

import os
import platform

import torch


def machine(threads: int | None = None) -> str:
    """The GPU, or without one the number of CPU cores and, where given, of the threads that work on them."""
    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    used = "" if threads is None else f", {threads} thread{'s' * (threads != 1)}"
    return f"{os.cpu_count()} CPU cores ({platform.machine()}){used}, no GPU"
