"""Which device computes: ``trainer.accelerator`` and ``trainer.devices``, read and checked."""

from __future__ import annotations

import ctypes
import itertools
import os

import torch
from torch import nn

from cae.errors import UserError, did_you_mean


def device_for(accelerator: str = "auto", devices: str = "auto") -> torch.device:
    """The device that explains in this process: the first of ``trainer.devices``, or that of its place among several.

    With ``auto`` a CUDA GPU where there is one.

    Raises:
        UserError: if this machine does not have it.
    """
    wanted, listed = accelerator.lower(), parse_devices(devices)
    if wanted == "cpu" or (wanted == "auto" and not torch.cuda.is_available()):
        return torch.device("cpu")
    if wanted in ("auto", "gpu", "cuda") and torch.cuda.is_available():
        place = int(os.environ.get("LOCAL_RANK") or os.environ.get("SLURM_LOCALID") or 0)
        number = listed[place % len(listed)] if isinstance(listed, list) and listed else place
        if number < torch.cuda.device_count():
            return torch.device("cuda", number)
        raise UserError(f"trainer.devices names GPU {number}, but this machine has {torch.cuda.device_count()}.")
    if wanted in ("gpu", "mps") and torch.backends.mps.is_available():
        return torch.device("mps")
    known = ("auto", "cpu", "gpu", "cuda", "mps")
    if wanted not in known:
        raise UserError(
            f"trainer.accelerator must be one of {', '.join(known)} to explain, but is {wanted!r}"
            f"{did_you_mean(wanted, known)}."
        )
    raise UserError(f"trainer.accelerator={accelerator}, but this machine has none; use auto or cpu.")


def parse_devices(devices: str) -> str | int | list[int]:
    """``auto``, a number of devices, or a list of device numbers.

    >>> parse_devices("auto"), parse_devices("2"), parse_devices("[0,1]"), parse_devices("3,")
    ('auto', 2, [0, 1], [3])
    """
    text = str(devices).strip().strip("[]").replace(" ", "")
    if text == "auto":
        return "auto"
    try:
        return [int(part) for part in text.split(",") if part] if "," in text or "[" in str(devices) else int(text)
    except ValueError:
        raise UserError(
            f"`trainer.devices` must be `auto`, a number like 2, or a list like 0,1, but is {devices!r}."
        ) from None


def device_of(model: object) -> torch.device:
    """Device of a module's weights or buffers; the CPU for one without, or for any other object."""
    if not isinstance(model, nn.Module):
        return torch.device("cpu")
    first = next(itertools.chain(model.parameters(), model.buffers()), None)
    return first.device if first is not None else torch.device("cpu")


def keep_freed_memory() -> None:
    """Let this process keep the memory that it frees: the next training step asks for the same amount again.

    Otherwise the C library returns every large tensor to the system, which fills its pages with zeros when they are
    asked for anew: a tenth of the time of a training on CPUs. Only glibc can be told; elsewhere nothing happens.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return
    mallopt(_MMAP_THRESHOLD, 2**30)
    mallopt(_TRIM_THRESHOLD, 2**31 - 1)


_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # of malloc.h
