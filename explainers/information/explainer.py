"""Information maps: how much a patch tells the classifier, by marginalising it over draws of an in-fill."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from cae.classifiers import TargetClassifier
from cae.classifiers.target import SMALLEST_PROBABILITY
from cae.errors import UserError
from explainers.base import Explainer, Instance, InstanceResult
from explainers.infills import Sampler, build_sampler
from explainers.infills.windows import (
    Level,
    Windows,
    box_means,
    coverage,
    default_window,
    fit_samples,
    grid,
    mean_map,
    preset_scales,
    sum_map,
)
from explainers.information.estimates import BIASES, Estimate, Quantity, check_readout, read
from explainers.information.marginalisation import ROUND, InformationEngine, InformationTable

OWN_EVALUATIONS = 2  # of the image itself: by the caller, and among its fills
MOST_SAMPLES = 16
KEPT_CLASSES = 20  # of the table, in the extras
DEFAULT_SAMPLER = "masked_blur"  # needs no training images, and takes one fill of each window
COMBINATIONS = ("mean", "largest")


@dataclass(frozen=True, eq=False)
class ScaleMap:
    """One scale's maps ``(H, W)`` float64, and what they were made from."""

    table: InformationTable
    reading: Estimate
    value: Tensor
    se: Tensor | None
    corrected: Tensor | None
    coverage: Tensor


