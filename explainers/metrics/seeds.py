"""Random numbers that follow from a seed and a purpose, never from the global state."""

from __future__ import annotations

import hashlib

import torch


def generator(*salt: int | str) -> torch.Generator:
    """A CPU generator that follows from the numbers and words given: same salt, same noise."""
    digest = hashlib.sha256(repr(salt).encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:7], "little"))
