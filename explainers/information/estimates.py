"""From the table of an image to one quantity of every window, with its standard error and bias correction."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch import Tensor

from cae.errors import UserError, did_you_mean
from cae.metrics.log_odds import log_complement
from explainers.information import quantities
from explainers.information.marginalisation import InformationTable

UNRELIABLE = 0.5  # nats of standard error from which a window is flagged, and not corrected
BIASES = ("none", "delta", "jackknife")


@dataclass(frozen=True)
class Quantity:
    """What is estimated from the table.

    Attributes:
        name: one of ``QUANTITIES``.
        rival: the class that ``contrast`` compares with.
        group: the classes of ``group_pmi``.
        examples: training images that ``woe`` is smoothed for; infinite for no smoothing.
        bias: which correction is made: ``delta`` and ``jackknife``; ``none`` computes that of ``delta`` for the extras.
        published: use the epsilons of the authors' program.
    """

    name: str
    rival: int = 0
    group: Sequence[int] = ()
    examples: float = math.inf
    bias: str = "none"
    published: bool = False


@dataclass(frozen=True, eq=False)
class Estimate:
    """One quantity of M windows.

    Attributes:
        value: ``(M,)`` float64, as estimated.
        se: ``(M,)`` Monte-Carlo standard error, None for a single in-fill or where no formula is known.
        corrected: ``(M,)`` without the bias of a logarithm of a mean, None where no formula is known.
        unreliable: ``(M,)`` bool, where the standard error is too large to correct anything.
    """

    value: Tensor
    se: Tensor | None
    corrected: Tensor | None
    unreliable: Tensor


def estimate(table: InformationTable, quantity: Quantity) -> Estimate:
    """Estimate one quantity from the table.

    Raises:
        UserError: for a quantity that does not exist.
    """
    check_quantity(quantity.name)
    value_of, error_of = _VALUES[quantity.name], _ERRORS.get(quantity.name)
    value = value_of(table, table.log_q, quantity)
    se = error_of(table, quantity) if error_of and table.sampled else None
    unreliable = (se if se is not None else value * 0) > UNRELIABLE
    corrected = None
    if table.sampled and quantity.name in _CORRECTED:
        log_q = table.jackknife
        if quantity.bias != "jackknife":
            log_q = table.log_q + quantities.log_mean_bias(table.relative_variance, table.n_used)
        corrected = value_of(table, log_q, quantity).where(~unreliable, value)
    return Estimate(value, se, corrected, unreliable)


def check_quantity(name: str) -> None:
    """Raise a UserError for a name that is no quantity."""
    if name not in QUANTITIES:
        near = did_you_mean(name, QUANTITIES)
        raise UserError(f"`quantity` must be one of {', '.join(QUANTITIES)}, but is {name!r}{near}.")


def _pmi(table: InformationTable, log_q: Tensor, quantity: Quantity) -> Tensor:
    """Of all classes, ``(M, K)``."""
    return (quantities.published_pmi if quantity.published else quantities.pmi)(table.log_p, log_q)


_VALUES: dict[str, Callable[[InformationTable, Tensor, Quantity], Tensor]] = {
    "pmi": lambda t, log_q, ask: _pmi(t, log_q, ask)[:, t.target],
    "ig": lambda t, log_q, ask: quantities.information_gain(t.log_p, _pmi(t, log_q, ask)),
    "ig_terms": lambda t, log_q, ask: quantities.information_gain_terms(t.log_p, _pmi(t, log_q, ask))[:, t.target],
    "ig_binary": lambda t, log_q, _: quantities.binary_information_gain(t.log_p, log_q, t.target),
    "woe": lambda t, log_q, ask: quantities.weight_of_evidence(t.log_p, log_q, t.target, ask.examples),
    "delta_p": lambda t, log_q, _: quantities.difference(t.log_p, log_q)[:, t.target],
    "contrast": lambda t, log_q, ask: quantities.contrast(_pmi(t, log_q, ask), t.target, ask.rival),
    "entropy_change": lambda t, log_q, _: quantities.entropy_change(t.log_p, log_q),
    "patch_mi": lambda t, log_q, _: quantities.patch_information(log_q, t.mean_entropy),
    "group_pmi": lambda t, log_q, ask: quantities.group_pmi(t.log_p, log_q, ask.group),
}
QUANTITIES = tuple(_VALUES)
# linear in log q, whose bias is known
_CORRECTED = ("pmi", "ig", "ig_terms", "contrast")


def _pmi_error(table: InformationTable) -> Tensor:
    return quantities.log_mean_error(table.relative_variance, table.n_used)[:, table.target]


def _binary_error(table: InformationTable) -> Tensor:
    y = table.target
    log_not_p, log_not_q = log_complement(table.log_p, y), log_complement(table.log_q, y)
    # d IG / d log q = -p + q (1 - p) / (1 - q)
    slope = (table.log_q[:, y] + log_not_p - log_not_q).exp() - table.log_p[y].exp()
    return slope.abs() * _pmi_error(table)


def _woe_error(table: InformationTable) -> Tensor:
    # d log odds / d log q = 1 / (1 - q)
    return _pmi_error(table) * (-log_complement(table.log_q, table.target)).exp() / math.log(2)


def _contrast_error(table: InformationTable, rival: int) -> Tensor:
    variance, covariance = table.relative_variance, table.relative_covariance
    return quantities.contrast_error(variance[:, table.target], variance[:, rival], covariance[:, rival], table.n_used)


_ERRORS: dict[str, Callable[[InformationTable, Quantity], Tensor]] = {
    "pmi": lambda t, _: _pmi_error(t),
    "ig": lambda t, _: t.se_ig,
    "ig_terms": lambda t, _: t.log_p[t.target].exp() * _pmi_error(t),
    "ig_binary": lambda t, _: _binary_error(t),
    "woe": lambda t, _: _woe_error(t),
    "delta_p": lambda t, _: t.log_q[:, t.target].exp() * _pmi_error(t),
    "contrast": lambda t, ask: _contrast_error(t, ask.rival),
    "entropy_change": lambda t, _: t.se_entropy,
}