class InformationMap(Explainer):
    """Readouts of class probabilities with each window of an image marginalised over an in-fill.

    For a window m, ``q(y)`` is the mean of the classifier's probabilities over N fills of the window; the readout
    compares it with ``p(y)`` of the whole image. The map is the mean over the windows that cover a pixel, in the unit
    of the readout.

    Args:
        classifier: the classifier to explain.
        batch_size: images in one forward pass at most.
        readout: ``pmi`` (log p - log q of the target, nats), ``ig`` (KL(p||q), nats), ``ig_terms`` (the target's share
            of it), ``ig_binary``, ``woe`` (change of log-odds, bits), ``delta_p``, ``contrast`` (PMI against a rival),
            ``entropy_change``, ``patch_mi``, ``group_pmi``. By default that of the method.
        sampler: the in-fill: a name of ``explainers.infills.SAMPLERS``, a ``Sampler``, or a function; by default
            ``masked_blur``.
        window: side of a window in pixels; by default the power of two nearest to a seventh of the image.
        stride: pixels between windows; by default half a window, or a quarter where one fill is enough.
        samples: fills of each window; by default up to 16, as many as ``max_evaluations`` allows.
        scales: several sizes of window: True for one, two and three times the default, or a list of
            (window, stride, samples).
        refine: spend half of the evaluations on windows of half the size, where the map is strongest.
        combine: of several scales, the ``mean``, or the value that is ``largest`` by magnitude.
        max_evaluations: hard limit for one image, the image itself included.
        adaptive: draw four fills at a time until the standard error is below ``tolerance``.
        tolerance: standard error of the target's PMI, in nats, at which ``adaptive`` stops.
        bias: ``none``, ``delta`` or ``jackknife`` correction of the map for the bias of the logarithm of a mean.
        border: ``inside``, or ``clip`` to let windows reach over the border.
        common_noise: the same random numbers for every window.
        compat: ``published`` for the epsilons of the authors' program.
        laplace: training images for which ``woe`` is smoothed; none by default.
        rival: class that ``contrast`` compares with; by default the most probable other one.
        group: classes of ``group_pmi``, by number or name.
        background: training images ``(N, C, H, W)`` in [0, 1], for in-fills that are made from data.
        folder: the run folder, for ``sampler=learned``.

    Extras of every image: ``se`` and ``corrected`` ``(1, H, W)`` (None for a single fill, or where no formula is
    known; independent errors unless ``common_noise``, where ``se`` is an upper bound), ``coverage (1, H, W)`` windows
    on each pixel, ``forwards``, ``sampler`` (its card), ``unreliable`` (windows whose standard error is above half a
    nat), ``clamped`` (probabilities of a black box too small for a logarithm), ``scales`` (a map for each, where there
    are several), ``refined`` (share of the pixels that the refinement reached), and ``table``: for each scale the
    windows' ``boxes``, ``n_used``, ``value``, ``se`` and ``log_q`` of the ``classes`` kept, with their ``log_p``.

    References: Yi et al. 2020, arXiv:2009.11150; Zintgraf et al. 2017, ICLR.
    """

    name = "pmi"
    default_readout: ClassVar[str] = "pmi"
    resources = frozenset({"background", "folder"})

    def __init__(
        self,
        classifier: TargetClassifier,
        *,
        batch_size: int = 64,
        readout: str | None = None,
        sampler: str | Sampler | Callable | None = None,
        window: int | None = None,
        stride: int | None = None,
        samples: int | None = None,
        scales: bool | Sequence[Sequence[int]] = False,
        refine: bool = False,
        combine: str = "mean",
        max_evaluations: int = 1500,
        adaptive: bool = False,
        tolerance: float = 0.05,
        bias: str = "none",
        border: str = "inside",
        common_noise: bool = False,
        compat: str | None = None,
        laplace: int | None = None,
        rival: int | str | None = None,
        group: Sequence[int | str] | None = None,
        background: Tensor | None = None,
        folder: Path | None = None,
    ):
        super().__init__(classifier, batch_size=batch_size)
        self.readout = readout or self.default_readout
        self.window, self.stride, self.samples = window, stride, samples
        self.scales, self.refine, self.combine = scales, refine, combine
        self.max_evaluations, self.adaptive, self.tolerance = max_evaluations, adaptive, tolerance
        self.bias, self.border, self.common_noise, self.compat = bias, border, common_noise, compat
        self.laplace, self.rival, self.group = laplace, rival, group
        self.background, self.folder = background, folder
        self._check()
        self.sampler = build_sampler(sampler or DEFAULT_SAMPLER, background, folder)

    def explain_image(self, subject: Instance) -> InstanceResult:
        """Make the map of one image."""
        tables, refined = self.tables(subject)
        question = self._question(tables[0])
        maps = [self._scale_map(table, question) for table in tables]
        value, se, corrected = self._combined(maps[: len(maps) - refined])
        share = 0.0
        if refined:
            value, se, corrected = _refined((value, se, corrected), maps[-1])
            share = float((maps[-1].coverage > 0).double().mean())
        shown = value if self.bias == "none" or corrected is None else corrected
        return InstanceResult(shown.float(), self._extras(maps, se, corrected, share))

    def tables(self, subject: Instance) -> tuple[list[InformationTable], bool]:
        """The full tables of an image, one for each scale, and whether the last of them is a partial refinement."""
        image, target = subject.image, subject.target
        shape = (image.shape[1], image.shape[2])
        levels = self._levels(shape)
        floor = math.log(2 * SMALLEST_PROBABILITY) if self.classifier.scores == "probabilities" else -math.inf
        engine = InformationEngine(self.classifier.logits, self.sampler, batch_size=self.batch_size, floor=floor)
        log_p = engine.image_log_probabilities(image)
        left = self.max_evaluations - OWN_EVALUATIONS

        def run(number: int, windows: Windows, samples: int, budget: int) -> InformationTable:
            salts = [0] * len(windows) if self.common_noise else range(len(windows))
            generators = [subject.generator(number, salt) for salt in salts]
            tolerance = self.tolerance if self.adaptive else None
            return engine.run(image, log_p, target, windows, samples, generators, tolerance=tolerance, budget=budget)

        tables = []
        for number, level in enumerate(levels):
            windows = grid(shape, level.window, level.stride, self.border)
            # levels to come keep what they need
            others = sum(self._least(later, shape) for later in levels[number + 1 :])
            tables.append(run(number, windows, level.samples, self._share(left, others)))
            left -= tables[-1].forwards
        if not self.refine:
            return tables, False
        fine, samples = self._fine_windows(tables, levels, left)
        if len(fine) == 0:
            return tables, False
        return [*tables, run(len(levels), fine, samples, left)], True

    def _check(self) -> None:
        check_readout(self.readout)
        problems = []
        for name, allowed in (("bias", BIASES), ("combine", COMBINATIONS), ("compat", (None, "published"))):
            if getattr(self, name) not in allowed:
                words = ", ".join(str(word) for word in allowed)
                problems.append(f"`{name}` must be one of {words}, but is {getattr(self, name)!r}.")
        for name in ("window", "stride", "samples", "max_evaluations", "laplace"):
            value = getattr(self, name)
            if value is not None and value < 1:
                problems.append(f"`{name}` must be at least 1, but is {value}.")
        if self.tolerance <= 0:
            problems.append(f"`tolerance` must be above 0 nats, but is {self.tolerance}.")
        if self.bias == "jackknife" and self.samples is not None and self.samples < 3:
            problems.append(f"`bias=jackknife` needs at least 3 `samples`, but there are {self.samples}.")
        if self.scales and (self.window or self.stride or self.samples):
            problems.append("`scales` sets windows and samples itself: leave out `window`, `stride` and `samples`.")
        if self.readout == "group_pmi" and not self.group:
            problems.append("`readout=group_pmi` needs `group`: the classes whose probabilities are summed.")
        if problems:
            raise UserError(problems)
        if not isinstance(self.scales, bool) and any(len(scale) != 3 for scale in self.scales):
            raise UserError(f"`scales` must be a list of (window, stride, samples), but is {self.scales}.")

    def _levels(self, shape: tuple[int, int]) -> list[Level]:
        """Windows, strides and numbers of fills that fit the budget."""
        budget = self.max_evaluations - OWN_EVALUATIONS
        if self.refine:
            budget //= 2
        most = 1 if self.sampler.deterministic else (self.samples or MOST_SAMPLES)
        if self.scales:
            wanted = preset_scales(shape) if self.scales is True else self.scales
            levels = [Level(size, stride, min(n, 1) if most == 1 else n) for size, stride, n in wanted]
        else:
            size = self.window or self.sampler.window or default_window(shape)
            levels = [Level(size, self.stride or self._default_stride(shape, size, most, budget), most)]
        counts = [len(grid(shape, level.window, level.stride, self.border)) for level in levels]
        if self.adaptive and most > 1:
            return levels  # the engine stops at the budget
        wished = sum(level.samples * count for level, count in zip(levels, counts, strict=True))
        if wished > budget and (self.samples is not None or not isinstance(self.scales, bool)):
            kept = ", half of it kept for `refine`" if self.refine else ""
            raise UserError(
                f"these settings take {wished + OWN_EVALUATIONS} evaluations for one image of {shape[0]} x {shape[1]} "
                f"pixels, but `max_evaluations` is {self.max_evaluations}{kept}: use fewer `samples`, a larger "
                "`stride`, or raise it."
            )
        return fit_samples(levels, counts, budget)

    def _default_stride(self, shape: tuple[int, int], size: int, samples: int, budget: int) -> int:
        """Half a window, or a quarter where one fill is enough; more where the budget is small."""
        wished = [size // 4, size // 2, size] if samples == 1 else [size // 2, size]
        least = min(samples, ROUND) if self.adaptive else 1
        fitting = [n for n in wished if n >= 1 and least * len(grid(shape, size, n, self.border)) <= budget]
        return fitting[0] if fitting else size

    def _least(self, level: Level, shape: tuple[int, int]) -> int:
        count = len(grid(shape, level.window, level.stride, self.border))
        return count * (min(level.samples, ROUND) if self.adaptive else level.samples)

    def _share(self, left: int, others: int) -> int:
        """Evaluations that a level may spend: all but what later ones need at least, and the refinement's half."""
        kept = (self.max_evaluations - OWN_EVALUATIONS) // 2 if self.refine else 0
        return max(left - others - kept, 0)

    def _fine_windows(
        self, tables: Sequence[InformationTable], levels: Sequence[Level], left: int
    ) -> tuple[Windows, int]:
        """Windows of half the smallest size where the map so far is strongest, as many as the budget allows."""
        smallest = min(levels, key=lambda level: level.window)
        size = max(smallest.window // 2, 1)
        windows = grid(tables[0].windows.shape, size, max(size // 2, 1), self.border)
        samples = min(smallest.samples, ROUND)
        maps = [self._scale_map(table, self._question(table)) for table in tables]
        strength = box_means(self._combined(maps)[0].abs(), windows)
        chosen = strength.argsort(descending=True, stable=True)[: left // samples].sort().values
        return windows[chosen], samples

    def _question(self, table: InformationTable) -> Quantity:
        rival = self.rival
        if rival is None:
            others = table.log_p.clone()
            others[table.target] = -math.inf
            rival = int(others.argmax())
        return Quantity(
            self.readout,
            rival=self._class_number(rival),
            group=[self._class_number(item) for item in self.group or ()],
            examples=self.laplace or math.inf,
            bias=self.bias,
            published=self.compat == "published",
        )

    def _scale_map(self, table: InformationTable, question: Quantity) -> ScaleMap:
        reading, windows = read(table, question), table.windows
        count, se = coverage(windows), None
        if reading.se is not None:
            if self.common_noise:  # errors may add up in full
                se = mean_map(reading.se, windows)
            else:
                se = sum_map(reading.se**2, windows).clamp_min(0).sqrt() / count.clamp_min(1)
        corrected = None if reading.corrected is None else mean_map(reading.corrected, windows)
        return ScaleMap(table, reading, mean_map(reading.value, windows), se, corrected, count)

    def _combined(self, maps: Sequence[ScaleMap]) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """Value, standard error and corrected value ``(H, W)`` over the scales."""
        values = torch.stack([scale.value for scale in maps])
        errors, corrected = _stacked([scale.se for scale in maps]), _stacked([scale.corrected for scale in maps])
        if self.combine == "mean":
            se = None if errors is None else (errors**2).sum(0).sqrt() / len(maps)
            return values.mean(0), se, None if corrected is None else corrected.mean(0)
        chosen = values.abs().argmax(0, keepdim=True)
        picked = [None if part is None else part.gather(0, chosen)[0] for part in (values, errors, corrected)]
        return values.gather(0, chosen)[0], picked[1], picked[2]

    def _extras(
        self, maps: Sequence[ScaleMap], se: Tensor | None, corrected: Tensor | None, share: float
    ) -> dict[str, Any]:
        log_p, target = maps[0].table.log_p, maps[0].table.target
        classes = log_p.argsort(descending=True)[:KEPT_CLASSES]
        if target not in classes:
            classes = torch.cat([classes[:-1], torch.tensor([target])])
        return {
            "se": _plane(se),
            "corrected": _plane(corrected),
            "coverage": torch.stack([scale.coverage for scale in maps]).sum(0)[None],
            "forwards": OWN_EVALUATIONS + sum(scale.table.forwards for scale in maps),
            "sampler": self.sampler.card(),
            "unreliable": sum(int(scale.reading.unreliable.sum()) for scale in maps),
            "clamped": sum(scale.table.clamped for scale in maps),
            "scales": [scale.value.float()[None] for scale in maps] if len(maps) > 1 else [],
            "refined": share,
            "table": [_table_extras(scale, classes) for scale in maps],
        }


class PointwiseMutualInformation(InformationMap):
    """Point-wise mutual information of patch and target class: positive where the patch speaks for the class.

    See ``InformationMap`` for options and extras. Reference: Yi et al. 2020, arXiv:2009.11150.
    """


class InformationGain(InformationMap):
    """Information gain ``KL(p || q)`` of every patch: how much the verdict rests on it, whatever the class.

    See ``InformationMap`` for options and extras. Reference: Yi et al. 2020, arXiv:2009.11150.
    """

    name = "ig"
    default_readout = "ig"
    class_specific = False


def _plane(values: Tensor | None) -> Tensor | None:
    return None if values is None else values.float()[None]


def _stacked(planes: Sequence[Tensor | None]) -> Tensor | None:
    """Planes ``(S, H, W)``, or None if any is missing."""
    there = [plane for plane in planes if plane is not None]
    return torch.stack(there) if len(there) == len(planes) else None


def _refined(
    coarse: tuple[Tensor, Tensor | None, Tensor | None], fine: ScaleMap
) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """The finer values where there are any."""
    there = fine.coverage > 0
    se, corrected = (
        None if old is None or new is None else torch.where(there, new, old)
        for old, new in zip(coarse[1:], (fine.se, fine.corrected), strict=True)
    )
    return torch.where(there, fine.value, coarse[0]), se, corrected


def _table_extras(scale: ScaleMap, classes: Tensor) -> dict[str, Any]:
    table = scale.table
    return {
        "boxes": table.windows.boxes,
        "n_used": table.n_used,
        "value": scale.reading.value,
        "se": scale.reading.se,
        "classes": classes,
        "log_p": table.log_p[classes],
        "log_q": table.log_q[:, classes],
    }
