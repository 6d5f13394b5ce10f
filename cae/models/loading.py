"""A trained embedding from its file, ours or the published one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from cae.models.cae import CAE, read_weights, reads_itself
from cae.models.feature_encoder import FeatureReader
from cae.models.published import PublishedCAE, is_published


def load_cae(
    path: str | Path, read: Callable[[dict[str, Any]], FeatureReader | None] | None = None
) -> tuple[CAE | PublishedCAE, dict[str, Any]]:
    """The CAE in a file, ours or that of the preset ``published``, with what its training noted in the header.

    Args:
        path: the file.
        read: from the header to a reader of the classifier it was trained against (``cae.classifiers.readable``);
            asked only where the class code is read in the classifier's features.
    """
    header, weights = read_weights(path)
    if is_published(header):
        return PublishedCAE.restored(header, weights, path), header
    reader = None if read is None or reads_itself(header) else read(header)
    return CAE.restored(header, weights, path, reader), header
