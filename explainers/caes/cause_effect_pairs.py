"""Synthetic cause-effect pairs, drawn in batches: what the neural causation coefficient is trained on.

Reference: Lopez-Paz, Nishihara, Chintala, Schölkopf, Bottou 2017, arXiv:1605.08179, section 4.1. The paper leaves four
readings open; the ones taken here are fields of ``PairRecipe``: both ends of the integer ranges are included, noise is
given by its standard deviation, and both splines are monotone (PCHIP) interpolations.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

SMALLEST_DEVIATION = 1e-12  # below it a variable counts as constant


@dataclass(frozen=True)
class PairRecipe:
    """How pairs are drawn.

    Attributes:
        points: observations of one pair.
        components: fewest and most Gaussians of the mixture that the cause is drawn from.
        spread: largest scale of the mixture's means and standard deviations.
        knots: fewest and most knots of the mechanism and of the noise amplitude.
        noise: largest standard deviation of the noise.
        amplitude: largest value of the noise amplitude at a knot.
    """

    points: int = 100
    components: tuple[int, int] = (1, 5)
    spread: float = 5.0
    knots: tuple[int, int] = (4, 5)
    noise: float = 5.0
    amplitude: float = 5.0


@dataclass(frozen=True)
class Pairs:
    """N pairs in which ``cause (N, P)`` brings about ``effect (N, P)``, both standardised, and what made them.

    ``signal (N, P)`` is the standardised mechanism at the cause, ``amplitude (N, P)`` the noise amplitude there, and
    ``noise (N, P)`` the noise before it: ``effect`` is ``signal + amplitude * noise``, standardised.
    """

    cause: Tensor
    effect: Tensor
    signal: Tensor
    amplitude: Tensor
    noise: Tensor


def draw_pairs(count: int, generator: torch.Generator, recipe: PairRecipe | None = None) -> Pairs:
    """Draw ``count`` pairs; the same generator state gives the same pairs."""
    recipe = recipe or PairRecipe()
    cause = standardised(_mixture(count, generator, recipe))
    low, high = cause.amin(1, keepdim=True) - 1, cause.amax(1, keepdim=True) + 1  # the standard deviation is 1
    place = (cause - low) / (high - low)  # in (0, 1) of the splines' common support
    knots = torch.randint(recipe.knots[0], recipe.knots[1] + 1, (count,), generator=generator)
    most = recipe.knots[1]
    values = torch.randn(count, most, generator=generator)
    heights = recipe.amplitude * torch.rand(count, most, generator=generator)
    signal, amplitude = torch.empty_like(cause), torch.empty_like(cause)
    for number in range(recipe.knots[0], most + 1):
        rows = knots == number
        signal[rows] = monotone_spline(values[rows, :number], place[rows])
        amplitude[rows] = monotone_spline(heights[rows, :number], place[rows])
    signal = standardised(signal)
    deviation = recipe.noise * torch.rand(count, 1, generator=generator)
    noise = deviation * torch.randn(count, recipe.points, generator=generator)
    return Pairs(cause, standardised(signal + amplitude * noise), signal, amplitude, noise)


def labelled_clouds(cause: Tensor, effect: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Clouds of points with the probability that their second variable causes the first.

    Args:
        cause: ``(N, P)``.
        effect: ``(N, P)``.
        generator: of the permutations.

    Returns:
        Clouds ``(3 N, P, 2)`` and labels ``(3 N,)`` as floats: (cause, effect) 0, (effect, cause) 1, and a copy with
        the cause permuted over the points, in which nothing causes anything: 1/2; every other copy is exchanged.
    """
    shuffled = permuted(cause, generator)
    exchanged = torch.arange(len(cause), device=cause.device)[:, None] % 2 == 1
    copies = (torch.where(exchanged, effect, shuffled), torch.where(exchanged, shuffled, effect))
    orders = [(cause, effect), (effect, cause), copies]
    clouds = torch.cat([torch.stack(order, dim=2) for order in orders])
    labels = torch.tensor([0.0, 1.0, 0.5], device=cause.device).repeat_interleave(len(cause))
    return clouds, labels


