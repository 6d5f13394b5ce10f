"""What a generator of counterfactuals is: one class with ``generate(images, targets)``, and what that gives."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from cae.counterfactuals.path_search import round_to_8_bits, target_margin
from cae.runs.trained_run import TrainedRun


@dataclass(frozen=True, eq=False)
class Generated:
    """What a generator makes of images; on any device.

    Attributes:
        images: ``(B, C, H, W)`` in [0, 1], the counterfactuals; where none was found, the nearest attempt.
        ends: ``(B, C, H, W)`` ends of the paths, well beyond the boundary; None of a generator without paths.
        bases: ``(B, C, H, W)`` what the change is seen against, such as reconstructions; None for the originals.
        passes: ``(B,)`` or ``(1,)`` passes of one image through the generator's own networks; None for none. Those of
            the classifier are counted by itself.
    """

    images: Tensor
    ends: Tensor | None = None
    bases: Tensor | None = None
    passes: Tensor | None = None


class Generator(ABC):
    """Turns images into counterfactuals for the classifier of a run; no state between calls but what was learnt.

    Every image is rounded to 8 bits before it is judged, and should be before it is searched with: ``reached`` does.
    What comes of an image must not depend on the others of its batch.

    Args:
        run: the trained run, whose classifier is to be convinced; all models frozen.
        seed: of training and search.

    Attributes:
        words: what the generator does, in a sentence part for tables.
        control: whether it is one that must not succeed.
        has_path: whether ``generate`` gives ``ends``.
        needs_gradients: whether it follows gradients of the classifier, which a black box cannot give.
    """

    words: ClassVar[str] = ""
    control: ClassVar[bool] = False
    has_path: ClassVar[bool] = False
    needs_gradients: ClassVar[bool] = False

    def __init__(self, run: TrainedRun, seed: int):
        self.run, self.seed = run, seed

    @property
    def parameters(self) -> dict[str, Any]:
        """Everything of its own that the results depend on, as plain values."""
        return {}

    def prepare(self, folder: Path) -> float | None:
        """Learn, or load, what ``generate`` needs; called once before it. What is interrupted goes on in ``folder``.

        Returns:
            seconds of training, over all calls; None of a generator that does not learn.
        """
        return None

    @abstractmethod
    def generate(self, images: Tensor, targets: Tensor) -> Generated:
        """Counterfactuals of images ``(B, C, H, W)`` in [0, 1] towards the classes ``targets (B,)``.

        Both lie on the device of the run; gradients are off, unless they are switched on within.
        """

    @torch.no_grad()
    def reached(self, images: Tensor, targets: Tensor) -> Tensor:
        """Whether ``(B,)`` bool the classifier gives images, rounded, to their targets by the margin asked for."""
        return self.margins(images, targets) >= self.run.config.counterfactual.margin

    @torch.no_grad()
    def margins(self, images: Tensor, targets: Tensor) -> Tensor:
        """By how much ``(B,)`` the target's probability exceeds every other for images that are rounded to 8 bits."""
        parts = round_to_8_bits(images).split(self.run.config.counterfactual.batch_size)
        probabilities = torch.cat([self.run.classifier.probabilities(part) for part in parts]).float()
        return target_margin(probabilities, targets.to(probabilities.device))
