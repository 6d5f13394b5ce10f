"""A trained embedding from its file, ours or the published one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cae.models.cae import CAE, read_weights
from cae.models.published import PublishedCAE, is_published


def load_cae(path: str | Path) -> tuple[CAE | PublishedCAE, dict[str, Any]]:
    """The CAE in a file, ours or that of the preset ``published``, with what its training noted in the header."""
    header, _ = read_weights(path)
    return (PublishedCAE if is_published(header) else CAE).load(path), header
