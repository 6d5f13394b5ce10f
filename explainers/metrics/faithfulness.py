"""Removal metrics of orders on one image: the images that each order wants scored, and what the scores amount to."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from cae.metrics.statistics import places_from_the_top
from explainers.infills.fills import everywhere, image_mean
from explainers.metrics import perturbation as removal
from explainers.metrics.batched_scores import StreamScores
from explainers.metrics.irof import STEPS as SEGMENT_STEPS
from explainers.metrics.irof import irof, superpixel_units
from explainers.metrics.perturbation import Curve, Fill, Infill, Units
from explainers.metrics.road import road, road_images, road_noise
from explainers.metrics.seeds import generator

CELL_STEPS, PIXEL_STEPS, INFILL_STEPS = 28, 16, 14
AOPC_SHARE = 0.30
MOST_TIES = 0.01  # above this, orders are drawn several times
TIE_ORDERS = 3

Values = dict[str, float | None]


@dataclass(frozen=True, eq=False)
class PerturbationContext:
    """One image with everything that its methods share.

    Attributes:
        image: ``(C, H, W)`` in [0, 1].
        deletion_fill: what takes the place of removed units.
        insertion_fill: what insertion starts from.
        infill: fills removed cells from the rest.
        grid: cells along each side.
        key: seed of the image's noise and of its orders among ties.
        with_pixels: measure pixel-wise deletion and insertion.
        extended: measure ROAD, IROF and the least relevant first too.
    """

    image: Tensor
    deletion_fill: Fill
    insertion_fill: Fill
    infill: Infill
    grid: int
    key: int
    with_pixels: bool
    extended: bool

    @cached_property
    def filled(self) -> Tensor:
        """The deletion fill alone."""
        return self.deletion_fill(self.image)

    @cached_property
    def start(self) -> Tensor:
        """The insertion fill alone."""
        return self.insertion_fill(self.image)

    @cached_property
    def units(self) -> dict[str, Units]:
        """The partitions that are asked for, by name; cells come always."""
        height, width = self.image.shape[1:]
        found = {"cells": removal.cells(height, width, self.grid)}
        if self.with_pixels or self.extended:
            found["pixels"] = removal.pixels(height, width)
        if self.extended:
            found["segments"] = superpixel_units(self.image)
        return {name: Units(units.labels.to(self.image.device), units.count) for name, units in found.items()}

    @cached_property
    def road_noise(self) -> Tensor:
        """Noise of the ROAD levels, the same for all methods."""
        return road_noise(self.image, generator(self.key, "road"))

    def ends(self) -> dict[str, list[Tensor]]:
        """The images at the ends of all curves: the whole one, the deletion fill, the insertion fill."""
        return {"whole": [self.image], "filled": [self.filled], "start": [self.start]}

    def orders(self, attribution: Tensor, unit: str) -> list[Tensor]:
        """Ranks of the units by a map ``(H, W)``: one order, or three where more than 1 % of the values tie."""
        means = self.units[unit].means(attribution)
        times = TIE_ORDERS if removal.tie_share(means) > MOST_TIES else 1
        return [places_from_the_top(means, generator(self.key, "ties", unit, time)) for time in range(times)]

    def streams(self, unit: str, rank: Tensor) -> dict[str, Iterable[Tensor]]:
        """Images to be scored for one order of one kind of units, by the curve they belong to; ends left out."""
        units = self.units[unit]
        if unit == "segments":
            counts = removal.levels(units.count, SEGMENT_STEPS)
            colour = everywhere(self.image, image_mean)
            return {"segments": removal.replaced(self.image, colour, units, rank, counts[1:])}
        steps = CELL_STEPS if unit == "cells" else PIXEL_STEPS
        inner = removal.levels(units.count, steps)[1:-1]
        found: dict[str, Iterable[Tensor]] = {}
        if unit == "cells" or self.with_pixels:
            found["deletion"] = removal.replaced(self.image, self.filled, units, rank, inner)
            found["insertion"] = removal.replaced(self.start, self.image, units, rank, inner)
        return found | (self._cell_streams(units, rank) if unit == "cells" else self._road_streams(rank))

    def _cell_streams(self, units: Units, rank: Tensor) -> dict[str, Iterable[Tensor]]:
        few = removal.eraser_levels(units.count)
        found: dict[str, Iterable[Tensor]] = {
            "infill": removal.infilled(
                self.image, self.infill, units, rank, self._infill_counts[1:], generator(self.key, "infill")
            ),
            "without": removal.replaced(self.image, self.filled, units, rank, few),
            "alone": removal.replaced(self.filled, self.image, units, rank, few),
        }
        if self.extended:
            counts = self._aopc_counts[1:]
            found["least"] = removal.replaced(self.image, self.filled, units, units.count - 1 - rank, counts)
        return found

    def _road_streams(self, rank: Tensor) -> dict[str, Iterable[Tensor]]:
        if not self.extended:
            return {}
        last_first = rank.numel() - 1 - rank
        return {
            "road most": road_images(self.image, rank, self.road_noise),
            "road least": road_images(self.image, last_first, self.road_noise),
        }

    def values(self, unit: str, scored: Mapping[str, StreamScores], ends: Mapping[str, StreamScores]) -> Values:
        """Metrics of one order of one kind of units, from the scores of ``streams`` and of ``ends``."""
        if unit == "segments":
            counts = removal.levels(self.units[unit].count, SEGMENT_STEPS)
            scores = torch.cat([ends["whole"].scores, scored["segments"].scores])
            return {"irof": irof(Curve.of(counts, self.units[unit].count, scores))}
        if unit == "pixels":
            area = self._areas(unit, scored, ends) if self.with_pixels else {}
            found = {f"{name}_pixels": value for name, value in area.items() if name != "deletion_norm"}
            return found | (_road_values(scored["road most"], scored["road least"]) if self.extended else {})
        return self._areas(unit, scored, ends) | self._cell_values(scored, ends)

    def _deletion(self, unit: str, scored: Mapping[str, StreamScores], ends: Mapping[str, StreamScores]) -> Curve:
        count = self.units[unit].count
        scores = torch.cat([ends["whole"].scores, scored["deletion"].scores, ends["filled"].scores])
        return Curve.of(removal.levels(count, CELL_STEPS if unit == "cells" else PIXEL_STEPS), count, scores)

    def _areas(self, unit: str, scored: Mapping[str, StreamScores], ends: Mapping[str, StreamScores]) -> Values:
        deletion = self._deletion(unit, scored, ends)
        restored = torch.cat([ends["start"].scores, scored["insertion"].scores, ends["whole"].scores])
        insertion = Curve(deletion.shares, restored)
        return {
            "deletion_auc": deletion.area,
            "insertion_auc": insertion.area,
            "ins_minus_del": insertion.area - deletion.area,
            "deletion_norm": removal.deletion_norm(deletion),
        }

    def _cell_values(self, scored: Mapping[str, StreamScores], ends: Mapping[str, StreamScores]) -> Values:
        whole, count = ends["whole"].scores, self.units["cells"].count
        filled_in = Curve.of(self._infill_counts, count, torch.cat([whole, scored["infill"].scores]))
        most = removal.aopc(self._deletion("cells", scored, ends).until(AOPC_SHARE))
        found: Values = {
            "deletion_infill": filled_in.area,
            "aopc_morf": most,
            "comprehensiveness": removal.comprehensiveness(float(whole), scored["without"].scores),
            "sufficiency_eraser": removal.sufficiency(float(whole), scored["alone"].scores),
        }
        if self.extended:
            scores = torch.cat([whole, scored["least"].scores])
            least = removal.aopc(Curve.of(self._aopc_counts, count, scores))
            found |= {"aopc_lerf": least, "abpc": most - least}
        return found

    @property
    def _infill_counts(self) -> list[int]:
        return removal.levels(self.units["cells"].count, INFILL_STEPS, removal.MOST_FILLED)

    @property
    def _aopc_counts(self) -> list[int]:
        count = self.units["cells"].count
        return [level for level in removal.levels(count, CELL_STEPS) if level / count <= AOPC_SHARE + 1e-9]


def _road_values(most: StreamScores, least: StreamScores) -> Values:
    return {
        "road": road(most.scores, least.scores),
        "road_morf": float(most.scores.mean()),
        "road_lerf": float(least.scores.mean()),
        "road_accuracy": road(most.kept, least.kept),
        "road_accuracy_morf": float(most.kept.mean()),
        "road_accuracy_lerf": float(least.kept.mean()),
    }
