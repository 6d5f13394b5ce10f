"""Information maps: how much a patch tells the classifier, by marginalising it over draws of an in-fill."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import ClassVar

from torch import Tensor

from cae.classifiers import TargetClassifier
from cae.classifiers.outputs import SMALLEST_PROBABILITY
from cae.errors import UserError
from explainers.base import Explainer, Instance, InstanceResult
from explainers.infills import Sampler, build_sampler
from explainers.infills.learned import LearnedSampler
from explainers.infills.windows import Windows
from explainers.information.estimates import BIASES, Quantity, check_quantity
from explainers.information.extras import extras_of
from explainers.information.marginalisation import InformationEngine, InformationTable
from explainers.information.pixel_maps import ScaleMap, combined, refined, scale_map
from explainers.information.window_plan import WindowPlan
from explainers.inputs import class_number

DEFAULT_SAMPLER = "masked_blur"  # needs no training images, and takes one fill of each window
COMBINATIONS = ("mean", "largest")


class InformationMap(Explainer):
    """What the class probabilities owe to each window of an image, which is marginalised over an in-fill.

    For a window m, ``q(y)`` is the mean of the classifier's probabilities over N fills of the window; the quantity
    compares it with ``p(y)`` of the whole image. The map is the mean over the windows that cover a pixel, in the unit
    of the quantity.

    Args:
        classifier: the classifier to explain.
        batch_size: images in one forward pass at most.
        quantity: ``pmi`` (log p - log q of the target, nats), ``ig`` (KL(p||q), nats), ``ig_terms`` (the target's share
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
    default_quantity: ClassVar[str] = "pmi"
    resources = frozenset({"background", "folder"})

    def __init__(
        self,
        classifier: TargetClassifier,
        *,
        batch_size: int = 64,
        quantity: str | None = None,
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
        self.quantity = quantity or self.default_quantity
        self.window, self.stride, self.samples = window, stride, samples
        self.scales, self.refine, self.combine = scales, refine, combine
        self.max_evaluations, self.adaptive, self.tolerance = max_evaluations, adaptive, tolerance
        self.bias, self.border, self.common_noise, self.compat = bias, border, common_noise, compat
        self.laplace, self.rival, self.group = laplace, rival, group
        self.background, self.folder = background, folder
        self._check()
        self.sampler = build_sampler(sampler or DEFAULT_SAMPLER, background, folder)
        self._plan = WindowPlan(
            window, stride, samples, scales, refine, adaptive, max_evaluations, border,
            self.sampler.deterministic, self.sampler.window,
        )  # fmt: skip

    @property
    def fingerprints(self) -> dict[str, str]:
        """Of the learned in-fill, where it is asked for; simpler ones follow from the data."""
        return {"in-fill": self.sampler.fingerprint} if isinstance(self.sampler, LearnedSampler) else {}

    def explain_image(self, instance: Instance) -> InstanceResult:
        """Make the map of one image."""
        tables, has_refinement = self.tables(instance)
        maps = self._maps(tables)
        found = combined([scale.map for scale in maps[: len(maps) - has_refinement]], self.combine)
        share = 0.0
        if has_refinement:
            found = refined(found, maps[-1])
            share = float((maps[-1].coverage > 0).double().mean())
        shown = found.value if self.bias == "none" or found.corrected is None else found.corrected
        return InstanceResult(shown.float(), extras_of(maps, found, self.sampler.card(), share))

    def tables(self, instance: Instance) -> tuple[list[InformationTable], bool]:
        """The full tables of an image, one for each scale, and whether the last of them is a partial refinement."""
        image, target = instance.image, instance.target
        shape = (image.shape[1], image.shape[2])
        levels = self._plan.levels(shape)
        floor = math.log(2 * SMALLEST_PROBABILITY) if self.classifier.scores == "probabilities" else -math.inf
        engine = InformationEngine(self.classifier.logits, self.sampler, batch_size=self.batch_size, floor=floor)
        log_p = engine.image_log_probabilities(image)
        left = self._plan.budget

        def run(number: int, windows: Windows, samples: int, budget: int) -> InformationTable:
            salts = [0] * len(windows) if self.common_noise else range(len(windows))
            generators = [instance.generator(number, salt) for salt in salts]
            tolerance = self.tolerance if self.adaptive else None
            return engine.run(image, log_p, target, windows, samples, generators, tolerance=tolerance, budget=budget)

        tables = []
        for number, level in enumerate(levels):
            budget = self._plan.share(left, levels[number + 1 :], shape)
            tables.append(run(number, self._plan.windows(shape, level), level.samples, budget))
            left -= tables[-1].forwards
        if not self.refine:
            return tables, False
        coarse = combined([scale.map for scale in self._maps(tables)], self.combine)
        fine, samples = self._plan.finer(coarse.value.abs(), levels, left)
        if len(fine) == 0:
            return tables, False
        return [*tables, run(len(levels), fine, samples, left)], True

    def _maps(self, tables: Sequence[InformationTable]) -> list[ScaleMap]:
        quantity = self._quantity(tables[0])
        return [scale_map(table, quantity, self.common_noise) for table in tables]

    def _quantity(self, table: InformationTable) -> Quantity:
        rival = self.rival
        if rival is None:
            others = table.log_p.clone()
            others[table.target] = -math.inf
            rival = int(others.argmax())
        return Quantity(
            self.quantity,
            rival=class_number(rival, self.classifier.classes),
            group=[class_number(item, self.classifier.classes) for item in self.group or ()],
            examples=self.laplace or math.inf,
            bias=self.bias,
            published=self.compat == "published",
        )

    def _check(self) -> None:
        check_quantity(self.quantity)
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
        if self.quantity == "group_pmi" and not self.group:
            problems.append("`quantity=group_pmi` needs `group`: the classes whose probabilities are summed.")
        if problems:
            raise UserError(problems)
        if not isinstance(self.scales, bool) and any(len(scale) != 3 for scale in self.scales):
            raise UserError(f"`scales` must be a list of (window, stride, samples), but is {self.scales}.")


class PointwiseMutualInformation(InformationMap):
    """Point-wise mutual information of patch and target class: positive where the patch speaks for the class.

    See ``InformationMap`` for options and extras. Reference: Yi et al. 2020, arXiv:2009.11150.
    """


class InformationGain(InformationMap):
    """Information gain ``KL(p || q)`` of every patch: how much the prediction rests on it, whatever the class.

    See ``InformationMap`` for options and extras. Reference: Yi et al. 2020, arXiv:2009.11150.
    """

    name = "ig"
    default_quantity = "ig"
    class_specific = False
