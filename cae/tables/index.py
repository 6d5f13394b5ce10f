"""The table of explained images: one row each in ``index.parquet`` and ``index.csv``, grown and continued safely."""

from __future__ import annotations

import csv
import dataclasses
import json
import time
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
from cae.errors import UserError
from cae.files import atomic_path, read_tensors, write_tensors

LARGEST_SHARE = 0.05  # of the time that goes into writing the index


@dataclass(frozen=True)
class IndexRow:
    """What is known of one image and one target class; the fields are the columns. Absent values are None, never 0.

    Attributes:
        image: place of the image in its split or folder, from 0.
        id: of the image.
        label: class by the data set; None where unknown.
        source: the classifier's verdict on the image.
        target: class to be reached.
        status: ``found``, ``not_found``, ``already_target`` or ``reconstruction_flip``.
        found: whether there is a counterfactual. All further numbers about one are None without it.
        reason: the status in words.
        boundary: share of the path, in (0, 1], after which the decision changes.
        source_probability: of the source class, on the original (decoded output: on the reconstruction).
        target_probability: of the target class there.
        boundary_source_probability: of the source class on the counterfactual.
        boundary_target_probability: of the target class on the counterfactual.
        margin: by which the target's probability leads on the counterfactual; without one, on the closest attempt.
        overshoot: margin beyond the one asked for.
        overshoot_without_bisection: the same at the first point of the grid that reaches the target.
        target_over_source: target's probability minus source's on the counterfactual, minus the margin asked for.
        sign_changes: how often the goal is reached or lost along the path; 1 for a clean one.
        monotone_share: share of the path's steps in which the target's probability does not fall.
        largest_jump: largest change of that probability in one step.
        backtracking: way of that probability beyond that from start to end.
        references: ids of the training images walked to, joined by `` | ``.
        averaged: number of references whose differences were averaged.
        reconstruction_mae: mean absolute error of the reconstruction, on [0, 1].
        l1: mean absolute change of the counterfactual from the original, on [0, 1].
        l2: root of the mean squared change.
        sparsity: share of pixels that change by more than 0.05.
        linf: largest absolute change.
        regions: number of connected regions of the pixels that ``sparsity`` counts.
        ssim: structural similarity with the original, 1 for the same image; None for sides below 11 pixels.
        feature_similarity: cosine of the classifier's features of the original and of the counterfactual.
        diversity: mean absolute difference between the counterfactuals towards several references.
        cout: COUT in [-1, 1]: how soon the classifier follows as pixels are copied, most changed first.
        end_l1: ``l1`` of the image at the end of the path; None, as all of the end, where no path was walked.
        end_sparsity: ``sparsity`` of it.
        end_cout: ``cout`` of it. The counterfactual is barely over the boundary, so that its own is near 0.
        oracle_source: verdict of the oracle on the original; None without an oracle.
        oracle: verdict of the oracle on the counterfactual.
        oracle_agrees: whether that is the target. At the classifier's boundary, which is not the oracle's, even a
            true change convinces the oracle only sometimes; hence the next two.
        oracle_gain: by how much the oracle's probability of the target rises from original to counterfactual.
        oracle_end_agrees: whether the oracle sees the target at the end of the path.
        decoded_agrees: whether the classifier sees the target in the decoder's own image at the boundary.
        dice: overlap of the saliency above Otsu's threshold with the mask; None where no mask shows anything.
        dice_best: the same at the best threshold, which nobody knows: an upper bound.
        dice_area: the same for as many top pixels as the mask has.
        dice_centre: what a map of the image's centre scores in ``dice_area``.
        pointing: whether the largest saliency lies in the mask (a share where several are largest).
        energy: share of the saliency in the mask.
        end_dice: ``dice`` of the evidence, which is the change at the end of the path; also where none was found, and 0
            where the path changes nothing, as all four of the end.
        end_dice_best: ``dice_best`` of the evidence.
        end_pointing: ``pointing`` of the evidence.
        end_energy: ``energy`` of the evidence.
        outside: share of the image's pixels that, at the end of the path, have changed by more than 0.05 and are more
            than 5 pixels off the mask.
        mask_share: share of the image in the mask: what a random map scores in pointing, energy and ``dice_area``.
        classifier_evaluations: images judged in the search.
        decoder_evaluations: images decoded in the search.
        seconds: of the search, pictures and scores left out.
        strip: file of the traversal strip, relative to the index.
        gif: file of the animation, relative to the index.
    """

    image: int
    id: str
    label: str | None
    source: str
    target: str
    status: str
    found: bool
    reason: str
    boundary: float | None
    source_probability: float
    target_probability: float
    boundary_source_probability: float | None
    boundary_target_probability: float | None
    margin: float | None
    overshoot: float | None
    overshoot_without_bisection: float | None
    target_over_source: float | None
    sign_changes: int
    monotone_share: float | None
    largest_jump: float | None
    backtracking: float | None
    references: str
    averaged: int
    reconstruction_mae: float
    l1: float | None
    l2: float | None
    linf: float | None
    sparsity: float | None
    regions: int | None
    ssim: float | None
    feature_similarity: float | None
    diversity: float | None
    cout: float | None
    end_l1: float | None
    end_sparsity: float | None
    end_cout: float | None
    oracle_source: str | None
    oracle: str | None
    oracle_agrees: bool | None
    oracle_gain: float | None
    oracle_end_agrees: bool | None
    decoded_agrees: bool | None
    dice: float | None
    dice_best: float | None
    dice_area: float | None
    dice_centre: float | None
    pointing: float | None
    energy: float | None
    end_dice: float | None
    end_dice_best: float | None
    end_pointing: float | None
    end_energy: float | None
    outside: float | None
    mask_share: float | None
    classifier_evaluations: int
    decoder_evaluations: int
    seconds: float
    strip: str | None
    gif: str | None


