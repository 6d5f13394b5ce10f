"""Directions of the class code that mean something: from class to class, and those along which the images change."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from cae.data.selection import spread_over_classes
from cae.devices import device_of
from cae.manifold.class_manifold import ClassManifold
from cae.metrics.statistics import interval
from cae.models.editing import ResidualEdit

MOST_AXES = 10  # named ones, nearest classes first; ten classes would have 45
EDIT_AXES = 4
IMAGES = 24  # of each class moved along an axis; also donors and recipients of the edits
REACH = 2.0  # standard deviations to either side in which an axis has to change verdicts
RELEVANT = 0.1  # share of images whose verdict an axis has to change to count …
LEAST_SHARE = 0.05  # … and share of the edits that it has to carry: far out, any direction changes some verdict


@dataclass(frozen=True, eq=False)
class ClassDirection:
    """The way from the mean code of one class to that of another.

    Attributes:
        first: index of the class at position 0.
        second: index of the class at position 1.
        name: of both, as ``mass<->cyst``.
        step: ``(D,)`` from the one mean to the other.
    """

    first: int
    second: int
    name: str
    step: Tensor


@dataclass(frozen=True, eq=False)
class LatentDirections:
    """Orthogonal directions ``(A, D)`` of the standardised class code, by how much they change the images.

    ``shares (A,)`` of the squared covariance between codes and edits, the largest first.
    """

    directions: Tensor
    shares: Tensor


def class_axes(manifold: ClassManifold, most: int = MOST_AXES) -> list[ClassDirection]:
    """An axis for every two classes, those with the nearest mean codes first.

    The difference of the means is what images of the two classes differ by; a discriminant direction, which divides
    it by the spread within the classes, tells them apart best but leads to codes that no image has.
    """
    found = {k: manifold.prototypes(k) for k in range(len(manifold.classes))}
    means = {k: prototype.mean for k, prototype in found.items() if prototype is not None}
    axes = [
        ClassDirection(a, b, f"{manifold.classes[a]}<->{manifold.classes[b]}", means[b] - means[a])
        for a in means
        for b in means
        if a < b
    ]
    return sorted(axes, key=lambda axis: float(manifold.standardised(axis.step).norm()))[:most]


def edit_axes(changes: Tensor, edits: Tensor, count: int = EDIT_AXES) -> LatentDirections:
    """Directions of the code that covary most with what the decoder changes.

    Args:
        changes: ``(P, D)`` standardised code given minus the image's own.
        edits: ``(P, F)`` features of the changed image minus those of the image.
        count: A at most.

    Reference: Bookstein et al. 1996, Partial least squares (singular vectors of the cross-covariance).
    """
    # not centred: a code that does not change edits nothing
    left, sizes, _ = torch.linalg.svd(changes.double().T @ edits.double(), full_matrices=False)
    shares = sizes.square() / sizes.square().sum().clamp_min(1e-300)
    return LatentDirections(left.T[:count], shares[:count])


@dataclass(frozen=True, eq=False)
class LatentShift:
    """Test images, and what they become and are taken for when their class codes are moved (``output=residual``)."""

    cae: Any
    judges: Mapping[str, Any]
    transfer: ResidualEdit
    batch_size: int

    @classmethod
    def of(cls, cae: Any, judges: Mapping[str, Any], images: Tensor, batch_size: int) -> LatentShift:
        """A mover of images ``(N, C, H, W)`` in [0, 1], judged by ``judges``, among them ``target``."""
        return cls(cae, judges, ResidualEdit(cae, images.to(device_of(cae)), batch_size), batch_size)

    @property
    def codes(self) -> Tensor:
        """``(N, D)`` the images' own class codes."""
        return self.transfer.codes.class_code.cpu()

    def images(self, rows: Tensor, codes: Tensor) -> Tensor:
        """The images of ``rows (R,)`` under class codes ``(R, D)``: ``(R, C, H, W)`` in [0, 1], on the CPU."""
        place = self.transfer.images.device
        parts = zip(rows.split(self.batch_size), codes.split(self.batch_size), strict=True)
        return torch.cat([self.transfer.onto(r.to(place), c.to(place)).clamp(0, 1).cpu() for r, c in parts])

    def answers(self, images: Tensor, judge: str = "target") -> Tensor:
        """Probabilities ``(R, K)`` that a judge gives to images."""
        model = self.judges[judge]
        parts = images.split(self.batch_size)
        return torch.cat([model.probabilities(part.to(device_of(model))).float().cpu() for part in parts])

    def features(self, images: Tensor) -> Tensor:
        """The target classifier's features ``(R, F)`` of images."""
        model = self.judges["target"]
        parts = images.split(self.batch_size)
        return torch.cat([model.features(part.to(device_of(model))).float().cpu() for part in parts])


