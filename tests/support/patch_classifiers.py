"""Classifiers that look at patches of an image, so that all sufficient explanations are known exactly."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from cae.classifiers import TargetClassifier

SIDE, PATCH = 128, 16
THREE = [(8, 8), (60, 90), (100, 20)]
FIVE = [(8, 8), (8, 100), (56, 56), (100, 8), (100, 100)]
CORNERS = [(0, 0), (0, 112), (112, 0), (112, 112)]
SEEN = 154  # pixels of a patch that are 60 % of it


class Patches(nn.Module):
    """Class 0 against 1 by which patches are seen: at least 60 % of their pixels are 1."""

    def __init__(self, corners, rule):
        super().__init__()
        self.corners, self.rule = corners, rule

    def forward(self, images: Tensor) -> Tensor:
        seen = torch.stack([images[:, 0, r : r + PATCH, c : c + PATCH].double().mean((1, 2)) for r, c in self.corners])
        logit = 20 * (self.rule(seen, images) - 0.5999)
        return torch.stack([logit, torch.zeros_like(logit)], 1)


def either(seen, images):
    return seen.amax(0)


def every(seen, images):
    return seen.amin(0)


def second(seen, images):
    return seen.sort(0).values[-2]


def odd(seen, images):
    return ((seen >= 0.6).sum(0) % 2 == 1).double()


def distractor(seen, images):
    """A passes, A with D fails, A with D and B passes."""
    a, b, d = seen >= 0.6
    return (a & (~d | b)).double()


def whole(seen, images):
    return (images.double().mean((1, 2, 3)) >= 1 - 1e-9).double()


def always(seen, images):
    return torch.ones_like(seen[0])


def never(seen, images):
    return torch.zeros_like(seen[0])


def patches(corners, rule):
    return TargetClassifier(Patches(corners, rule), ["yes", "no"], image_shape=(1, SIDE, SIDE))


class Cells(nn.Module):
    """Class 0 by a table over the 16 cells of 16 pixels of which at least 60 % are shown."""

    def __init__(self, table):
        super().__init__()
        self.register_buffer("table", table)

    def forward(self, images: Tensor) -> Tensor:
        share = nn.functional.avg_pool2d(images.double(), 16).flatten(1)
        shown = ((share >= 0.6).long() << torch.arange(16)).sum(1)
        logit = torch.where(self.table[shown], 4.0, -4.0)
        return torch.stack([logit, torch.zeros_like(logit)], 1)


def cells_classifier(table):
    return TargetClassifier(Cells(table), ["yes", "no"], image_shape=(1, 64, 64))
