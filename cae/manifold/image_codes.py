"""Class codes of a sample of images, with what is known of each: what maps and lists of outliers are made from."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from cae.data.selection import image_ids
from cae.data.types import ImageSet
from cae.devices import device_of
from cae.files import write_tensors
from cae.manifold.class_manifold import ClassManifold

THUMBNAIL = 96  # largest side in pixels of images kept for thumbnails
KEPT = 48  # the same of those in a file


@dataclass(frozen=True, eq=False)
class ImageCodes:
    """N images of one split.

    Attributes:
        codes: ``(N, D)`` class codes.
        probabilities: ``(N, K)`` of the classifier.
        labels: ``(N,)`` of the data set; -1 where unknown.
        ids: one per image.
        split: ``train`` or ``test``.
        thumbnails: ``(N, C, h, w)`` in [0, 1], or None where the images are not at hand.
    """

    codes: Tensor
    probabilities: Tensor
    labels: Tensor
    ids: Sequence[str]
    split: str
    thumbnails: Tensor | None = None

    @property
    def predictions(self) -> Tensor:
        """``(N,)`` class that the classifier gives to each image."""
        return self.probabilities.argmax(1)


def sampled_rows(count: int, most: int, seed: int) -> Tensor:
    """At most ``most`` of ``count`` rows, drawn by the seed, ascending."""
    return torch.randperm(count, generator=torch.Generator().manual_seed(seed))[:most].sort().values


def stacked_images(images: ImageSet, rows: Sequence[int]) -> Tensor:
    """The images ``(R, C, H, W)`` of some rows of a set, in [0, 1]."""
    return torch.stack([images[row].image for row in rows])


def holds_images_of(manifold: ClassManifold, images: ImageSet) -> bool:
    """Whether these are the images whose codes the manifold holds; with others, codes and images do not belong."""
    return len(images) == len(manifold) and images[0].id == manifold.ids[0]


def manifold_codes(manifold: ClassManifold, rows: Tensor, images: ImageSet | None = None) -> ImageCodes:
    """Rows of a manifold; with thumbnails where ``images`` are those of its codes."""
    shown = None
    if images is not None and holds_images_of(manifold, images):
        shown = torch.cat([reduced(images[row].image[None]) for row in rows.tolist()])
    ids = [manifold.ids[row] for row in rows.tolist()]
    return ImageCodes(manifold.codes[rows], manifold.probabilities[rows], manifold.labels[rows], ids, "train", shown)


@torch.no_grad()
def encode_rows(cae: Any, classifier: Any, images: ImageSet, rows: Tensor, batch_size: int) -> ImageCodes:
    """Rows of the test split, encoded and classified now.

    Args:
        cae: ``encode(images) -> Codes``.
        classifier: the target classifier.
        images: the test split.
        rows: ``(R,)`` of it.
        batch_size: images in one forward pass.
    """
    codes, probabilities, shown = [], [], []
    for part in rows.split(batch_size):
        batch = stacked_images(images, part.tolist())
        codes.append(cae.encode(batch.to(device_of(cae))).class_code.float().cpu())
        probabilities.append(classifier.probabilities(batch.to(device_of(classifier))).float().cpu())
        shown.append(reduced(batch))
    names = image_ids(images)
    ids = [names[row] for row in rows.tolist()]
    return ImageCodes(torch.cat(codes), torch.cat(probabilities), images.labels[rows], ids, "test", torch.cat(shown))


def save_thumbnails(images: Tensor, ids: Sequence[str], path: str | Path) -> None:
    """Write small images ``(N, C, h, w)`` in [0, 1] with their ids, in 8 bits, for a map that shows them later."""
    levels = (reduced(images, KEPT).clamp(0, 1) * 255).round().byte()
    names = torch.frombuffer(bytearray(json.dumps(list(ids)), "utf-8"), dtype=torch.uint8)
    write_tensors(path, {"images": levels, "ids": names}, "thumbnails", {})


def reduced(images: Tensor, side: int = THUMBNAIL) -> Tensor:
    """Images ``(B, C, H, W)`` with sides of ``side`` pixels at most: thousands of large ones need too much memory."""
    scale = side / max(images.shape[-2:])
    return images if scale >= 1 else F.interpolate(images, scale_factor=scale, mode="area")