COLUMNS = tuple(field.name for field in dataclasses.fields(IndexRow))
_TYPES = {str: pa.string(), int: pa.int64(), float: pa.float64(), bool: pa.bool_()}


def _column_type(annotation: Any) -> pa.DataType:
    kinds = [kind for kind in (typing.get_args(annotation) or (annotation,)) if kind is not type(None)]
    return _TYPES[kinds[0]]


# given in full, so that a column without any value keeps its type
SCHEMA = pa.schema([(name, _column_type(hint)) for name, hint in typing.get_type_hints(IndexRow).items()])


class Index:
    """Rows by image, in data order. Writing takes a small share of the time however many there are.

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
        self._written, self._cost, self._changed = 0.0, 0.0, False
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

    def save(self, now: bool = False) -> None:
        """Write both files if rows were added; without ``now`` only if that takes a small share of the time."""
        elapsed = time.monotonic() - self._written
        if not self._changed or (not now and self._cost > LARGEST_SHARE * elapsed):
            return
        started = time.monotonic()
        rows = self.rows
        # the table that work is continued from comes last: it never knows more than the other
        write_features(self.folder / "features.safetensors", self._features)
        write_csv(self.folder / "index.csv", rows)
        write_parquet(self.folder / "index.parquet", rows)
        self._written, self._changed = time.monotonic(), False
        self._cost = self._written - started


def write_parquet(path: str | Path, rows: Sequence[IndexRow]) -> None:
    """Write rows as Parquet, atomically, with the same column types whatever they hold."""
    table = pa.Table.from_pylist([dataclasses.asdict(row) for row in rows], schema=SCHEMA)
    with atomic_path(path) as temporary:
        pq.write_table(table, temporary)


def write_csv(path: str | Path, rows: Sequence[IndexRow]) -> None:
    """Write rows as CSV, atomically: None is empty, truth values are ``true`` and ``false``, floats are exact."""
    with atomic_path(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        writer.writerows([_cell(value) for value in dataclasses.astuple(row)] for row in rows)


def _cell(value: Any) -> Any:
    return str(value).lower() if isinstance(value, bool) else value


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
    except (SafetensorError, KeyError, ValueError) as error:
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
        table = pq.read_table(path)
    except (pa.ArrowException, OSError) as error:
        raise UserError(f"'{path}' cannot be read ({error}): start anew with overwrite=true.") from error
    if tuple(table.column_names) != COLUMNS:
        raise UserError(f"'{path}' was written by another version of the program: start anew with overwrite=true.")
    return [IndexRow(**row) for row in table.to_pylist()]


def rows_to_continue(folder: Path, identity: Mapping[str, Any]) -> list[IndexRow]:
    """Rows that an earlier call left in the folder, if it did the same work; notes down what this work is.

    Args:
        folder: of the index.
        identity: everything that the rows depend on, by name of the option or model.

    Raises:
        UserError: if the earlier rows were made otherwise; names what differs.
    """
    rows = read_index(folder / "index.parquet")
    continue_work(folder, identity, "traverse.folder", begun=bool(rows))
    return rows
