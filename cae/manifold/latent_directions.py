"""Directions of the class code that mean something: from class to class, and those along which the images change."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from cae.manifold.class_manifold import ClassManifold

MOST_DIRECTIONS = 10  # between classes, nearest ones first; ten classes would have 45
LATENT_DIRECTIONS = 4


@dataclass(frozen=True, eq=False)
class ClassDirection:
    """The step from the mean code of one class to that of another.

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


def class_directions(manifold: ClassManifold, most: int = MOST_DIRECTIONS) -> list[ClassDirection]:
    """A direction for every two classes, those with the nearest mean codes first.

    The difference of the means is what images of the two classes differ by; a discriminant direction, which divides
    it by the spread within the classes, tells them apart best but leads to codes that no image has.
    """
    found = {k: manifold.prototypes(k) for k in range(len(manifold.classes))}
    means = {k: prototype.mean for k, prototype in found.items() if prototype is not None}
    directions = [
        ClassDirection(a, b, f"{manifold.classes[a]}<->{manifold.classes[b]}", means[b] - means[a])
        for a in means
        for b in means
        if a < b
    ]
    return sorted(directions, key=lambda direction: float(manifold.standardised(direction.step).norm()))[:most]


def latent_directions(changes: Tensor, edits: Tensor, count: int = LATENT_DIRECTIONS) -> LatentDirections:
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


def principal_paths(codes: Tensor, start: Tensor, axes: int, positions: Sequence[float]) -> Tensor:
    """Class codes along the principal axes of a cloud of codes, through one code.

    Args:
        codes: ``(N, D)``.
        start: ``(D,)`` where all axes cross.
        axes: A at most, those of the largest variance first.
        positions: S offsets, in standard deviations of the cloud along the axis.

    Returns:
        ``(A, S, D)``.
    """
    cloud = codes.double() - codes.double().mean(0)
    _, sizes, directions = torch.linalg.svd(cloud, full_matrices=False)
    steps = directions[:axes] * (sizes[:axes, None] / len(codes) ** 0.5)  # one standard deviation along each axis
    offsets = torch.tensor(list(positions), dtype=torch.float64)
    return (start.double() + offsets[None, :, None] * steps[:, None]).to(start.dtype)
