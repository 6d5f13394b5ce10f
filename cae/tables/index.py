"""The table of explained images: one row each in ``index.parquet`` and ``index.csv``, grown and continued safely."""

from __future__ import annotations

import dataclasses
import json
import typing
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from safetensors import SafetensorError
from torch import Tensor

from cae.continuing import continue_work
from cae.csv_files import write_csv
from cae.data.selection import changed_work
from cae.errors import UserError
from cae.files import MOST_TEXT, atomic_path, check_inside, damaged, read_tensors, write_tensors
from cae.parquet_files import read_parquet
from cae.tables.metric_table import METRICS
from cae.tables.scored_result import ScoredResult

SHARDS = "shards"  # folder beside it of rows that are not gathered yet


@dataclass(frozen=True)
class RowIdentity:
    """Which image and which class a row is of.

    Attributes:
        image: place of the image in its split or folder, from 0.
        id: of the image.
        label: class by the data set; None where unknown.
        source: class that the classifier predicts for the image.
        target: class to be reached.
        status: ``found``, ``not_found``, ``already_target`` or ``reconstruction_flip``.
    """

    image: int
    id: str
    label: str | None
    source: str
    target: str
    status: str


@dataclass(frozen=True)
class Files:
    """Files of one result, relative to the index; None where not written.

    Attributes:
        strip: traversal strip, PNG.
        gif: animation of the path.
        counterfactual_image: the counterfactual itself, PNG of 8 bits at its own size; None where none was found.
        end_image: the image at the end of the path, likewise; None where there is no path.
        evidence_image: the evidence, PNG of 256 grey levels up to its largest value; None where there is no path.
        tensors: every field of the result, for ``Counterfactual.load``.
    """

    strip: str | None = None
    gif: str | None = None
    counterfactual_image: str | None = None
    end_image: str | None = None
    evidence_image: str | None = None
    tensors: str | None = None


_HINTS: dict[str, Any] = {
    **typing.get_type_hints(RowIdentity),
    **{metric.name: metric.kind if metric.always else metric.kind | None for metric in METRICS},
    **typing.get_type_hints(Files),
}
_Columns: Any = dataclasses.make_dataclass("_Columns", _HINTS.items(), frozen=True)


class IndexRow(_Columns):
    """What is known of one image and one target class; the fields are the columns. Absent values are None, never 0.

    The fields are those of ``RowIdentity``, one for each entry of ``cae.tables.metric_table.METRICS``, and those of
    ``Files``.
    """


IndexRow.__doc__ = f"{IndexRow.__doc__}\n    Metrics:\n" + "\n".join(
    f"        {metric.name}: {metric.description}." for metric in METRICS
)


def index_row(scored: ScoredResult, label: str | None, place: int, files: Files) -> IndexRow:
    """The row of one result.

    Args:
        scored: the result, and what its metrics need.
        label: class of the image by the data set; None where unknown.
        place: of the image in its split or folder.
        files: that were written of it.
    """
    result = scored.result
    identity = RowIdentity(place, result.id, label, result.source_class, result.target_class, result.status)
    values = {metric.name: metric.value(scored) for metric in METRICS}
    return IndexRow(**dataclasses.asdict(identity), **values, **dataclasses.asdict(files))


COLUMNS = tuple(_HINTS)
_FILES = tuple(field.name for field in dataclasses.fields(Files))
_TYPES = {str: pa.string(), int: pa.int64(), float: pa.float64(), bool: pa.bool_()}


def _column_type(annotation: Any) -> pa.DataType:
    kinds = [kind for kind in (typing.get_args(annotation) or (annotation,)) if kind is not type(None)]
    return _TYPES[kinds[0]]


# given in full, so that a column without any value keeps its type
SCHEMA = pa.schema([(name, _column_type(hint)) for name, hint in _HINTS.items()])


