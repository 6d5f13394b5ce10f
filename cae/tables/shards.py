"""Rows on their way into the index: each chunk of images leaves a file of its own, whichever process explains it."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from pathlib import Path

from torch import Tensor

from cae.continuing import work_digest
from cae.tables.index import SHARDS, Index, IndexRow, read_features, read_index, write_features, write_parquet


def write_shard(folder: Path, rows: Sequence[IndexRow], features: Mapping[tuple[str, str], Tensor]) -> None:
    """Write all rows of some images, and features by id and target, beside the index in ``folder``.

    What it costs does not depend on how many images are explained already, nor is any of them kept in memory.
    """
    path = folder / SHARDS / f"{work_digest({'ids': [row.id for row in rows]})}.parquet"
    write_features(path.with_suffix(".safetensors"), features)
    write_parquet(path, rows)  # last: a shard with rows is whole


def gather_shards(index: Index) -> None:
    """Take what the shards beside an index hold into it, the newest last, write it, and remove them.

    Raises:
        UserError: if one cannot be read.
    """
    folder = index.folder / SHARDS
    paths = sorted(folder.glob("*.parquet"), key=lambda path: path.stat().st_mtime_ns)
    for path in paths:
        rows = [row for row in read_index(path) if row.id in index.places]
        index.add(rows, read_features(path.with_suffix(".safetensors")))
    index.save()
    for path in paths:
        path.unlink()
        path.with_suffix(".safetensors").unlink(missing_ok=True)
    with contextlib.suppress(OSError):  # not there, or another process has written into it by now
        folder.rmdir()
