"""The table behind all information maps: class probabilities with each window marginalised over an in-fill."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from cae.errors import UserError
from explainers.infills.base import Sampler
from explainers.infills.windows import Windows
from explainers.information.quantities import entropy, jackknife_log_mean

ROUND = 4  # draws of a window between two looks at its standard error
CHUNK = 512  # in-fills held at once, about


@dataclass(frozen=True, eq=False)
class InformationTable:
    """What one pass over the windows of an image gives; every quantity is a function of it. All tensors on the CPU.

    Attributes:
        windows: M windows.
        target: class y that covariances are kept for.
        log_p: ``(K,)`` float64, log-probabilities of the image.
        log_q: ``(M, K)`` float64, log of the mean over N in-fills of the probabilities p_n.
        relative_variance: ``(M, K)``, unbiased variance over the in-fills of p_n / q; 0 for a single one.
        relative_covariance: ``(M, K)``, the same with p_n(y) / q(y).
        se_ig: ``(M,)`` nats, standard error of the information gain.
        se_entropy: ``(M,)`` nats, that of H(q).
        mean_entropy: ``(M,)`` nats, mean over the in-fills of the entropy of p_n.
        jackknife: ``(M, K)``, jackknife estimate of log E[p_n], equal to log_q where N is below 3.
        n_used: ``(M,)`` int64, in-fills of each window.
        forwards: images scored.
        clamped: probabilities that a black box gave as 0 or too small to take a logarithm of.
    """

    windows: Windows
    target: int
    log_p: Tensor
    log_q: Tensor
    relative_variance: Tensor
    relative_covariance: Tensor
    se_ig: Tensor
    se_entropy: Tensor
    mean_entropy: Tensor
    jackknife: Tensor
    n_used: Tensor
    forwards: int
    clamped: int = 0

    @property
    def sampled(self) -> bool:
        """Whether there is a spread over in-fills, and so a standard error."""
        return bool((self.n_used > 1).all())


def summarise(rows: Tensor, log_p: Tensor, target: int) -> dict[str, Tensor]:
    """Columns of the table for M windows.

    Args:
        rows: ``(M, N, K)`` float64 log-probabilities of each in-fill.
        log_p: ``(K,)`` of the image.
        target: class whose covariances are kept.
    """
    n = rows.shape[1]
    log_q = rows.logsumexp(1) - math.log(n)
    ratios = (rows - log_q[:, None]).exp()  # p_n / q, in [0, N]
    deviations = ratios - 1
    # p/q p_n = p (p_n / q), which never divides by a probability that underflows
    weights = deviations @ log_p.exp()  # (M, N)
    entropies = _weighted(deviations, log_q)
    free = max(n - 1, 1)
    return {
        "log_q": log_q,
        "relative_variance": (deviations**2).sum(1) / free,
        "relative_covariance": (deviations * deviations[..., target, None]).sum(1) / free,
        "se_ig": (weights.square().sum(1) / free / n).sqrt(),
        "se_entropy": (entropies.square().sum(1) / free / n).sqrt(),
        "mean_entropy": entropy(rows).mean(1),
        "jackknife": jackknife_log_mean(log_q, ratios) if n >= 3 else log_q,
        "n_used": torch.full((len(rows),), n, device=rows.device),
    }


def _weighted(deviations: Tensor, log_q: Tensor) -> Tensor:
    """``sum_y (p_n(y) - q(y)) log q(y)`` for each in-fill ``(M, N)``: the linear part of the change of H(q)."""
    terms = log_q.exp() * log_q.clamp_min(torch.finfo(log_q.dtype).min)
    return (deviations @ terms[..., None])[..., 0]


class InformationEngine:
    """Scores an image with each of its windows replaced by draws of an in-fill.

    Args:
        logits: from images ``(B, C, H, W)`` to logits ``(B, K)``.
        sampler: the in-fill.
        batch_size: images in one call of ``logits`` at most.
        floor: log-probabilities that are not above it count as clamped; for black boxes that give probabilities.
    """

    def __init__(
        self,
        logits: Callable[[Tensor], Tensor],
        sampler: Sampler,
        *,
        batch_size: int = 64,
        floor: float = -math.inf,
    ):
        self.logits, self.sampler, self.batch_size, self.floor = logits, sampler, batch_size, floor

    @torch.inference_mode()
    def image_log_probabilities(self, image: Tensor) -> Tensor:
        """Log-probabilities ``(K,)`` float64 of an image ``(C, H, W)``; one evaluation."""
        return _log_softmax(self.logits(image[None]))[0]

    @torch.inference_mode()
    def run(
        self,
        image: Tensor,
        log_p: Tensor,
        target: int,
        windows: Windows,
        samples: int,
        generators: Sequence[torch.Generator],
        *,
        tolerance: float | None = None,
        budget: int | None = None,
    ) -> InformationTable:
        """Fill the table for one image.

        Args:
            image: ``(C, H, W)`` in [0, 1]; not written to.
            log_p: ``(K,)`` of the image.
            target: the class explained.
            windows: to marginalise.
            samples: draws of each window; one is taken of a deterministic in-fill.
            generators: one for each window.
            tolerance: draw four at a time until the standard error of the target's PMI, in nats, is below it, and
                ``samples`` at most.
            budget: evaluations at most, where the number of draws adapts.
        """
        samples = 1 if self.sampler.deterministic else samples
        buffer = image.expand(self.batch_size, *image.shape).clone()
        if tolerance is None or samples <= ROUND:
            parts = [
                summarise(self._rows(image, buffer, windows[chunk], samples, generators[chunk]), log_p, target)
                for chunk in self._chunks(len(windows), samples)
            ]
            columns = {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
        else:
            columns = self._adaptive(image, buffer, log_p, target, windows, samples, generators, tolerance, budget)
        columns = {name: column.cpu() for name, column in columns.items()}
        clamped = int((columns["log_q"] <= self.floor).sum() + (log_p <= self.floor).sum())
        forwards = int(columns["n_used"].sum())
        return InformationTable(windows, target, log_p.cpu(), **columns, forwards=forwards, clamped=clamped)

    def _chunks(self, count: int, samples: int) -> list[slice]:
        """Windows in portions that fill whole batches, never splitting the draws of a window."""
        step = self.batch_size // math.gcd(self.batch_size, samples)
        step *= max(CHUNK // (step * samples), 1)
        return [slice(first, first + step) for first in range(0, count, step)]

    def _adaptive(
        self,
        image: Tensor,
        buffer: Tensor,
        log_p: Tensor,
        target: int,
        windows: Windows,
        samples: int,
        generators: Sequence[torch.Generator],
        tolerance: float,
        budget: int | None,
    ) -> dict[str, Tensor]:
        """Rounds of a few draws, for the windows whose standard error is still too large, the worst ones first."""
        left = math.inf if budget is None else budget - ROUND * len(windows)
        if left < 0:
            raise UserError(
                f"`adaptive` draws {ROUND} in-fills of each of {len(windows)} windows at least, which is more than "
                "`max_evaluations` leaves: use a larger `window` or `stride`, or raise `max_evaluations`."
            )
        rows = list(self._rows(image, buffer, windows, ROUND, generators))
        for drawn in range(ROUND, samples, ROUND):
            errors = torch.stack([_target_error(part, target) for part in rows])
            wanted = [m for m in errors.argsort(descending=True).tolist() if errors[m] >= tolerance]
            more = min(ROUND, samples - drawn)
            wanted = sorted(m for m in wanted[: int(min(left // more, len(wanted)))] if len(rows[m]) == drawn)
            if not wanted:
                break
            left -= more * len(wanted)
            chosen = [generators[m] for m in wanted]
            added = self._rows(image, buffer, windows[torch.tensor(wanted)], more, chosen)
            for m, extra in zip(wanted, added, strict=True):
                rows[m] = torch.cat([rows[m], extra])
        return _summarise_ragged(rows, log_p, target)

    def _rows(
        self, image: Tensor, buffer: Tensor, windows: Windows, n: int, generators: Sequence[torch.Generator]
    ) -> Tensor:
        """Log-probabilities ``(M, n, K)`` float64 of the windows' in-fills."""
        fills = self.sampler.sample(image, windows.tops, windows.size, n, generators).flatten(0, 1)
        offsets = (windows.boxes - windows.tops.repeat(1, 2)).tolist()
        jobs = [(*box, *offset) for box, offset in zip(windows.boxes.tolist(), offsets, strict=True)]
        jobs = [job for job in jobs for _ in range(n)]
        parts = [
            self._score(image, buffer, fills[first : first + self.batch_size], jobs[first : first + self.batch_size])
            for first in range(0, len(jobs), self.batch_size)
        ]
        return _log_softmax(torch.cat(parts)).unflatten(0, (len(windows), n))

    def _score(self, image: Tensor, buffer: Tensor, fills: Tensor, jobs: Sequence[Sequence[int]]) -> Tensor:
        """Logits of one batch: write the patches into copies of the image, score, and put the image back."""
        for place, (y0, x0, y1, x1, v0, u0, v1, u1) in enumerate(jobs):
            buffer[place, :, y0:y1, x0:x1] = fills[place, :, v0:v1, u0:u1]
        scores = self.logits(buffer[: len(jobs)])
        for place, (y0, x0, y1, x1, *_) in enumerate(jobs):
            buffer[place, :, y0:y1, x0:x1] = image[:, y0:y1, x0:x1]
        return scores


def _log_softmax(logits: Tensor) -> Tensor:
    """In double precision, which Apple's accelerator lacks."""
    return (logits.cpu() if logits.device.type == "mps" else logits).double().log_softmax(1)


def _target_error(rows: Tensor, target: int) -> Tensor:
    """Standard error of the target's PMI from ``(N, K)`` log-probabilities of one window."""
    ratios = (rows[:, target] - rows[:, target].logsumexp(0)).exp() * len(rows)
    return ratios.std() / math.sqrt(len(rows))


def _summarise_ragged(rows: Sequence[Tensor], log_p: Tensor, target: int) -> dict[str, Tensor]:
    """Columns of windows ``(N_m, K)`` with different numbers of draws, in order."""
    counts = torch.tensor([len(part) for part in rows])
    places, parts = [], []
    for n in counts.unique().tolist():
        chosen = (counts == n).nonzero()[:, 0].tolist()
        places += chosen
        parts.append(summarise(torch.stack([rows[m] for m in chosen]), log_p, target))
    order = torch.tensor(places).argsort().to(log_p.device)
    return {name: torch.cat([part[name] for part in parts])[order] for name in parts[0]}
