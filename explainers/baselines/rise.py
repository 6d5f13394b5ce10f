"""RISE: the mean of random masks, weighted by the probability that the class keeps under each."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn import functional as F

from cae.classifiers import TargetClassifier
from cae.errors import UserError
from explainers.base import Explainer, Instance, InstanceResult
from explainers.option_checks import below


class Rise(Explainer):
    """How probable the class is on average where a pixel is kept, over masks that keep a random half of the image.

    The map is ``1 / (N p) sum_i f(x m_i) m_i``, in units of the probability and never negative; its level says little,
    its differences do. Masked parts are grey, as in the authors' program, whose zero is the mean colour.

    Args:
        classifier: the classifier to explain.
        batch_size: images in one forward pass at most.
        masks: number N of masks, which are that many evaluations (the authors take 4,000 to 8,000).
        cells: cells of a mask along each side.
        keep: probability p that a cell is kept.
        fill: grey value of what is masked, in [0, 1].

    Reference: Petsiuk et al. 2018, arXiv:1806.07421, eqs. 5 and 6, sections 3.1 and 3.2.
    """

    name = "rise"

    def __init__(
        self,
        classifier: TargetClassifier,
        *,
        batch_size: int = 64,
        masks: int = 1352,
        cells: int = 7,
        keep: float = 0.5,
        fill: float = 0.5,
    ):
        super().__init__(classifier, batch_size=batch_size)
        self.masks = masks
        self.cells = cells
        self.keep = keep
        self.fill = fill
        problems = below(self, 1, "masks", "cells")
        if not 0 < keep < 1:
            problems.append(f"`keep` must be in (0, 1), but is {keep}.")
        if not 0 <= fill <= 1:
            problems.append(f"`fill` must be a grey value in [0, 1], but is {fill}.")
        if problems:
            raise UserError(problems)

    @torch.no_grad()
    def explain_image(self, instance: Instance) -> InstanceResult:
        """Score the masked copies, a batch at a time."""
        image = instance.image
        height, width = image.shape[1:]
        total = torch.zeros(height, width, dtype=torch.float64, device=image.device)
        for masks in self._masks(instance, height, width):
            masks = masks.to(image)
            scores = self.score(self.fill + (image - self.fill) * masks)[:, instance.target]
            total += torch.einsum("n,nhw->hw", scores.double(), masks[:, 0].double())
        return InstanceResult((total / (self.masks * self.keep)).float())

    def _masks(self, instance: Instance, height: int, width: int) -> Iterator[Tensor]:
        # small tensors, drawn at once, so that the batch size has no part in them
        generator = instance.generator()
        grids = (torch.rand(self.masks, 1, self.cells, self.cells, generator=generator) < self.keep).float()
        shifts = torch.rand(self.masks, 2, generator=generator)
        for rows in torch.arange(self.masks).split(self.batch_size):
            yield rise_masks(grids[rows], shifts[rows], (height, width))


def rise_masks(grids: Tensor, shifts: Tensor, size: tuple[int, int]) -> Tensor:
    """Grids of cells, enlarged bilinearly to one cell more than the image, and cropped at random.

    Args:
        grids: ``(N, 1, s, s)`` of 0 (masked) and 1 (kept).
        shifts: ``(N, 2)`` in [0, 1): place of the crop, as shares of a cell.
        size: height and width of the image.

    Returns:
        ``(N, 1, H, W)`` in [0, 1]; every pixel is kept with the probability of a cell, on average.

    Reference: Petsiuk et al. 2018, arXiv:1806.07421, section 3.2.
    """
    cells = grids.shape[-1]
    cell = [math.ceil(side / cells) for side in size]
    enlarged = F.interpolate(grids, size=[(cells + 1) * side for side in cell], mode="bilinear", align_corners=False)
    corners = (shifts * torch.tensor(cell)).long().tolist()
    pairs = zip(enlarged, corners, strict=True)
    return torch.stack([mask[:, top : top + size[0], left : left + size[1]] for mask, (top, left) in pairs])
