"""The machine that a benchmark runs on, in the words of its file of results."""

from __future__ import annotations

import os
import platform

import torch


def machine(threads: int | None = None, device: str | None = None) -> str:
    """The GPU, or the number of CPU cores and, where given, of the threads that work on them.

    Args:
        threads: named where given.
        device: ``cpu`` or ``cuda``; without it a GPU, if there is one.
    """
    if device == "cuda" or (device is None and torch.cuda.is_available()):
        return torch.cuda.get_device_name()
    used = "" if threads is None else f", {threads} thread{'s' * (threads != 1)}"
    return f"{os.cpu_count()} CPU cores ({platform.machine()}){used}, no GPU"