def permuted(values: Tensor, generator: torch.Generator) -> Tensor:
    """Each row of ``values (N, P)`` in a random order of its own."""
    keys = torch.rand(values.shape, generator=generator).to(values.device)
    return values.gather(1, keys.argsort(1))


def standardised(values: Tensor) -> Tensor:
    """``values (…, P)`` with mean 0 and (population) standard deviation 1 along the last axis; constant rows give 0."""
    centred = values - values.mean(-1, keepdim=True)
    centred = centred - centred.mean(-1, keepdim=True)  # once more: the first mean is rounded on the scale of `values`
    deviation = centred.square().mean(-1, keepdim=True).sqrt()
    return centred / deviation.clamp_min(SMALLEST_DEVIATION)


def monotone_spline(values: Tensor, place: Tensor) -> Tensor:
    """Monotone cubic Hermite interpolation between equally spaced knots.

    Args:
        values: ``(N, K)`` at the knots 0, 1/(K-1), …, 1, with K at least 3.
        place: ``(N, P)`` in [0, 1], where to evaluate.

    Returns:
        ``(N, P)``; never outside the range of the two knots around it.

    Reference: Fritsch, Butland 1984, A method for constructing local monotone piecewise cubic interpolants.
    """
    intervals = values.shape[1] - 1
    scaled = place * intervals  # the knots are one apart
    left = scaled.floor().long().clamp(0, intervals - 1)
    t = scaled - left
    tangents = _monotone_tangents(values)
    y0, y1 = values.gather(1, left), values.gather(1, left + 1)
    m0, m1 = tangents.gather(1, left), tangents.gather(1, left + 1)
    return (
        (1 + 2 * t) * (1 - t) ** 2 * y0 + t * (1 - t) ** 2 * m0 + t**2 * (3 - 2 * t) * y1 + t**2 * (t - 1) * m1
    )  # the four cubic Hermite polynomials


def _monotone_tangents(values: Tensor) -> Tensor:
    """Tangents ``(N, K)`` at knots one apart: harmonic means inside, three-point estimates at the ends."""
    steps = values.diff(dim=1)
    before, after = steps[:, :-1], steps[:, 1:]
    total = before + after
    harmonic = 2 * before * after / torch.where(total == 0, torch.ones_like(total), total)
    inner = torch.where(before * after > 0, harmonic, torch.zeros_like(total))
    first = _end_tangent(steps[:, 0], steps[:, 1])
    last = _end_tangent(steps[:, -1], steps[:, -2])
    return torch.cat([first[:, None], inner, last[:, None]], dim=1)


def _end_tangent(nearest: Tensor, next_one: Tensor) -> Tensor:
    tangent = (3 * nearest - next_one) / 2
    tangent = torch.where(tangent * nearest <= 0, torch.zeros_like(tangent), tangent)
    overshoots = (nearest * next_one < 0) & (tangent.abs() > 3 * nearest.abs())
    return torch.where(overshoots, 3 * nearest, tangent)


def _mixture(count: int, generator: torch.Generator, recipe: PairRecipe) -> Tensor:
    """``(count, points)`` observations, each row from a mixture of Gaussians of its own."""
    fewest, most = recipe.components
    scales = recipe.spread * torch.rand(2, count, 1, generator=generator)
    means = scales[0] * torch.randn(count, most, generator=generator)
    deviations = (scales[1] * torch.randn(count, most, generator=generator)).abs()
    weights = torch.randn(count, most, generator=generator).abs()
    number = torch.randint(fewest, most + 1, (count, 1), generator=generator)
    weights = weights * (torch.arange(most) < number)
    chosen = torch.multinomial(weights, recipe.points, replacement=True, generator=generator)
    noise = torch.randn(count, recipe.points, generator=generator)
    return means.gather(1, chosen) + deviations.gather(1, chosen) * noise
