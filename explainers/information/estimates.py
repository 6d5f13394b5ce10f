"""From the table of an image to one readout of every window, with its standard error and bias correction."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch import Tensor

from cae.errors import UserError, did_you_mean
from explainers.information import quantities
from explainers.information.marginalisation import InformationTable

UNRELIABLE = 0.5  # nats of standard error from which a window is flagged, and not corrected
BIASES = ("none", "delta", "jackknife")


@dataclass(frozen=True)
class Quantity:
    """What is read from the table.

    Attributes:
        readout: a name of ``READOUTS``.
        rival: the class that ``contrast`` compares with.
        group: the classes of ``group_pmi``.
        examples: training images that ``woe`` is smoothed for; infinite for no smoothing.
        bias: which correction is made: ``delta`` and ``jackknife``; ``none`` computes that of ``delta`` for the extras.
        published: use the epsilons of the authors' program.
    """

    readout: str
    rival: int = 0
    group: Sequence[int] = ()
    examples: float = math.inf
    bias: str = "none"
    published: bool = False


@dataclass(frozen=True, eq=False)
class Estimate:
    """One readout of M windows.

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


def read(table: InformationTable, question: Quantity) -> Estimate:
    """Read one quantity from the table.

    Raises:
        UserError: for a readout that does not exist.
    """
    check_readout(question.readout)
    value, error = _VALUES[question.readout], _ERRORS.get(question.readout)
    found = value(table, table.log_q, question)
    se = error(table, question) if error and table.sampled else None
    unreliable = (se if se is not None else found * 0) > UNRELIABLE
    corrected = None
    if table.sampled and question.readout in _CORRECTED:
        log_q = table.jackknife
        if question.bias != "jackknife":
            log_q = table.log_q + quantities.log_mean_bias(table.relative_variance, table.n_used)
        corrected = value(table, log_q, question).where(~unreliable, found)
    return Estimate(found, se, corrected, unreliable)


def check_readout(name: str) -> None:
    """Raise a UserError for a name that is no readout."""
    if name not in READOUTS:
        near = did_you_mean(name, READOUTS)
        raise UserError(f"`readout` must be one of {', '.join(READOUTS)}, but is {name!r}{near}.")


def _all_pmi(table: InformationTable, log_q: Tensor, question: Quantity) -> Tensor:
    return (quantities.published_pmi if question.published else quantities.pmi)(table.log_p, log_q)


def _pmi(table: InformationTable, log_q: Tensor, question: Quantity) -> Tensor:
    return _all_pmi(table, log_q, question)[:, table.target]


def _ig(table: InformationTable, log_q: Tensor, question: Quantity) -> Tensor:
    return (table.log_p.exp() * _all_pmi(table, log_q, question)).sum(1)


def _ig_terms(table: InformationTable, log_q: Tensor, question: Quantity) -> Tensor:
    return table.log_p[table.target].exp() * _pmi(table, log_q, question)


def _contrast(table: InformationTable, log_q: Tensor, question: Quantity) -> Tensor:
    values = _all_pmi(table, log_q, question)
    return values[:, table.target] - values[:, question.rival]


_VALUES: dict[str, Callable[[InformationTable, Tensor, Quantity], Tensor]] = {
    "pmi": _pmi,
    "ig": _ig,
    "ig_terms": _ig_terms,
    "ig_binary": lambda t, log_q, _: quantities.binary_information_gain(t.log_p, log_q, t.target),
    "woe": lambda t, log_q, ask: quantities.weight_of_evidence(t.log_p, log_q, t.target, ask.examples),
    "delta_p": lambda t, log_q, _: quantities.difference(t.log_p, log_q)[:, t.target],
    "contrast": _contrast,
    "entropy_change": lambda t, log_q, _: quantities.entropy_change(t.log_p, log_q),
    "patch_mi": lambda t, log_q, _: quantities.patch_information(log_q, t.mean_entropy),
    "group_pmi": lambda t, log_q, ask: quantities.group_pmi(t.log_p, log_q, ask.group),
}
READOUTS = tuple(_VALUES)
# linear in log q, whose bias is known
_CORRECTED = ("pmi", "ig", "ig_terms", "contrast")


def _pmi_error(table: InformationTable, question: Quantity) -> Tensor:
    return quantities.log_mean_error(table.relative_variance, table.n_used)[:, table.target]


def _difference_error(table: InformationTable, question: Quantity) -> Tensor:
    return table.log_q[:, table.target].exp() * _pmi_error(table, question)


def _binary_error(table: InformationTable, question: Quantity) -> Tensor:
    y = table.target
    log_not_p, log_not_q = quantities.log_complement(table.log_p, y), quantities.log_complement(table.log_q, y)
    # d IG / d log q = -p + q (1 - p) / (1 - q)
    slope = (table.log_q[:, y] + log_not_p - log_not_q).exp() - table.log_p[y].exp()
    return slope.abs() * _pmi_error(table, question)


def _woe_error(table: InformationTable, question: Quantity) -> Tensor:
    # d log odds / d log q = 1 / (1 - q)
    return _pmi_error(table, question) * (-quantities.log_complement(table.log_q, table.target)).exp() / math.log(2)


def _contrast_error(table: InformationTable, question: Quantity) -> Tensor:
    variance, rival = table.relative_variance, question.rival
    return quantities.contrast_error(
        variance[:, table.target], variance[:, rival], table.relative_covariance[:, rival], table.n_used
    )


_ERRORS: dict[str, Callable[[InformationTable, Quantity], Tensor]] = {
    "pmi": _pmi_error,
    "ig": lambda t, _: t.se_ig,
    "ig_terms": lambda t, ask: t.log_p[t.target].exp() * _pmi_error(t, ask),
    "ig_binary": _binary_error,
    "woe": _woe_error,
    "delta_p": _difference_error,
    "contrast": _contrast_error,
    "entropy_change": lambda t, _: t.se_entropy,
}
