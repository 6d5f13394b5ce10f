"""Swaps of class codes between test images: which pairs are drawn, and what classifiers make of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from cae.devices import device_of
from cae.errors import UserError
from cae.models.editing import ResidualEdit


@dataclass(frozen=True, eq=False)
class ClassifiedSwaps:
    """P swaps under several classifiers: recipient i keeps its individual code, donor j gives its class code.

    Attributes:
        recipients: ``(P,)`` indices of images.
        donors: ``(P,)`` indices of images.
        decoded: by classifier, probabilities ``(P, K)`` of the decoded swaps.
        residual: by classifier, probabilities ``(P, K)`` of the change brought into the recipients themselves; empty
            where not asked for.
        change: ``(P,)`` mean absolute difference of swap and reconstruction, on [0, 1].
    """

    recipients: Tensor
    donors: Tensor
    decoded: dict[str, Tensor]
    residual: dict[str, Tensor]
    change: Tensor


def sample_pairs(
    predictions: Tensor, count: int, classes: int, seed: int, same_class: bool = False
) -> tuple[Tensor, Tensor]:
    """Recipients and donors spread evenly over all ordered pairs of classes that occur.

    Args:
        predictions: ``(N,)`` class of each image.
        count: how many pairs in all; fewer come back where a pair of classes has not enough (no pair comes twice).
        classes: number of classes K.
        seed: same seed, same pairs.
        same_class: also pair images of one class with each other (never an image with itself).

    Returns:
        recipient indices and donor indices, both ``(P,)`` int64.

    Raises:
        UserError: where the images leave no pair to draw.
    """
    generator = np.random.default_rng(seed)
    members = [np.flatnonzero(predictions.cpu().numpy() == k) for k in range(classes)]
    strata = [(a, b) for a in range(classes) for b in range(classes) if a != b or same_class]
    sizes = {(a, b): len(members[a]) * (len(members[b]) - (a == b)) for a, b in strata}
    strata = [stratum for stratum in strata if sizes[stratum] > 0]
    if not strata:
        seen = sum(len(member) > 0 for member in members)
        raise UserError(
            f"no swap between classes can be drawn: the classifier gives {len(predictions)} images only {seen} "
            "class(es). Use more images, or a classifier that tells them apart."
        )
    chosen: list[np.ndarray] = []
    for position, stratum in enumerate(strata):
        share = count // len(strata) + (position < count % len(strata))
        flat = generator.choice(sizes[stratum], size=min(share, sizes[stratum]), replace=False)
        chosen.append(_pairs_of(flat, members[stratum[0]], members[stratum[1]], stratum[0] == stratum[1]))
    recipients, donors = np.concatenate(chosen, axis=1)
    return torch.from_numpy(recipients), torch.from_numpy(donors)


def _pairs_of(flat: np.ndarray, recipients: np.ndarray, donors: np.ndarray, same: bool) -> np.ndarray:
    rows, columns = np.divmod(flat, len(donors) - same)
    if same:  # leave the diagonal out
        columns = columns + (columns >= rows)
    return np.stack([recipients[rows], donors[columns]])


@torch.no_grad()
def classify_swaps(
    cae: Any,
    classifiers: Mapping[str, Any],
    images: Tensor,
    pairs: tuple[Tensor, Tensor],
    batch_size: int = 64,
    residual: bool = False,
    class_codes: Tensor | None = None,
) -> ClassifiedSwaps:
    """Decode the swaps of all pairs and let every classifier score them.

    Args:
        cae: ``encode(images) -> Codes`` and ``decode(class_code, individual_code) -> images``.
        classifiers: by name, each with ``probabilities(images) -> (B, K)``.
        images: ``(N, C, H, W)`` in [0, 1], on the device of the networks or on the CPU.
        pairs: recipient and donor indices, each ``(P,)``.
        batch_size: images in one forward pass.
        residual: score the change brought into the recipients themselves (``cae.models.editing``) as well.
        class_codes: ``(P, D)`` codes to use in place of the donors' (for baselines).
    """
    device = device_of(cae)
    recipients, donors = pairs
    if class_codes is None:
        class_codes = _donor_codes(cae, images, donors, batch_size)
    decoded: dict[str, list[Tensor]] = {name: [] for name in classifiers}
    edited: dict[str, list[Tensor]] = {name: [] for name in classifiers if residual}
    change: list[Tensor] = []
    for pair in torch.arange(len(recipients)).split(batch_size):
        edit = ResidualEdit(cae, images[recipients[pair]].to(device), batch_size)
        rows, codes = torch.arange(len(pair), device=device), class_codes[pair].to(device)
        swaps = edit.decoded(rows, codes)
        change.append((swaps - edit.reconstructions).abs().flatten(1).mean(1).cpu())
        _score(classifiers, swaps, decoded)
        if residual:
            _score(classifiers, edit.onto(rows, codes).clamp(0, 1), edited)
    return ClassifiedSwaps(recipients, donors, _joined(decoded), _joined(edited), torch.cat(change))


def _donor_codes(cae: Any, images: Tensor, donors: Tensor, batch_size: int) -> Tensor:
    """Class codes ``(P, D)`` of the donors, each image encoded once."""
    used, position = torch.unique(donors, return_inverse=True)
    parts = [cae.encode(images[rows].to(device_of(cae))).class_code.cpu() for rows in used.split(batch_size)]
    return torch.cat(parts)[position]


def _score(classifiers: Mapping[str, Any], images: Tensor, scores: dict[str, list[Tensor]]) -> None:
    for name, classifier in classifiers.items():
        scores[name].append(classifier.probabilities(images).cpu())


def _joined(scores: Mapping[str, list[Tensor]]) -> dict[str, Tensor]:
    return {name: torch.cat(parts) for name, parts in scores.items()}
