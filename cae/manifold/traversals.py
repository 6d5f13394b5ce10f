"""Images moved along directions of the class code, with what the classifier says of each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from cae.classifiers.batched import batched_probabilities
from cae.data.selection import spread_over_classes
from cae.devices import device_of
from cae.manifold.class_manifold import ClassManifold
from cae.manifold.latent_directions import ClassDirection, LatentDirections, principal_paths
from cae.manifold.latent_shift import LatentShift
from cae.models.cae import Codes

PRINCIPAL_AXES = 4  # of the class codes
DEVIATIONS = (-3.0, -2.0, -1.0, 0.0, 1.0, 2.0, 3.0)  # standard deviations along a direction
SHARES = (-0.5, 0.0, 0.25, 0.5, 0.75, 1.0, 1.5)  # of the step from one class's mean code to another's


@dataclass(frozen=True, eq=False)
class DirectionTraversals:
    """An image at S positions along each of A directions.

    Attributes:
        images: ``(A, S, C, H, W)`` in [0, 1].
        probabilities: ``(A, S, K)`` of the classifier.
        names: of the directions.
        positions: in words.
        title: what the positions are.
    """

    images: Tensor
    probabilities: Tensor
    names: Sequence[str]
    positions: Sequence[str]
    title: str


def class_traversals(
    shift: LatentShift, directions: Sequence[ClassDirection], probabilities: Tensor, classes: Sequence[str]
) -> DirectionTraversals | None:
    """For each class direction the surest image of its first class; None where no class has an image.

    Args:
        shift: of the images.
        directions: between classes.
        probabilities: ``(N, K)`` of the images as they are.
        classes: K names.
    """
    starts = [
        (direction, members[0])
        for direction in directions
        if len(members := _surest_first(probabilities, direction.first))
    ]
    if not starts:
        return None
    steps = torch.stack([torch.tensor(SHARES)[:, None] * direction.step for direction, _ in starts])
    images, moved = _moved(shift, torch.stack([row for _, row in starts]), steps)
    names = [f"{classes[direction.first]}\n↔ {classes[direction.second]}" for direction, _ in starts]
    positions = [f"{share:g}" for share in SHARES]
    title = "shares of the way from the first class's mean code to the second's"
    return DirectionTraversals(images, moved, names, positions, title)


def latent_traversals(
    shift: LatentShift, directions: LatentDirections, predictions: Tensor, std: Tensor, seed: int
) -> DirectionTraversals:
    """One image along the latent directions.

    Args:
        shift: of the images.
        directions: to move along.
        predictions: ``(N,)`` of the images.
        std: ``(D,)`` unit of distance.
        seed: of the image.
    """
    steps = torch.tensor(DEVIATIONS)[None, :, None] * (directions.directions * std).float()[:, None]
    row = spread_over_classes(predictions, 1, seed)
    images, moved = _moved(shift, row.expand(len(steps)), steps)
    title = "offset of the class code along the principal axes of the edits, in standard deviations"
    return DirectionTraversals(images, moved, _numbered("edit", len(steps)), _signed(DEVIATIONS), title)


@torch.no_grad()
def principal_traversals(
    cae: Any, classifier: Any, manifold: ClassManifold, codes: Codes, batch_size: int
) -> DirectionTraversals:
    """One image, decoded along the principal axes of the training codes.

    Args:
        cae: ``decode(class_code, individual_code) -> images``.
        classifier: the target classifier.
        manifold: of the training codes.
        codes: of the image, ``(1, …)``.
        batch_size: images in one forward pass.
    """
    start = codes.class_code.float().cpu()[0]
    paths = principal_paths(manifold.codes, start, PRINCIPAL_AXES, DEVIATIONS)
    images = decode_under(cae, paths.flatten(0, 1), codes.individual_code, batch_size)
    probabilities = batched_probabilities(classifier, images, batch_size)
    shape, names = paths.shape[:2], _numbered("axis", len(paths))
    title = "offset of the class code along its principal axes, in standard deviations (decoded)"
    return DirectionTraversals(
        images.unflatten(0, shape), probabilities.unflatten(0, shape), names, _signed(DEVIATIONS), title
    )


@torch.no_grad()
def decode_under(cae: Any, class_codes: Tensor, individual_code: Tensor, batch_size: int) -> Tensor:
    """Images ``(N, C, H, W)`` in [0, 1], on the CPU, of class codes ``(N, D)`` with one individual code ``(1, …)``."""
    parts = [
        cae.decode(part.to(device_of(cae)), individual_code.expand(len(part), -1, -1, -1)).clamp(0, 1).float().cpu()
        for part in class_codes.split(batch_size)
    ]
    return torch.cat(parts)


def _surest_first(probabilities: Tensor, k: int) -> Tensor:
    """Rows of the images predicted as class ``k``, the surest first."""
    members = (probabilities.argmax(1) == k).nonzero()[:, 0]
    return members[probabilities[members, k].argsort(descending=True, stable=True)]


def _moved(shift: LatentShift, rows: Tensor, steps: Tensor) -> tuple[Tensor, Tensor]:
    """Images ``(A, S, C, H, W)``, probabilities ``(A, S, K)``: each of ``rows (A,)`` under its steps ``(A, S, D)``."""
    codes = shift.codes[rows][:, None] + steps
    images = shift.images(rows.repeat_interleave(steps.shape[1]), codes.flatten(0, 1))
    return images.unflatten(0, steps.shape[:2]), shift.probabilities(images).unflatten(0, steps.shape[:2])


def _numbered(word: str, count: int) -> list[str]:
    return [f"{word} {number + 1}" for number in range(count)]


def _signed(positions: Sequence[float]) -> list[str]:
    return [f"{position:+g}" if position else "0" for position in positions]
