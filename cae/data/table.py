"""Images listed in a CSV or Parquet file."""

from __future__ import annotations

import csv
import re
import unicodedata
import warnings
from collections import Counter
from pathlib import Path

import pandas as pd

from cae.config import DataConfig
from cae.data.file_listing import natural_order
from cae.data.images import ImageRef
from cae.data.listing import Listing
from cae.data.records import Record, check_size, data_file
from cae.data.splits import ALIASES, SPLITS, raise_problems
from cae.data.types import Splits
from cae.errors import UserError, did_you_mean
from cae.parquet_files import TooLarge, read_parquet

COLUMNS = ("path", "label", "split", "mask", "group")
REQUIRED = ("path", "label")
NO_LABEL = ("nan", "<na>", "n/a", "#n/a", "nat", "null")


def open_table(config: DataConfig) -> Splits:
    """One row per image, in a ``.csv``, ``.tsv`` or ``.parquet`` file; ``data.columns`` names the columns.

    ``path`` (relative to the table; ``scan.nii.gz#12`` is slice 12 of a volume) and ``label`` are needed. Labels are
    names, which give the classes in sorted order, or whole numbers from 0, which give ``class 0``, ``class 1``, ….
    ``split`` holds train, val (or validation) and test; without val it is split off train, and without the column all
    three are. ``mask`` names mask files; an empty cell is no mask. ``group`` (named in ``data.columns``) keeps the
    images of one patient in one split; without it, the slices of one file stay together.

    Raises:
        UserError: one that lists every missing column, unfit cell and unreadable file.
    """
    file = data_file(config, "the CSV or Parquet file that lists the images")
    table = _read(file, config.max_gigabytes, set(config.columns.values()))
    raise_problems(_column_problems(table, config.columns, file))
    problems: list[str] = []
    cells = {key: table[name].tolist() for key, name in config.columns.items() if name in table.columns}
    labels, classes = _labels([_known(cell) for cell in cells["label"]], file, problems)
    parts = _parts(cells.get("split"), len(table), file, problems)
    records = [_record(cells, row, label, file, problems) for row, label in enumerate(labels)]
    by_split = {name: [records[row] for row in rows] for name, rows in parts.items()}
    return Listing(by_split, classes, problems).open(config)


def _read(file: Path, gigabytes: float, used: set[str]) -> pd.DataFrame:
    """The table with every cell as stripped text, empty where there is none, if it is not larger than that."""
    suffix = file.suffix.lower()
    try:
        if suffix in (".parquet", ".pq"):
            table = read_parquet(file, gigabytes * 1e9).to_pandas()
        elif suffix in (".csv", ".tsv"):
            check_size(file, file.stat().st_size, gigabytes)
            separator = _separator(file, "," if suffix == ".csv" else "\t")
            _check_width(file, separator, used)
            # a comma at the end of every line would make the first column an index
            options = {"dtype": str, "keep_default_na": False, "encoding": "utf-8-sig", "index_col": False}
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", pd.errors.ParserWarning)  # cells beyond the heading are empty
                table = pd.read_csv(file, sep=separator, **options)
        else:
            raise ValueError(f"its name must end in .csv, .tsv or .parquet, but ends in {suffix!r}")
    except TooLarge as error:
        check_size(file, error.size, gigabytes)
        raise
    except UnicodeDecodeError as error:
        raise UserError(
            f"cannot read the table '{file}': its text is not in UTF-8 ({error.reason} at byte {error.start}): save it "
            "anew in that encoding."
        ) from error
    except (OSError, ValueError) as error:  # pandas' and pyarrow's own errors are ValueErrors
        raise UserError(f"cannot read the table '{file}': {error}.") from error
    table.columns = [str(name).strip() for name in table.columns]
    return table.apply(lambda column: column.map(lambda cell: "" if pd.isna(cell) else str(cell).strip()))


def _separator(file: Path, usual: str) -> str:
    """What separates the cells: the usual mark, unless the heading holds another alone, as spreadsheets may write."""
    with file.open(encoding="utf-8-sig", newline="") as lines:
        heading = lines.readline()
    found = [mark for mark in (",", ";", "\t") if mark in heading]
    return found[0] if len(found) == 1 else usual


