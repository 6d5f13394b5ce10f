"""A trained embedding from its file, ours or the published one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cae.models.cae import CAE, read_weights
from cae.models.published import ReferenceCAE


def load_cae(path: str | Path) -> tuple[CAE | ReferenceCAE, dict[str, Any]]:
    """The CAE in a file, ours or that of the preset ``reference``, with what its training noted in the header."""
    header, _ = read_weights(path)
    return (ReferenceCAE if header.get("preset") == "reference" else CAE).load(path), header
