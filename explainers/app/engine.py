"""What the app answers: paths, images under codes that are moved by hand, and what a change does inside a region.

Nothing of a visitor is kept here. Searches take turns, so that memory does not grow with the number of visitors.
"""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor

from cae.commands.traverse_outputs import OutputFiles
from cae.config import TraverseConfig
from cae.counterfactuals.find import find_counterfactuals
from cae.counterfactuals.result import Counterfactual
from cae.errors import UserError, did_you_mean
from cae.manifold.latent_directions import principal_paths
from cae.manifold.latent_shift import LatentShift
from cae.runs.trained_run import TrainedRun

REFERENCES = ("prototype", "medoid", "nearest", "diverse")
RUNNER_UP = "the runner-up"
MOST_AXES = 6  # of the class code that are moved by hand
FURTHEST = 4.0  # standard deviations by which a code is moved at most


@dataclass(frozen=True, eq=False)
class Answer:
    """What both classifiers say of an image ``(C, H, W)``; ``oracle`` is None where the run has none."""

    image: Tensor
    classifier: dict[str, float]
    oracle: dict[str, float] | None


@dataclass(frozen=True, eq=False)
class RegionAnswer:
    """What the change of a path does inside a region.

    Attributes:
        share: of the whole change, in absolute values, that lies inside it; None where nothing changes.
        inside: the original with the change inside the region alone.
        outside: the original with the change everywhere else.
    """

    share: float | None
    inside: Answer
    outside: Answer


def composed(original: Tensor, changed: Tensor, region: Tensor) -> Tensor:
    """The changed image ``(C, H, W)`` inside a region ``(1, H, W)``, the original elsewhere."""
    return torch.where(region, changed, original)


def share_inside(original: Tensor, changed: Tensor, region: Tensor) -> float | None:
    """Share of the absolute change that lies inside a region ``(1, H, W)``; None where nothing changes."""
    change = (changed - original).abs().sum(0, keepdim=True)
    total = float(change.sum())
    return float(change[region].sum()) / total if total > 0 else None


class Engine:
    """A run that answers.

    Args:
        run: models, data and manifold.

    Attributes:
        turn: held while the models are asked.
    """

    def __init__(self, run: TrainedRun):
        self.run = run
        self.turn = threading.Lock()

    @property
    def targets(self) -> list[str]:
        """What may be asked for: the runner-up, or a class."""
        return [RUNNER_UP, *self.run.classes]

    def explain(self, image: Tensor, target: str = RUNNER_UP, reference: str = "prototype") -> Counterfactual:
        """The path of an image ``(C, H, W)`` to another class.

        Raises:
            UserError: for an unknown target or reference.
        """
        if target not in self.targets:
            raise UserError(f"there is no class {target!r}{did_you_mean(target, self.targets)}.")
        if reference not in REFERENCES:
            raise UserError(f"the reference must be one of {', '.join(REFERENCES)}, but got {reference!r}.")
        run = self.run
        targets = None if target == RUNNER_UP else torch.tensor([run.classes.index(target)])
        options = dataclasses.replace(run.config.counterfactual, target="runner-up", reference=reference, average=1)
        with self.turn:
            return find_counterfactuals(
                run.cae, run.classifier, run.manifold, image[None], targets=targets, config=options, ids=["upload"],
                seed=run.config.seed,
            )[0]  # fmt: skip

    @torch.no_grad()
    def answer(self, images: Sequence[Tensor]) -> list[Answer]:
        """What classifier and oracle say of images ``(C, H, W)``."""
        batch = torch.stack(list(images)).to(self.run.device)
        with self.turn:
            seen = self.run.classifier.probabilities(batch).float().cpu()
            oracle = None if self.run.oracle is None else self.run.oracle.probabilities(batch).float().cpu()
        return [
            Answer(image, self._named(seen[row]), None if oracle is None else self._named(oracle[row]))
            for row, image in enumerate(images)
        ]

    def _named(self, probabilities: Tensor) -> dict[str, float]:
        return dict(zip(self.run.classes, probabilities.tolist(), strict=True))

    @cached_property
    def axes(self) -> Tensor:
        """``(A, D)`` principal axes of the training codes, each one standard deviation long, the longest first."""
        codes = self.run.manifold.codes
        return principal_paths(codes, torch.zeros(codes.shape[1]), MOST_AXES, (1.0,))[:, 0]

    @torch.no_grad()
    def moved(self, image: Tensor, offsets: Sequence[float]) -> Answer:
        """An image ``(C, H, W)`` whose class code is moved along the axes, by standard deviations, and the answers.

        Raises:
            UserError: for another number of offsets than there are axes, or one beyond ``FURTHEST``.
        """
        if len(offsets) != len(self.axes) or not all(abs(offset) <= FURTHEST for offset in offsets):
            raise UserError(f"the class code is moved along {len(self.axes)} axes, by at most {FURTHEST:g} deviations.")
        run = self.run
        with self.turn:
            shift = LatentShift.of(run.cae, {"target": run.classifier}, image[None], 1)
            codes = shift.codes + torch.tensor([float(offset) for offset in offsets]) @ self.axes
            changed = shift.images(torch.tensor([0]), codes)[0]
        return self.answer([changed])[0]

    def region(self, result: Counterfactual, region: Tensor) -> RegionAnswer:
        """What the change at the end of a path does inside a region ``(1, H, W)`` bool, and outside it.

        Raises:
            UserError: if there is no path, or the region is empty.
        """
        if result.end is None:
            raise UserError(f"there is no change to look at: {result.reason}.")
        if not bool(region.any()):
            raise UserError("the region is empty: draw over the part of the image that you ask about.")
        start = result.path_images[0]
        images = [composed(start, result.end, region), composed(start, result.end, ~region)]
        inside, outside = self.answer(images)
        return RegionAnswer(share_inside(start, result.end, region), inside, outside)


def written(result: Counterfactual, folder: Path) -> list[Path]:
    """The files that `explain.py traverse` with ``traverse.save=all`` writes of a result, below a folder."""
    files = OutputFiles(folder, TraverseConfig(save="all")).write(result, None, pictured=True)
    return [folder / name for name in dataclasses.asdict(files).values() if name is not None]
