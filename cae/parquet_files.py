"""Parquet files of others: read as far as they take no more memory than is allowed, whatever they say of themselves."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

ROWS = 65_536  # read at once


class TooLarge(ValueError):
    """A table takes more memory than is allowed.

    Args:
        size: bytes that it takes at least.
    """

    def __init__(self, size: int):
        super().__init__(f"it takes {size} bytes or more in memory")
        self.size = size


def read_parquet(path: str | Path, most: float) -> pa.Table:
    """The columns of numbers and texts of a Parquet file; nested ones are left out.

    A text that a file holds once may be the cell of every row: texts are read as the numbers of a dictionary, and what
    they would take is counted before any is written out. Where the file has checksums, they are looked at.

    Args:
        path: the file.
        most: bytes that the table may take in memory.

    Raises:
        TooLarge: if it takes more.
        OSError: if it is no ordinary file, or cannot be read.
        ValueError: if it is no Parquet file (``pyarrow.ArrowInvalid``).
    """
    if not Path(path).is_file():
        raise OSError("it is no ordinary file")
    with pq.ParquetFile(path) as first:
        fields = [field for field in first.schema_arrow if not pa.types.is_nested(field.type)]
        found = first.metadata
    stored = sum(found.row_group(number).total_byte_size for number in range(found.num_row_groups))
    size = max(stored, found.num_rows * sum(_least_bytes(field.type) for field in fields))
    if size > most:
        raise TooLarge(size)
    names, texts = [field.name for field in fields], [field.name for field in fields if _is_text(field.type)]
    batches, size = [], 0
    with pq.ParquetFile(path, read_dictionary=texts, page_checksum_verification=True) as file:
        for batch in file.iter_batches(ROWS, columns=names):
            size += sum(_bytes_written_out(column) for column in batch.columns)
            if size > most:
                raise TooLarge(size)
            batches.append(batch)
        table = pa.Table.from_batches(batches) if batches else file.schema_arrow.empty_table().select(names)
    return table.cast(pa.schema([pa.field(field.name, _plain(field.type)) for field in fields]))


def _is_text(kind: pa.DataType) -> bool:
    return pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_binary(kind)


def _plain(kind: pa.DataType) -> pa.DataType:
    return kind.value_type if pa.types.is_dictionary(kind) else kind


def _least_bytes(kind: pa.DataType) -> int:
    """Of a cell: the width of numbers, or a place of 8 bytes."""
    try:
        return max(8, kind.bit_width // 8)
    except ValueError:
        return 8


def _bytes_written_out(column: pa.Array) -> int:
    """What a column takes once every cell holds its own text."""
    if not pa.types.is_dictionary(column.type):
        return max(column.nbytes, 8 * len(column))
    values = column.dictionary
    if not (_is_text(values.type) or pa.types.is_large_binary(values.type)):
        return 8 * len(column)
    lengths = pc.binary_length(values).cast(pa.int64()).take(column.indices)
    return int(pc.sum(lengths).as_py() or 0) + 8 * len(column)
