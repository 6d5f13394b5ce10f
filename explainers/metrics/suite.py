"""All metrics of many methods' maps of one image, measured together: shared controls, full batches."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from cae.classifiers import TargetClassifier
from cae.errors import UserError, did_you_mean
from explainers.base import image_seed
from explainers.metrics import faithfulness
from explainers.metrics import perturbation as removal
from explainers.metrics.batched_scores import SCORES, ClassScorer, StreamScores
from explainers.metrics.catalogue import AGAINST_RANDOM, CONTROL, METRICS
from explainers.metrics.complexity import complexity
from explainers.metrics.faithfulness import PerturbationContext, Values
from explainers.metrics.localisation import localisation
from explainers.metrics.perturbation import Fill, Infill
from explainers.metrics.seeds import generator
from explainers.metrics.setwise import RandomSets

RANKS = ("signed", "abs")


@dataclass(frozen=True)
class Preset:
    """How much is measured: pixel-wise curves, the extended metrics, and how many random orders control them."""

    with_pixels: bool
    extended: bool
    random_orders: int


PRESETS = {"quick": Preset(False, False, 2), "core": Preset(True, False, 5), "full": Preset(True, True, 5)}


class Key(NamedTuple):
    """Whose images: the row (a method, a number of a random map, None for shared ones), curve, unit, order."""

    row: str | int | None
    curve: str
    unit: str
    order: int


class MetricSuite:
    """Measures the maps of all methods of one image at a time.

    The control ``random order`` is the mean over random maps of the image, the same for all methods. A metric with a
    random mean gets ``<metric>_excess``: how much better than that mean, so positive is good whichever way the metric
    goes. Where more than 1 % of units tie, the metric is the mean over three orders among the tied, and
    ``<metric>_range`` is their spread.

    Args:
        classifier: the classifier that was explained.
        preset: ``quick`` (cells; 2 random orders), ``core`` (cells and pixels; 5) or ``full`` (also ROAD, IROF, least
            relevant first, faithfulness correlation, infidelity).
        batch_size: images in one forward pass at most.
        score: ``probability`` of the explained class, or its ``logodds``.
        rank: ``signed``: supporters first, opponents last; ``abs``: by absolute value.
        deletion_fill: what takes the place of removed units: ``gray``, ``black``, ``mean``, ``blur``, or a function.
        insertion_fill: what insertion starts from.
        infill: ``linear``, or a function such as a sampler's, for ``deletion_infill``.
        mean: of the data set, ``(C,)`` or ``(C, H, W)``, for the fill ``mean``.
        random_orders: number of random maps; the preset's by default. Published tables want 20.
        sensitivity_n: measure it too, at 150 forwards more per image.
        grid: cells along each side.

    Raises:
        UserError: for an unknown preset, score, rank or fill, or a number out of range.
    """

    def __init__(
        self,
        classifier: TargetClassifier,
        preset: str = "core",
        *,
        batch_size: int = 64,
        score: str = "probability",
        rank: str = "signed",
        deletion_fill: str | Fill = "gray",
        insertion_fill: str | Fill = "blur",
        infill: str | Infill = "linear",
        mean: Tensor | None = None,
        random_orders: int | None = None,
        sensitivity_n: bool = False,
        grid: int = removal.GRID,
    ):
        for option, value, known in (("preset", preset, PRESETS), ("score", score, SCORES), ("rank", rank, RANKS)):
            if value not in known:
                near = did_you_mean(str(value), known)
                raise UserError(f"`{option}` must be one of {', '.join(known)}, but is {value!r}{near}.")
        self.preset = PRESETS[preset]
        self.random_orders = self.preset.random_orders if random_orders is None else random_orders
        for option, count in (("batch_size", batch_size), ("random_orders", self.random_orders), ("grid", grid)):
            if count < 1:
                raise UserError(f"`{option}` must be at least 1, but is {count}.")
        self.classifier = classifier
        self.batch_size, self.score, self.rank, self.grid = batch_size, score, rank, grid
        self.sensitivity_n = sensitivity_n
        self._deletion_fill = _fill(deletion_fill, mean)
        self._insertion_fill = _fill(insertion_fill, mean)
        self._infill: Infill = infill if callable(infill) else removal.named_infill(infill)
        self.settings: dict[str, Any] = {
            "preset": preset, "score": score, "order": rank, "grid": grid, "random_orders": self.random_orders,
            "deletion_fill": _name(deletion_fill), "insertion_fill": _name(insertion_fill), "infill": _name(infill),
            "cell_steps": faithfulness.CELL_STEPS, "pixel_steps": faithfulness.PIXEL_STEPS,
            "infill_steps": faithfulness.INFILL_STEPS, "most_filled": removal.MOST_FILLED,
            "ties": f"seeded; mean of {faithfulness.TIE_ORDERS} orders above {faithfulness.MOST_TIES:.0%} of ties",
        }  # fmt: skip

    def measure(
        self, image: Tensor, maps: Mapping[str, Tensor], target: int, mask: Tensor | None = None, seed: int = 0
    ) -> dict[str, Values]:
        """Measure all maps of one image.

        Args:
            image: ``(C, H, W)`` in [0, 1].
            maps: ``(1, H, W)`` or ``(H, W)`` by method, raw and signed.
            target: the class explained.
            mask: ``(1, H, W)`` bool, where the evidence is; localisation is left undefined without one.
            seed: of the random orders, the orders among ties, and the noise; the image's pixels enter it too.

        Returns:
            for each method and for ``random order``, metric names to numbers, None where undefined. All rows have the
            same names, but for ``<metric>_range``, which is there only where ties made the metric vary.

        Raises:
            UserError: for a target that is no class, or a map or mask of another size than the image.
        """
        planes = self._planes(image, maps, mask, target)
        context = self._context(image, seed)
        sets = RandomSets(context, self.sensitivity_n) if self.preset.extended or self.sensitivity_n else None
        placed: dict[str | int, Tensor] = {name: plane.to(context.image) for name, plane in planes.items()}
        if self.rank == "abs":
            placed = {name: plane.abs() for name, plane in placed.items()}
        chances = range(self.random_orders)
        placed |= {index: self._random_map(context, index) for index in chances}  # numbers are no names of methods
        scored = ClassScorer(self.classifier, target, self.score, self.batch_size)(self._streams(context, sets, placed))
        outline = None if mask is None else mask.reshape(image.shape[1:])
        rows = {name: _row(context, sets, name, plane, scored, outline) for name, plane in placed.items()}
        control = _mean_row([rows[index] for index in chances])
        shared = sum(len(found) for key, found in scored.items() if key.row is None)
        control["metric_evaluations"] = float(sum(_forwards(scored, index) for index in chances) + shared)
        found = {name: rows[name] for name in maps} | {CONTROL: control}
        return {name: row | _excess(row, control) for name, row in found.items()}

    def _planes(self, image: Tensor, maps: Mapping[str, Tensor], mask: Tensor | None, target: int) -> dict[str, Tensor]:
        if not 0 <= target < len(self.classifier.classes):
            raise UserError(f"`target` must be in [0, {len(self.classifier.classes)}), but got {target}.")
        size = tuple(image.shape[1:])
        given = {**maps, **({} if mask is None else {"the mask": mask})}
        wrong = [
            f"the map of '{name}' must be (1, {size[0]}, {size[1]}) as the image is, but is {tuple(plane.shape)}."
            for name, plane in given.items()
            if tuple(plane.shape) not in (size, (1, *size))
        ]
        wrong += [f"the map of '{name}' has values that are no numbers." for name in maps
                  if not bool(maps[name].isfinite().all())]  # fmt: skip
        if CONTROL in maps:
            wrong.append(f"no method may be called '{CONTROL}': that is the control's name.")
        if wrong:
            raise UserError(wrong)
        return {name: plane.detach().reshape(size) for name, plane in maps.items()}

    def _context(self, image: Tensor, seed: int) -> PerturbationContext:
        device = next(self.classifier.parameters(), torch.empty(0)).device
        return PerturbationContext(
            image.detach().to(device, torch.float32), self._deletion_fill, self._insertion_fill, self._infill,
            self.grid, image_seed(image, seed), self.preset.with_pixels, self.preset.extended,
        )  # fmt: skip

    def _random_map(self, context: PerturbationContext, index: int) -> Tensor:
        noise = torch.rand(context.image.shape[1:], generator=generator(context.key, "random map", index))
        return noise.to(context.image)

    def _streams(
        self, context: PerturbationContext, sets: RandomSets | None, maps: Mapping[str | int, Tensor]
    ) -> dict[Key, Iterable[Tensor]]:
        """Everything to be scored."""
        shared: dict[str, Iterable[Tensor]] = {**context.ends(), **(sets.streams() if sets else {})}
        found = {Key(None, curve, curve, 0): images for curve, images in shared.items()}
        for row, plane in maps.items():
            for unit in context.units:
                for order, rank in enumerate(context.orders(plane, unit)):
                    for curve, images in context.streams(unit, rank).items():
                        found[Key(row, curve, unit, order)] = images
        return found


def _row(
    context: PerturbationContext,
    sets: RandomSets | None,
    row: str | int,
    attribution: Tensor,
    scored: Mapping[Key, StreamScores],
    mask: Tensor | None,
) -> Values:
    """All metrics of one map ``(H, W)``."""
    shared = {key.curve: found for key, found in scored.items() if key.row is None}
    zero = not bool(attribution.any())
    values: Values = {}
    for unit, units in context.units.items():
        orders = _orders(scored, row, unit)
        several = [context.values(unit, curves, shared) for curves in orders]
        values |= _mean_row(several) | (_ranges(several) if len(several) > 1 else {})
        if unit != "segments":
            values[f"tie_share_{unit}"] = removal.tie_share(units.means(attribution))
    if zero:  # an order of nothing is no explanation
        values = {name: value if name.startswith("tie") else None for name, value in values.items()}
    if sets is not None:
        values |= sets.values(attribution, shared)
    empty = mask if mask is not None else torch.zeros_like(attribution, dtype=torch.bool)
    values |= localisation(attribution, empty)
    values["mask_share"] = None if mask is None else values["mask_share"]
    start, whole = float(shared["start"].scores), float(shared["whole"].scores)
    values["insertion_start"] = start / whole if whole > 0 else None
    return values | complexity(attribution) | {"metric_evaluations": float(_forwards(scored, row))}


def _orders(scored: Mapping[Key, StreamScores], row: str | int, unit: str) -> list[dict[str, StreamScores]]:
    """The scores of one row and unit by curve, for each of its orders."""
    mine = {key: found for key, found in scored.items() if (key.row, key.unit) == (row, unit)}
    times = sorted({key.order for key in mine})
    return [{key.curve: found for key, found in mine.items() if key.order == time} for time in times]


def _forwards(scored: Mapping[Key, StreamScores], row: str | int) -> int:
    return sum(len(found) for key, found in scored.items() if key.row == row)


def _mean_row(rows: Sequence[Values]) -> Values:
    """Mean of each metric over the rows that define it; None where none does."""
    found: Values = {}
    for name in rows[0]:
        defined = [value for row in rows if (value := row.get(name)) is not None]
        found[name] = sum(defined) / len(defined) if defined else None
    return found


def _ranges(rows: Sequence[Values]) -> Values:
    """Largest minus smallest value of each metric, ``<metric>_range``."""
    found: Values = {}
    for name in rows[0]:
        defined = [value for row in rows if (value := row[name]) is not None]
        found[f"{name}_range"] = max(defined) - min(defined) if defined else None
    return found


def _excess(row: Values, control: Values) -> Values:
    """How much better than the control each removal metric is; positive is better."""
    found: Values = {}
    for name in AGAINST_RANDOM:
        if name in row:
            mine, chance = row[name], control[name]
            sign = 1 if METRICS[name].better == "high" else -1
            found[f"{name}_excess"] = None if mine is None or chance is None else sign * (mine - chance)
    return found


def _fill(fill: str | Fill, mean: Tensor | None) -> Fill:
    return fill if callable(fill) else removal.named_fill(fill, mean)


def _name(fill: Any) -> str:
    """A fill in words: its name, or that of the function or object."""
    return fill if isinstance(fill, str) else str(getattr(fill, "name", getattr(fill, "__name__", type(fill).__name__)))