def _check_width(file: Path, separator: str, used: set[str]) -> None:
    """Refuse rows of more cells than the heading, as a name with a comma in it makes, and used columns of one name.

    Raises:
        UserError: that lists them.
    """
    with file.open(encoding="utf-8-sig", newline="") as lines:
        rows = csv.reader(lines, delimiter=separator)
        heading = [cell.strip() for cell in next(rows, [])]
        twice = [name for name, count in Counter(heading).items() if count > 1 and name in used]
        raise_problems([f"'{file}' has {name!r} more than once in its heading: which one is meant?" for name in twice])
        width = len(heading)
        wide = [(number, row) for number, row in enumerate(rows) if any(cell.strip() for cell in row[width:])]
    raise_problems(
        [
            f"{_row(file, number)}: {len(row)} cells, but the heading has {width}: put a cell that holds {separator!r} "
            f"into quotes ({separator.join(row)})."
            for number, row in wide
        ]
    )


def _column_problems(table: pd.DataFrame, columns: dict[str, str], file: Path) -> list[str]:
    problems = [
        f"`data.columns.{key}`: unknown kind of column{did_you_mean(key, COLUMNS)}; known are {', '.join(COLUMNS)}."
        for key in columns
        if key not in COLUMNS
    ]
    present = ", ".join(map(str, table.columns))
    for key, name in columns.items():
        # the optional columns have default names; a name that the user chose must exist
        if name not in table.columns and (key in REQUIRED or name != key):
            hint = did_you_mean(name, map(str, table.columns))
            problems.append(f"'{file}' has no column {name!r} (`data.columns.{key}`){hint}; its columns are {present}.")
    if not len(table):
        problems.append(f"the table '{file}' has no rows.")
    return problems


def _known(label: str) -> str:
    """The label, empty where it is only what a program writes for a missing one."""
    return "" if label.lower() in NO_LABEL else label


def _labels(cells: list[str], file: Path, problems: list[str]) -> tuple[list[int], tuple[str, ...]]:
    """Labels as indices, and the class names."""
    problems += [f"{_row(file, row)}: no label." for row, cell in enumerate(cells) if not cell]
    # "1.0" is what a whole number becomes beside an empty cell
    numbers = [re.fullmatch(r"([+-]?\d+)(?:\.0+)?", cell) for cell in cells]
    if not any(numbers):
        names = sorted({cell for cell in cells if cell}, key=natural_order)
        return [names.index(cell) if cell else -1 for cell in cells], tuple(names)
    for row, (cell, number) in enumerate(zip(cells, numbers, strict=True)):
        if cell and (number is None or int(number[1]) < 0):
            problems.append(
                f"{_row(file, row)}: the label must be a whole number from 0, like others, but is {cell!r}."
            )
    values = [-1 if number is None else max(int(number[1]), -1) for number in numbers]
    known = sorted({value for value in values if value >= 0})
    return [known.index(value) if value >= 0 else -1 for value in values], tuple(f"class {value}" for value in known)


def _parts(cells: list[str] | None, count: int, file: Path, problems: list[str]) -> dict[str, list[int]]:
    """Rows of each split, or all of them under ``all`` where there is no split column."""
    if cells is None:
        return {"all": list(range(count))}
    parts: dict[str, list[int]] = {}
    for row, cell in enumerate(cells):
        split = ALIASES.get(cell.lower(), cell.lower())
        if split in SPLITS:
            parts.setdefault(split, []).append(row)
        else:
            hint = did_you_mean(split, SPLITS)
            problems.append(f"{_row(file, row)}: the split must be train, val or test{hint}, but is {cell!r}.")
    for name in ("train", "test"):
        if name not in parts:
            problems.append(f"'{file}' has no row of the {name} split: name some, or leave the split column out.")
    return parts


def _record(cells: dict[str, list[str]], row: int, label: int, file: Path, problems: list[str]) -> Record:
    path = cells["path"][row]
    if not path:
        problems.append(f"{_row(file, row)}: no path.")
    image = _present(ImageRef.parse(path, file.parent))
    mask_path = cells["mask"][row] if "mask" in cells else ""
    mask = _present(ImageRef.parse(mask_path, file.parent)) if mask_path else None
    if mask is not None and mask.slice is None and mask.path.name.lower().endswith((".nii", ".nii.gz")):
        mask = ImageRef(mask.path, image.slice)  # the mask of a volume is read where its image is
    group = cells["group"][row] if "group" in cells else ""
    file_alone = path if image.slice is None else path.rpartition("#")[0]
    return Record(image, path, label, mask, group or file_alone)


def _present(ref: ImageRef) -> ImageRef:
    """The file of this name in whichever form of Unicode it is written on the disk."""
    if ref.path.exists():
        return ref
    forms = (Path(unicodedata.normalize(form, str(ref.path))) for form in ("NFC", "NFD"))
    return ImageRef(next((path for path in forms if path.exists()), ref.path), ref.slice)


def _row(file: Path, row: int) -> str:
    return f"'{file}', row {row + 1}"
