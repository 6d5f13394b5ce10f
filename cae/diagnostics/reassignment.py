"""Reassignment: does an image take over the class of whoever gives it a class code?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from cae.devices import device_of
from cae.errors import UserError
from cae.metrics.statistics import RESAMPLES, percentile_interval, resample_counts
from cae.models.editing import ResidualEdit


@dataclass(frozen=True)
class SwapJudgement:
    """What the judges say about P swaps: recipient i keeps its individual code, donor j gives its class code.

    ``recipients (P,)`` and ``donors (P,)`` index the images; ``decoded[judge] (P, K)`` are probabilities of the decoded
    swaps, ``residual[judge] (P, K)`` those of the change brought into x_i itself (empty where not asked for);
    ``change (P,)`` is the mean absolute difference of swap and reconstruction, on [0, 1].
    """

    recipients: Tensor
    donors: Tensor
    decoded: dict[str, Tensor]
    residual: dict[str, Tensor]
    change: Tensor


def sample_pairs(
    verdicts: Tensor, count: int, classes: int, seed: int, same_class: bool = False
) -> tuple[Tensor, Tensor]:
    """Recipients and donors spread evenly over all ordered pairs of classes that occur.

    Args:
        verdicts: ``(N,)`` class of each image.
        count: how many pairs in all; fewer come back where a pair of classes has not enough (no pair comes twice).
        classes: number of classes K.
        seed: same seed, same pairs.
        same_class: also pair images of one class with each other (never an image with itself).

    Returns:
        recipient indices and donor indices, both ``(P,)`` int64.

    Raises:
        UserError: where the images leave no pair to draw.
    """
    generator = np.random.default_rng(seed)
    members = [np.flatnonzero(verdicts.cpu().numpy() == k) for k in range(classes)]
    strata = [(a, b) for a in range(classes) for b in range(classes) if a != b or same_class]
    sizes = {(a, b): len(members[a]) * (len(members[b]) - (a == b)) for a, b in strata}
    strata = [stratum for stratum in strata if sizes[stratum] > 0]
    if not strata:
        seen = sum(len(member) > 0 for member in members)
        raise UserError(
            f"no swap between classes can be drawn: the classifier gives {len(verdicts)} images only {seen} "
            "verdict(s). Use more images, or a classifier that tells them apart."
        )
    chosen: list[np.ndarray] = []
    for position, stratum in enumerate(strata):
        share = count // len(strata) + (position < count % len(strata))
        flat = generator.choice(sizes[stratum], size=min(share, sizes[stratum]), replace=False)
        chosen.append(_pairs_of(flat, members[stratum[0]], members[stratum[1]], stratum[0] == stratum[1]))
    recipients, donors = np.concatenate(chosen, axis=1)
    return torch.from_numpy(recipients), torch.from_numpy(donors)


def _pairs_of(flat: np.ndarray, recipients: np.ndarray, donors: np.ndarray, same: bool) -> np.ndarray:
    rows, columns = np.divmod(flat, len(donors) - same)
    if same:  # leave the diagonal out
        columns = columns + (columns >= rows)
    return np.stack([recipients[rows], donors[columns]])


def reassignment_matrix(
    recipient_verdicts: Tensor, donor_verdicts: Tensor, swap_verdicts: Tensor, classes: int
) -> Tensor:
    """R[a, b]: share of swaps judged as b, of those from a recipient of class a and a donor of class b.

    Returns:
        ``(K, K)`` float64 in [0, 1]; NaN where no such swap was judged.
    """
    return _cell_means(recipient_verdicts, donor_verdicts, (swap_verdicts == donor_verdicts).double(), classes)


def soft_reassignment_matrix(
    recipient_verdicts: Tensor, donor_verdicts: Tensor, swap_probabilities: Tensor, classes: int
) -> Tensor:
    """The same with the mean probability ``(P, K)`` of the donor's class in place of the verdict."""
    values = swap_probabilities.double().gather(1, donor_verdicts[:, None])[:, 0]
    return _cell_means(recipient_verdicts, donor_verdicts, values, classes)


def _cell_means(rows: Tensor, columns: Tensor, values: Tensor, classes: int) -> Tensor:
    cells = rows * classes + columns
    total = torch.zeros(classes * classes, dtype=torch.float64).index_add_(0, cells, values)
    number = torch.bincount(cells, minlength=classes * classes)
    return (total / number).reshape(classes, classes)


def reassignment_rate(matrix: Tensor) -> float:
    """Mean of R[a, b] over a != b: how reliably a class code carries its class into images of other classes."""
    return float(matrix[~torch.eye(len(matrix), dtype=torch.bool)].nanmean())


def retention(matrix: Tensor) -> float:
    """Mean of R[a, a]: how reliably an image keeps its class under a code of the same class."""
    return float(matrix.diagonal().nanmean())


