"""Diagnostics of directions of the class code: whether images moved along them change their class."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from cae.data.selection import spread_over_classes
from cae.diagnostics.context import mean_with_interval
from cae.manifold.latent_directions import ClassDirection, LatentDirections
from cae.manifold.latent_shift import LatentShift

IMAGES = 24  # of each class moved along a direction
REACH = 2.0  # standard deviations to either side in which a direction has to change predictions
RELEVANT = 0.1  # share of images whose prediction a direction has to change to count …
LEAST_SHARE = 0.05  # … and share of the edits that it has to carry: far out, any direction changes some prediction


def measure_class_directions(
    shift: LatentShift, predictions: Tensor, directions: Sequence[ClassDirection], std: Tensor, seed: int
) -> dict[str, float]:
    """Are images taken for the other class when their codes are moved by the whole step, in either sense?

    Args:
        shift: of the test images.
        predictions: ``(N,)`` of them.
        directions: to move along.
        std: ``(D,)`` unit of distance.
        seed: of the images, of the intervals, and of the control: steps as long, in random directions.

    Returns:
        ``axes/<name>`` for each, and ``axes/reached`` over all, each also as ``…_oracle`` and ``…_random``.
    """
    generator = torch.Generator().manual_seed(seed)
    metrics: dict[str, float] = {}
    hits: dict[str, list[Tensor]] = {}
    groups: list[Tensor] = []
    for direction in directions:
        rows, targets, steps = _moves(direction, predictions, generator)
        if not len(rows):
            continue
        groups.append(rows)
        for name, hit in _reached(shift, rows, targets, steps, std, generator).items():
            metrics[f"axes/{direction.name}{name}"] = float(hit.double().mean())
            hits.setdefault(name, []).append(hit)
    for name, parts in hits.items():
        images = [str(row) for row in torch.cat(groups).tolist()]
        metrics |= mean_with_interval(f"axes/reached{name}", torch.cat(parts), images, seed)
    return metrics


def _moves(direction: ClassDirection, predictions: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """Images at either end of a direction, the class to reach, and the step ``(R, D)`` there."""
    rows, targets, steps = [], [], []
    first, second = direction.first, direction.second
    for source, target, step in ((first, second, direction.step), (second, first, -direction.step)):
        members = (predictions == source).nonzero()[:, 0]
        members = members[torch.randperm(len(members), generator=generator)[:IMAGES]]
        rows.append(members)
        targets.append(torch.full_like(members, target))
        steps.append(step.expand(len(members), -1))
    return torch.cat(rows), torch.cat(targets), torch.cat(steps)


def _reached(
    shift: LatentShift, rows: Tensor, targets: Tensor, steps: Tensor, std: Tensor, generator: torch.Generator
) -> dict[str, Tensor]:
    """Whether each moved image is taken for its target ``(R,)``: by the target classifier (its name is empty), by the
    others, and, moved as far in a random direction, by the target classifier again."""
    codes = shift.codes[rows]
    moved = shift.images(rows, codes + steps)
    reached = {
        "" if name == "target" else f"_{name}": shift.probabilities(moved, name).argmax(1) == targets
        for name in shift.classifiers
    }
    random = torch.randn(steps.shape, generator=generator)
    length = (steps / std).norm(dim=1, keepdim=True)
    aside = random / random.norm(dim=1, keepdim=True) * length * std
    control = shift.probabilities(shift.images(rows, codes + aside)).argmax(1) == targets
    return reached | {"_random": control}


def measure_latent_directions(
    shift: LatentShift, predictions: Tensor, directions: LatentDirections, std: Tensor, seed: int
) -> dict[str, float]:
    """Share of images whose prediction changes between two standard deviations to either side, for each direction.

    Returns:
        ``axes/edit_<number>_share``, ``axes/edit_<number>_flips``, and ``axes/decision_relevant``, the number of
        directions that carry at least a twentieth of the edits and change at least a tenth of the predictions.
    """
    rows = spread_over_classes(predictions, 2 * IMAGES, seed)
    metrics: dict[str, float] = {}
    codes, flips = shift.codes[rows], list[float]()
    pairs = zip(directions.directions, directions.shares.tolist(), strict=True)
    for number, (direction, share) in enumerate(pairs, start=1):
        step = (REACH * direction * std).to(codes.dtype)
        sides = [shift.probabilities(shift.images(rows, codes + sign * step)).argmax(1) for sign in (-1, 1)]
        flips.append(float((sides[0] != sides[1]).double().mean()))
        metrics |= {f"axes/edit_{number}_share": share, f"axes/edit_{number}_flips": flips[-1]}
    relevant = (directions.shares.numpy() >= LEAST_SHARE) & (np.array(flips) >= RELEVANT)
    return metrics | {"axes/decision_relevant": int(relevant.sum())}
