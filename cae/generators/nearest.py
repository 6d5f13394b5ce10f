"""The nearest training image of the target class, faded in as far as the classifier needs: no generator at all."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from cae.counterfactuals.path_search import target_margin
from cae.generators.base import Generated, Generator
from cae.generators.search import nearest_of_class, smallest_share
from cae.runs.trained_run import TrainedRun


class NearestImage(Generator):
    """``x + a (x_n - x)``: x_n the nearest training image in the classifier's features, of those of the target class.

    Of a class are images that the classifier gives to it by the margin asked for. The share a in [0, 1] is the smallest
    that reaches the margin, by bisection; the end of the path is x_n itself.

    Reference: Goyal et al. 2019, arXiv:1904.07451, section 3, for counterfactuals from images of the other class.
    """

    words = "nearest training image of the target class, faded in"
    has_path = True

    def prepare(self, folder: Path) -> None:
        """Read features and classes of the training images, once."""
        self._training = read_training(self.run)

    def generate(self, images: Tensor, targets: Tensor) -> Generated:
        """As the class says; where the classifier gives no training image to a target, the image as it is."""
        features, classes = self._training
        index = nearest_of_class(self.run.classifier.features(images).float().cpu(), targets.cpu(), features, classes)
        others = [self.run.data.train[row].image if row >= 0 else None for row in index.tolist()]
        ends = torch.stack([x if other is None else other.to(x) for x, other in zip(images, others, strict=True)])

        def faded(shares: Tensor, rows: Tensor) -> Tensor:
            return torch.lerp(images[rows], ends[rows], shares[:, None, None, None])

        def reached(shares: Tensor, rows: Tensor) -> Tensor:
            return self.reached(faded(shares, rows), targets[rows])

        zeros, rows = torch.zeros(len(images), device=images.device), torch.arange(len(images), device=images.device)
        shares = smallest_share(reached, zeros, zeros + 1)
        return Generated(faded(shares, rows), ends)


@torch.no_grad()
def read_training(run: TrainedRun) -> tuple[Tensor, Tensor]:
    """The classifier's features ``(N, F)`` of the training images, and their classes ``(N,)``, on the CPU.

    The class is the prediction, and -1 where it does not lead by the margin that counterfactuals are asked for.
    """
    features, classes = [], []
    for batch in run.data.loader(run.data.train):
        shown = batch.images.to(run.device)
        features.append(run.classifier.features(shown).float().cpu())
        probabilities = run.classifier.probabilities(shown).float().cpu()
        first = probabilities.argmax(1)
        sure = target_margin(probabilities, first) >= run.config.counterfactual.margin
        classes.append(torch.where(sure, first, -1))
    return torch.cat(features), torch.cat(classes)
