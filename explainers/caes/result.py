"""What a causal explanation score comes as, and how it is kept."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
from torch import Tensor

from cae.errors import UserError
from cae.files import FAULTS, read_tensors, write_tensors

STATEMENT = "CaES formula not public; terms as defined here."


@dataclass(frozen=True)
class ScoreTerm:
    """One term of the score of one set of masks; what cannot be had is None.

    Attributes:
        name: of ``score_terms.SCORE_TERMS``.
        value: over the images of the class.
        low: lower end of the 95 % bootstrap interval over images.
        high: upper end.
        conditional: whether the interval takes the causation coefficients as given.
        rolled: mean of the term over displaced copies of the masks.
        excess: value minus ``rolled``, in standard deviations over the copies.
        blobs: mean over random blobs of equal area.
        complement: with object and context exchanged.
        empty: of the empty mask.
        full: of the full mask, the ceiling.
        p_roll: of the test whether the place of the masks matters beyond area and shape, one-sided (larger).
        p_link: of the test whether the coefficients matter, the evidence permuted over the images.
        p_features: of a permutation of the features, which are correlated: anti-conservative.
        reason: why the value is None.
    """

    name: str
    value: float | None
    low: float | None = None
    high: float | None = None
    conditional: bool = False
    rolled: float | None = None
    excess: float | None = None
    blobs: float | None = None
    complement: float | None = None
    empty: float | None = None
    full: float | None = None
    p_roll: float | None = None
    p_link: float | None = None
    p_features: float | None = None
    reason: str | None = None


@dataclass(frozen=True)
class Difference:
    """A term of one set of masks minus that of others on the same images, with 95 % interval and swap-test p."""

    name: str
    value: float
    low: float
    high: float
    p_swap: float


@dataclass(frozen=True, eq=False)
class CausalScores:
    """Causal explanation scores of one class and one set of masks.

    Attributes:
        terms: one row each.
        differences: these masks against ``other_masks``; empty without them.
        arrays: per feature, ``(F,)`` each: ``s_o``, ``s_c``, ``s_o_norm`` (by the full mask), ``do_effect``,
            ``anticausal``, ``anticausal_spread`` (where they could be had), ``zeros`` (share of exact zeros),
            ``feature`` (its number).
        facts: number of images, areas, dropped features, settings, quality of the coefficients, flags.
        statement: what these terms are not.
    """

    terms: tuple[ScoreTerm, ...]
    differences: tuple[Difference, ...]
    arrays: Mapping[str, Tensor]
    facts: Mapping[str, Any]
    statement: str = field(default=STATEMENT)

    def __getitem__(self, name: str) -> ScoreTerm:
        """The term of a name.

        Raises:
            KeyError: for another name.
        """
        return {row.name: row for row in self.terms}[name]

    def difference(self, name: str) -> Difference:
        """The difference of a term to the other masks.

        Raises:
            KeyError: where there is none.
        """
        return {row.name: row for row in self.differences}[name]

    def to_frame(self) -> pd.DataFrame:
        """One row per term, its difference to the other masks beside it."""
        frame = pd.DataFrame([dataclasses.asdict(row) for row in self.terms]).set_index("name")
        others = pd.DataFrame([dataclasses.asdict(row) for row in self.differences])
        if len(others):
            frame = frame.join(others.set_index("name").add_prefix("difference_"))
        return frame.reset_index()

    def save(self, path: str | Path) -> None:
        """Write arrays, terms and facts to one safetensors file, atomically; the words stand in its header."""
        words = {
            "statement": self.statement,
            "facts": dict(self.facts),
            "terms": [dataclasses.asdict(row) for row in self.terms],
            "differences": [dataclasses.asdict(row) for row in self.differences],
        }
        write_tensors(path, self.arrays, "causal_scores", words)

    @classmethod
    def load(cls, path: str | Path) -> CausalScores:
        """Read what ``save`` wrote.

        Raises:
            UserError: if the file is damaged or holds something else.
        """
        try:
            words, arrays = read_tensors(path, "causal_scores")
            rows = words["terms"] if "terms" in words else words["readouts"]  # the key of former versions
            return cls(
                tuple(ScoreTerm(**row) for row in rows),
                tuple(Difference(**row) for row in words["differences"]),
                arrays, words["facts"], words["statement"],
            )  # fmt: skip
        except FAULTS as error:
            raise UserError(f"'{path}' cannot be read as causal scores ({error}): make them anew.") from error