class Index:
    """Rows by image, in data order.

    With the rows go the classifier's features of originals, counterfactuals and ends of paths, ``(3, F)`` by id and
    target, in which distances between sets of images are measured.

    Args:
        folder: where ``index.parquet``, ``index.csv`` and ``features.safetensors`` lie.
        places: place of every image in the data, by id; rows of other images are dropped.
        rows: what is there already.
    """

    def __init__(self, folder: Path, places: Mapping[str, int], rows: Iterable[IndexRow] = ()):
        self.folder, self.places = folder, places
        self._rows: dict[str, list[IndexRow]] = {}
        self._features: dict[tuple[str, str], Tensor] = {}
        self._changed = False
        known = [row for row in rows if row.id in places]
        self.add(known, read_features(folder / "features.safetensors") if known else {})

    @property
    def rows(self) -> list[IndexRow]:
        """All rows, by place of the image, then in the order in which its targets were added."""
        return [row for id in sorted(self._rows, key=self.places.__getitem__) for row in self._rows[id]]

    def of(self, id: str) -> list[IndexRow]:
        """The rows of one image; none if it is not explained yet."""
        return self._rows.get(id, [])

    def features(self, row: IndexRow) -> Tensor | None:
        """The features ``(3, F)`` of a row's original, counterfactual and end; None without a counterfactual."""
        return self._features.get((row.id, row.target))

    def add(self, rows: Iterable[IndexRow], features: Mapping[tuple[str, str], Tensor]) -> None:
        """Take in all rows of some images, in place of those that they had, and features by id and target."""
        grouped: dict[str, list[IndexRow]] = {}
        for row in rows:
            grouped.setdefault(row.id, []).append(dataclasses.replace(row, image=self.places[row.id]))
        self._rows.update(grouped)
        self._features |= features
        self._changed |= bool(grouped)

    def save(self) -> None:
        """Write all files, if rows were added."""
        if not self._changed:
            return
        rows = self.rows
        # the table that work is continued from comes last: it never knows more than the other
        write_features(self.folder / "features.safetensors", self._features)
        write_csv(self.folder / "index.csv", COLUMNS, map(dataclasses.astuple, rows))
        write_parquet(self.folder / "index.parquet", rows)
        self._changed = False


def write_parquet(path: str | Path, rows: Sequence[IndexRow]) -> None:
    """Write rows as Parquet, atomically, with the same column types whatever they hold."""
    table = pa.Table.from_pylist([dataclasses.asdict(row) for row in rows], schema=SCHEMA)
    with atomic_path(path) as temporary:
        pq.write_table(table, temporary, write_page_checksum=True)


def write_features(path: Path, features: Mapping[tuple[str, str], Tensor]) -> None:
    """Write features ``(3, F)`` by id and target into one safetensors file."""
    keys = torch.frombuffer(bytearray(json.dumps(list(features)), "utf-8"), dtype=torch.uint8)
    values = torch.stack(list(features.values())) if features else torch.empty(0, 3, 0)
    write_tensors(path, {"keys": keys, "features": values}, "features", {})


def read_features(path: Path) -> dict[tuple[str, str], Tensor]:
    """What ``write_features`` wrote; nothing if the file is not there.

    Raises:
        UserError: if the file cannot be read.
    """
    if not path.exists():
        return {}
    try:
        tensors = read_tensors(path, "features")[1]
        keys = json.loads(bytes(tensors["keys"].tolist()))
    except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
        raise UserError(f"'{path}' cannot be read ({error}): start anew with overwrite=true.") from error
    return {(id, target): triple for (id, target), triple in zip(keys, tensors["features"], strict=True)}


def read_index(path: str | Path) -> list[IndexRow]:
    """Rows of ``index.parquet``; none if it is not there.

    Raises:
        UserError: if the file cannot be read, or has other columns than this version of the program writes.
    """
    path = Path(path)
    if not path.exists():
        return []
    try:
        table = read_parquet(path, MOST_TEXT)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise UserError(f"'{path}' cannot be read ({error}): start anew with overwrite=true.") from error
    if tuple(table.column_names) != COLUMNS:
        raise UserError(f"'{path}' was written by another version of the program: start anew with overwrite=true.")
    rows = [IndexRow(**row) for row in table.to_pylist()]
    with damaged(path, "an index", "`traverse` makes it anew with overwrite=true"):
        for row in rows:
            for name in _FILES:
                check_inside(getattr(row, name) or "")
    return rows


def rows_to_continue(folder: Path, identity: Mapping[str, Any]) -> list[IndexRow]:
    """Rows that an earlier call left in the folder, if it did the same work; notes down what this work is.

    Args:
        folder: of the index.
        identity: everything that the rows depend on, by name of the option or model.

    Raises:
        UserError: if the earlier rows were made otherwise; names what differs.
    """
    rows = read_index(folder / "index.parquet")
    begun = bool(rows) or any((folder / SHARDS).glob("*.parquet"))
    continue_work(folder, identity, "traverse.folder", begun=begun, changed=changed_work)
    return rows
