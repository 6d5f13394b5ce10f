"""From estimates of windows to maps of pixels: the mean over the windows that cover each, over scales, refined."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from explainers.infills.windows import coverage, mean_map, sum_map
from explainers.information.estimates import Estimate, Quantity, estimate
from explainers.information.marginalisation import InformationTable


@dataclass(frozen=True, eq=False)
class PixelMap:
    """A map ``(H, W)`` float64, with its standard error and without its bias: None where these are not known."""

    value: Tensor
    se: Tensor | None
    corrected: Tensor | None


@dataclass(frozen=True, eq=False)
class ScaleMap:
    """The map of the windows of one size, what it was made from, and how many windows cover each pixel."""

    table: InformationTable
    estimate: Estimate
    map: PixelMap
    coverage: Tensor


def scale_map(table: InformationTable, quantity: Quantity, common_noise: bool) -> ScaleMap:
    """The map of one table.

    Args:
        table: of the windows of one size.
        quantity: what the map shows.
        common_noise: errors may add up in full, so that the standard error is an upper bound.
    """
    found, windows = estimate(table, quantity), table.windows
    count, se = coverage(windows), None
    if found.se is not None:
        if common_noise:
            se = mean_map(found.se, windows)
        else:
            se = sum_map(found.se**2, windows).clamp_min(0).sqrt() / count.clamp_min(1)
    corrected = None if found.corrected is None else mean_map(found.corrected, windows)
    return ScaleMap(table, found, PixelMap(mean_map(found.value, windows), se, corrected), count)


def combined(maps: Sequence[PixelMap], how: str) -> PixelMap:
    """One map of several scales: their ``mean``, or in each pixel the ``largest`` by magnitude."""
    values = torch.stack([scale.value for scale in maps])
    errors, corrected = _stacked([scale.se for scale in maps]), _stacked([scale.corrected for scale in maps])
    if how == "mean":
        se = None if errors is None else (errors**2).sum(0).sqrt() / len(maps)
        return PixelMap(values.mean(0), se, None if corrected is None else corrected.mean(0))
    chosen = values.abs().argmax(0, keepdim=True)
    picked = [None if part is None else part.gather(0, chosen)[0] for part in (errors, corrected)]
    return PixelMap(values.gather(0, chosen)[0], *picked)


def refined(coarse: PixelMap, fine: ScaleMap) -> PixelMap:
    """The finer values where there are any."""
    there = fine.coverage > 0
    se, corrected = (
        None if old is None or new is None else torch.where(there, new, old)
        for old, new in ((coarse.se, fine.map.se), (coarse.corrected, fine.map.corrected))
    )
    return PixelMap(torch.where(there, fine.map.value, coarse.value), se, corrected)


def _stacked(planes: Sequence[Tensor | None]) -> Tensor | None:
    """Planes ``(S, H, W)``, or None if any is missing."""
    there = [plane for plane in planes if plane is not None]
    return torch.stack(there) if len(there) == len(planes) else None