def reassignment_interval(
    recipients: Tensor, donors: Tensor, verdicts: Tensor, hits: Tensor, seed: int = 0, level: float = 0.95
) -> tuple[float, float]:
    """Bootstrap interval of ``pervasiveness`` over recipients and donors at once.

    A pair counts as often as its recipient times its donor was drawn; images are redrawn within their class, so that
    no class vanishes.

    Args:
        recipients: ``(P,)`` indices into ``verdicts``.
        donors: ``(P,)`` likewise.
        verdicts: ``(N,)`` class of each image.
        hits: ``(P,)`` whether the swap was judged as the donor's class.

    Reference: Owen 2007, "The pigeonhole bootstrap", Annals of Applied Statistics 1(2) (conservative for two-way data).
    """
    generator = np.random.default_rng(seed)
    recipient, donor, verdict = recipients.numpy(), donors.numpy(), verdicts.cpu().numpy()
    weights = _resampled(recipient, verdict, generator) * _resampled(donor, verdict, generator)  # (R, P)
    cells = verdict[recipient] * (verdict.max() + 1) + verdict[donor]
    across = verdict[recipient] != verdict[donor]
    if not across.any():
        return float("nan"), float("nan")
    _, column = np.unique(cells[across], return_inverse=True)
    member = np.eye(column.max() + 1)[column]  # (P, cells)
    weight = weights[:, across]
    with np.errstate(invalid="ignore", divide="ignore"):
        rates = (weight * hits.numpy()[across]) @ member / (weight @ member)
    return percentile_interval(np.nanmean(rates, axis=1), level)


def _resampled(indices: np.ndarray, verdicts: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """How often the image of each pair is drawn, ``(RESAMPLES, P)``."""
    unique, position = np.unique(indices, return_inverse=True)
    counts = np.zeros((RESAMPLES, len(unique)))
    for k in np.unique(verdicts[unique]):
        members = np.flatnonzero(verdicts[unique] == k)
        counts[:, members] = resample_counts(len(members), RESAMPLES, generator)
    return counts[:, position]


@torch.no_grad()
def judge_swaps(
    cae: Any,
    judges: Mapping[str, Any],
    images: Tensor,
    pairs: tuple[Tensor, Tensor],
    batch_size: int = 64,
    residual: bool = False,
    class_codes: Tensor | None = None,
) -> SwapJudgement:
    """Decode the swaps of all pairs and let every judge score them; each image is encoded and reconstructed once.

    Args:
        cae: ``encode(images) -> Codes`` and ``decode(class_code, individual_code) -> images``.
        judges: classifiers by name, each with ``probabilities(images) -> (B, K)``.
        images: ``(N, C, H, W)`` in [0, 1], on the device of the networks or on the CPU.
        pairs: recipient and donor indices, each ``(P,)``.
        batch_size: images in one forward pass.
        residual: judge the change brought into the recipients themselves (``cae.models.editing``) as well.
        class_codes: ``(P, D)`` codes to use in place of the donors' (for baselines).
    """
    device = device_of(cae)
    recipient, donor = pairs
    if class_codes is None:
        used, position = torch.unique(donor, return_inverse=True)
        parts = [cae.encode(images[rows].to(device)).class_code.cpu() for rows in used.split(batch_size)]
        class_codes = torch.cat(parts)[position]
    decoded: dict[str, list[Tensor]] = {name: [] for name in judges}
    onto: dict[str, list[Tensor]] = {name: [] for name in judges}
    change: list[Tensor] = []
    for rows in torch.arange(len(recipient)).split(batch_size):
        transfer = ResidualEdit(cae, images[recipient[rows]].to(device), batch_size)
        here, codes = torch.arange(len(rows), device=device), class_codes[rows].to(device)
        swaps = transfer.decoded(here, codes)
        change.append((swaps - transfer.reconstructions).abs().flatten(1).mean(1).cpu())
        for name, judge in judges.items():
            decoded[name].append(judge.probabilities(swaps).cpu())
        if residual:
            edited = transfer.onto(here, codes).clamp(0, 1)
            for name, judge in judges.items():
                onto[name].append(judge.probabilities(edited).cpu())
    joined = {name: torch.cat(parts) for name, parts in decoded.items()}
    residuals = {name: torch.cat(parts) for name, parts in onto.items() if parts}
    return SwapJudgement(recipient, donor, joined, residuals, torch.cat(change))


def measure_reassignment(
    cae: Any,
    judges: Mapping[str, Any],
    images: Tensor,
    verdicts: Tensor,
    pairs: tuple[Tensor, Tensor],
    batch_size: int = 64,
    residual: bool = False,
) -> dict[str, Tensor]:
    """Reassignment matrices ``(K, K)`` of each judge: ``name`` for decoded swaps, ``name/residual`` for residual ones.

    Args:
        images: ``(N, C, H, W)`` in [0, 1].
        verdicts: ``(N,)`` the target classifier's verdicts, which name the rows and columns whoever judges.
        pairs: of ``sample_pairs``; other arguments as in ``judge_swaps``.
    """
    judged = judge_swaps(cae, judges, images, pairs, batch_size, residual)
    return matrices(judged, verdicts)


def matrices(judged: SwapJudgement, verdicts: Tensor) -> dict[str, Tensor]:
    """Reassignment matrices of judged swaps, keyed as in ``measure_reassignment``."""
    rows, columns = verdicts.cpu()[judged.recipients], verdicts.cpu()[judged.donors]
    scored = {**judged.decoded, **{f"{name}/residual": scores for name, scores in judged.residual.items()}}
    return {
        name: reassignment_matrix(rows, columns, scores.argmax(1), scores.shape[1]) for name, scores in scored.items()
    }
