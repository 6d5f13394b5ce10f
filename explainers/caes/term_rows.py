"""Rows of score terms: each value with its interval, its controls and its tests, or why there is none."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch

from explainers.caes.causation import LEAST_IMAGES
from explainers.caes.result import ScoreTerm
from explainers.caes.score_terms import OF_NCC, TermValues
from explainers.caes.significance import PValues


@dataclass(frozen=True, eq=False)
class Controls:
    """Terms of other masks than those that are scored: displaced copies, blobs of equal area, the complement, the empty
    and the full mask."""

    rolled: Sequence[TermValues]
    blobs: Sequence[TermValues]
    complement: TermValues
    empty: TermValues
    full: TermValues


@dataclass(frozen=True)
class TermTests:
    """P values by test and term."""

    roll: PValues = field(default_factory=dict)
    link: PValues = field(default_factory=dict)
    features: PValues = field(default_factory=dict)


def term_row(
    name: str,
    value: float,
    interval: tuple[float | None, float | None],
    controls: Controls,
    tests: TermTests,
    conditional: bool,
) -> ScoreTerm:
    """The row of a term that has a value; ``conditional`` is said of intervals that take the coefficients as given."""
    rolled = torch.tensor([float(copy[name]) for copy in controls.rolled if name in copy])
    blobs = [float(blob[name]) for blob in controls.blobs if name in blob]
    deviation = float(rolled.std()) if len(rolled) > 1 else 0.0
    return ScoreTerm(
        name,
        value,
        *interval,
        conditional=conditional,
        rolled=float(rolled.mean()) if len(rolled) else None,
        excess=(value - float(rolled.mean())) / deviation if deviation > 0 else None,
        blobs=sum(blobs) / len(blobs) if blobs else None,
        complement=_finite(controls.complement, name),
        empty=_finite(controls.empty, name),
        full=_finite(controls.full, name),
        p_roll=tests.roll.get(name),
        p_link=tests.link.get(name),
        p_features=tests.features.get(name),
    )


def why_undefined(name: str, images: int, has_head: bool, has_ncc: bool) -> str:
    """Why a term has no value, in words, for so many images, a linear head or none, and networks or none."""
    if name == "necessity_gain":
        return "no displaced copies were asked for"
    if name in ("caes_do", "ncc_known_direction") and not has_head:
        return "the classifier has no linear head on its features"
    if name in OF_NCC and not has_ncc:
        return "no networks of the causation coefficient were given"
    if name in OF_NCC and images < LEAST_IMAGES:
        return f"{images} images, fewer than {LEAST_IMAGES}"
    return "undefined here: a quantity that it compares does not vary"


def _finite(values: TermValues, name: str) -> float | None:
    """A control's term; None where it is undefined, such as a rank correlation of ratios that are all zero."""
    value = float(values[name]) if name in values else math.nan
    return value if math.isfinite(value) else None
