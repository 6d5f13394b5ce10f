"""Images under shifted class codes: what they become, and what classifiers take them for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from cae.classifiers.batched import batched_features, batched_probabilities
from cae.data.selection import spread_over_classes
from cae.devices import device_of
from cae.manifold.class_manifold import ClassManifold
from cae.manifold.latent_directions import LatentDirections, latent_directions
from cae.models.editing import ResidualEdit

PAIRED = 24  # donors, and recipients, of the edits that latent directions are found from


@dataclass(frozen=True, eq=False)
class LatentShift:
    """N images whose class codes can be shifted, and the classifiers that score them (``output=residual``).

    Attributes:
        classifiers: by name, among them ``target``.
        edit: the images with their codes.
        batch_size: images in one forward pass.
    """

    classifiers: Mapping[str, Any]
    edit: ResidualEdit
    batch_size: int

    @classmethod
    def of(cls, cae: Any, classifiers: Mapping[str, Any], images: Tensor, batch_size: int) -> LatentShift:
        """Encode ``images (N, C, H, W)`` in [0, 1]; ``classifiers`` by name score what becomes of them."""
        return cls(classifiers, ResidualEdit(cae, images.to(device_of(cae)), batch_size), batch_size)

    @property
    def originals(self) -> Tensor:
        """``(N, C, H, W)`` the images as they are."""
        return self.edit.images

    @property
    def codes(self) -> Tensor:
        """``(N, D)`` the images' own class codes."""
        return self.edit.codes.class_code.cpu()

    def images(self, rows: Tensor, codes: Tensor) -> Tensor:
        """The images of ``rows (R,)`` under class codes ``(R, D)``: ``(R, C, H, W)`` in [0, 1], on the CPU."""
        place = self.edit.images.device
        parts = zip(rows.split(self.batch_size), codes.split(self.batch_size), strict=True)
        return torch.cat([self.edit.onto(r.to(place), c.to(place)).clamp(0, 1).cpu() for r, c in parts])

    def probabilities(self, images: Tensor, classifier: str = "target") -> Tensor:
        """Probabilities ``(R, K)`` that a classifier gives to images, on the CPU."""
        return batched_probabilities(self.classifiers[classifier], images, self.batch_size)

    def features(self, images: Tensor) -> Tensor:
        """The target classifier's features ``(R, F)`` of images, on the CPU."""
        return batched_features(self.classifiers["target"], images, self.batch_size)


def find_latent_directions(
    shift: LatentShift, predictions: Tensor, manifold: ClassManifold, seed: int
) -> LatentDirections:
    """The latent directions of swaps between images, by the target classifier's features.

    Args:
        shift: of the images.
        predictions: ``(N,)`` of them.
        manifold: gives the unit of distance.
        seed: of the recipients and donors.
    """
    chosen = spread_over_classes(predictions, 2 * PAIRED, seed)
    recipients, donors = chosen.chunk(2) if len(chosen) > 1 else (chosen, chosen)
    rows, givers = torch.cartesian_prod(recipients, donors).unbind(1)
    codes = shift.codes
    edits = shift.features(shift.images(rows, codes[givers])) - shift.features(shift.images(rows, codes[rows]))
    return latent_directions((codes[givers] - codes[rows]).double() / manifold.std, edits)