def measure_class_axes(
    mover: LatentShift, verdicts: Tensor, axes: Sequence[ClassDirection], std: Tensor, seed: int
) -> dict:
    """Do images take the other class's verdict when their codes are moved by the whole axis, in either sense?

    Args:
        mover: of the test images.
        verdicts: ``(N,)`` of them.
        axes: to move along.
        std: ``(D,)`` unit of distance.
        seed: of the images, of the intervals, and of the control: steps as long, in random directions.

    Returns:
        ``axes/<name>`` for each, and ``axes/reached`` over all, each also as ``…_oracle`` and ``…_random``.
    """
    generator = torch.Generator().manual_seed(seed)
    metrics: dict[str, float] = {}
    hits: dict[str, list[Tensor]] = {}
    groups: list[Tensor] = []
    for axis in axes:
        rows, targets, steps = _moves(axis, verdicts, generator)
        if not len(rows):
            continue
        codes = mover.codes[rows]
        groups.append(rows)
        moved = mover.images(rows, codes + steps)
        found = {name: mover.answers(moved, judge).argmax(1) == targets for name, judge in _kinds(mover)}
        random = torch.randn(steps.shape, generator=generator)
        length = (steps / std).norm(dim=1, keepdim=True)
        aside = random / random.norm(dim=1, keepdim=True) * length * std
        found["_random"] = mover.answers(mover.images(rows, codes + aside)).argmax(1) == targets
        for name, hit in found.items():
            metrics[f"axes/{axis.name}{name}"] = float(hit.double().mean())
            hits.setdefault(name, []).append(hit)
    for name, parts in hits.items():
        values = torch.cat(parts).double().numpy()
        low, high = interval(values, [str(row) for row in torch.cat(groups).tolist()], seed=seed)
        metrics |= {f"axes/reached{name}": float(values.mean())}
        metrics |= {f"axes/reached{name}_low": low, f"axes/reached{name}_high": high}
    return metrics


def _moves(axis: ClassDirection, verdicts: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """Images at either end of an axis, the class to reach, and the step ``(R, D)`` there."""
    rows, targets, steps = [], [], []
    for source, target, step in ((axis.first, axis.second, axis.step), (axis.second, axis.first, -axis.step)):
        members = (verdicts == source).nonzero()[:, 0]
        members = members[torch.randperm(len(members), generator=generator)[:IMAGES]]
        rows.append(members)
        targets.append(torch.full_like(members, target))
        steps.append(step.expand(len(members), -1))
    return torch.cat(rows), torch.cat(targets), torch.cat(steps)


def _kinds(mover: LatentShift) -> list[tuple[str, str]]:
    return [("" if judge == "target" else f"_{judge}", judge) for judge in mover.judges]


def find_edit_axes(mover: LatentShift, verdicts: Tensor, manifold: ClassManifold, seed: int) -> LatentDirections:
    """The edit axes of swaps between test images, with the target classifier's features."""
    chosen = spread_over_classes(verdicts, 2 * IMAGES, seed)
    recipients, donors = chosen.chunk(2) if len(chosen) > 1 else (chosen, chosen)
    rows, givers = torch.cartesian_prod(recipients, donors).unbind(1)
    codes = mover.codes
    edits = mover.features(mover.images(rows, codes[givers])) - mover.features(mover.images(rows, codes[rows]))
    return edit_axes((codes[givers] - codes[rows]).double() / manifold.std, edits)


def measure_edit_axes(
    mover: LatentShift, verdicts: Tensor, axes: LatentDirections, std: Tensor, seed: int
) -> dict[str, float]:
    """Share of images whose verdict changes between two standard deviations to either side, for each edit axis.

    Returns:
        ``axes/edit_<number>_share``, ``axes/edit_<number>_flips``, and ``axes/decision_relevant``, the number of axes
        that carry at least a twentieth of the edits and change at least a tenth of the verdicts.
    """
    rows = spread_over_classes(verdicts, 2 * IMAGES, seed)
    metrics: dict[str, float] = {}
    codes, flips = mover.codes[rows], list[float]()
    for number, (direction, share) in enumerate(zip(axes.directions, axes.shares.tolist(), strict=True), start=1):
        step = (REACH * direction * std).to(codes.dtype)
        sides = [mover.answers(mover.images(rows, codes + sign * step)).argmax(1) for sign in (-1, 1)]
        flips.append(float((sides[0] != sides[1]).double().mean()))
        metrics |= {f"axes/edit_{number}_share": share, f"axes/edit_{number}_flips": flips[-1]}
    relevant = (axes.shares.numpy() >= LEAST_SHARE) & (np.array(flips) >= RELEVANT)
    return metrics | {"axes/decision_relevant": int(relevant.sum())}
