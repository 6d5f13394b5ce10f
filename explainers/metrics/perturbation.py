"""Removal and restoration of the most relevant parts of one image: units, orders, fills, curves and their areas.

A *unit* is what is removed at once (a pixel, a cell of a grid, a segment). The *order* runs by descending signed value:
supporters first, then neutral units, opponents last. A *curve* is the score over the share of units removed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from explainers.infills import build_fill, everywhere

GRID = 14  # cells along each side: 16 pixels at 224
ERASER_SHARES = (0.01, 0.05, 0.10, 0.20, 0.50)
MOST_FILLED = 0.9  # in-fills need known pixels, so their curves end here
# what the options call fills, each with its name in `explainers.infills`
FILLS = {"gray": "gray", "black": "black", "blur": "blur", "mean": "mean_colour"}

Fill = Callable[[Tensor], Tensor]  # image (C, H, W) to what takes its place
Infill = Callable[[Tensor, Tensor, torch.Generator], Tensor]  # image, removed (N, 1, H, W) bool, noise to (N, C, H, W)


@dataclass(frozen=True, eq=False)
class Units:
    """A partition of the image: ``labels (H, W)`` int64, the number in [0, count) of each pixel's unit."""

    labels: Tensor
    count: int

    def sums(self, values: Tensor) -> Tensor:
        """Sum ``(count,)`` float64 of a map ``(H, W)`` over each unit."""
        total = torch.zeros(self.count, dtype=torch.float64, device=values.device)
        return total.index_add_(0, self.labels.flatten(), values.double().flatten())

    def means(self, values: Tensor) -> Tensor:
        """Mean ``(count,)`` float32 of a map ``(H, W)`` over each unit.

        Rounded from float64, so that units of one constant value tie exactly whatever their sizes.
        """
        return (self.sums(values) / self.labels.flatten().bincount(minlength=self.count)).float()


def pixels(height: int, width: int) -> Units:
    """Every pixel a unit."""
    return Units(torch.arange(height * width).view(height, width), height * width)


def cells(height: int, width: int, grid: int = GRID) -> Units:
    """A grid of ``grid x grid`` cells as equal as can be; of single pixels where the image is smaller."""
    down, across = min(grid, height), min(grid, width)
    rows = torch.arange(height) * down // height
    columns = torch.arange(width) * across // width
    return Units(rows[:, None] * across + columns, down * across)


def tie_share(values: Tensor) -> float:
    """``1 - distinct values / values``: 0 without ties, ``1 - 1/n`` for a constant."""
    return 1 - len(values.unique()) / len(values)


def levels(count: int, steps: int, most: float = 1.0) -> list[int]:
    """Numbers of units removed, from 0 to ``most * count`` in ``steps`` equal steps (fewer where units are few)."""
    return sorted({round(step * most * count / steps) for step in range(steps + 1)})


def eraser_levels(count: int) -> list[int]:
    """Numbers of units of the shares 1, 5, 10, 20 and 50 %, at least one unit each."""
    return [max(1, round(share * count)) for share in ERASER_SHARES]


def replaced(image: Tensor, other: Tensor, units: Units, rank: Tensor, counts: Sequence[int]) -> Iterator[Tensor]:
    """The image with its ``count`` first units taken from the other, for each count, drawn when asked for.

    Deletion replaces units of the image by the fill; insertion replaces units of the fill by the image.
    """
    place = rank[units.labels]
    for count in counts:
        yield torch.where(place < count, other, image)


def infilled(
    image: Tensor, infill: Infill, units: Units, rank: Tensor, counts: Sequence[int], noise: torch.Generator
) -> Iterator[Tensor]:
    """The image with its ``count`` first units filled in from the rest, for each count, drawn when asked for."""
    place = rank[units.labels]
    removed = torch.stack([place < count for count in counts])[:, None]
    yield from infill(image, removed, noise)


@dataclass(frozen=True, eq=False)
class Curve:
    """Scores ``(T,)`` of the explained class over the shares ``(T,)`` of units removed or restored, ascending."""

    shares: Tensor
    scores: Tensor

    @classmethod
    def of(cls, counts: Sequence[int], total: int, scores: Tensor) -> Curve:
        """A curve from numbers of units."""
        return cls(torch.tensor(counts, dtype=torch.float64) / total, scores.double().cpu())

    @property
    def area(self) -> float:
        """Mean height: the trapezoid area divided by the span of the shares.

        Reference: Petsiuk et al. 2018 (RISE), arXiv:1806.07421, deletion and insertion.
        """
        if len(self.shares) == 1:
            return float(self.scores[0])
        return float(torch.trapezoid(self.scores, self.shares) / (self.shares[-1] - self.shares[0]))

    def until(self, share: float) -> Curve:
        """The part up to a share, included."""
        part = self.shares <= share + 1e-9
        return Curve(self.shares[part], self.scores[part])


def deletion_norm(curve: Curve, smallest: float = 0.05) -> float | None:
    """Area rescaled to where the curve starts (1) and ends (0); None where start and end differ by less than that."""
    span = float(curve.scores[0] - curve.scores[-1])
    return None if abs(span) < smallest else (curve.area - float(curve.scores[-1])) / span


def aopc(curve: Curve) -> float:
    """Mean drop of the score over all levels of the curve, the unperturbed one (a drop of 0) included.

    Reference: Samek et al. 2017, arXiv:1509.06321, area over the perturbation curve.
    """
    return float((curve.scores[0] - curve.scores).mean())


def comprehensiveness(whole: float, without: Tensor) -> float:
    """Mean drop of the score when the shares of 1, 5, 10, 20 and 50 % are removed; five bins, no empty one.

    Args:
        whole: score of the image.
        without: ``(5,)`` scores of the image without the most relevant units.

    Reference: DeYoung et al. 2020 (ERASER), arXiv:1911.03429; some versions divide by 6 instead.
    """
    return float((whole - without.double()).mean())


def sufficiency(whole: float, alone: Tensor) -> float:
    """Mean drop of the score when only the shares of 1, 5, 10, 20 and 50 % are kept, ``alone (5,)``; small is good.

    Reference: DeYoung et al. 2020 (ERASER), arXiv:1911.03429.
    """
    return float((whole - alone.double()).mean())


def named_fill(name: str, mean: Tensor | None = None) -> Fill:
    """A fill by name.

    Args:
        name: one of ``FILLS``: the middle grey, zeros, the image under a Gaussian of 5 pixels at 224, or the mean of a
            data set.
        mean: that mean, ``(C,)`` or ``(C, H, W)``.

    Raises:
        UserError: for an unknown name, or ``mean`` without a mean.
    """
    fill = build_fill(name, FILLS, colour=mean)
    return lambda image: everywhere(image, fill)


def named_infill(name: str) -> Infill:
    """What fills in removed units from the rest, by name: ``linear``, weighted means of the neighbours.

    Raises:
        UserError: for an unknown name.
    """
    fill = build_fill(name, {"linear": "linear"}, option="infill")
    return lambda image, removed, noise: fill(image[None], removed)
