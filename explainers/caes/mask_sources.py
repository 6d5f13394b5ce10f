"""Whose masks are scored: the data's own, deliberately poor versions of them, or thresholded maps of explainers."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from cae.config import CausalConfig
from cae.continuing import work_digest
from cae.data import ImageSet
from cae.errors import UserError
from explainers.base import Explainer
from explainers.caes.masks import dilated_masks, largest_pixels, otsu_masks, shifted_masks, swapped_masks
from explainers.explanation import Explanation

OF_DATA = ("data", "dilated", "shifted", "swapped")


@dataclass(frozen=True, eq=False)
class ClassImages:
    """Images of one class: ``images (N, C, H, W)``, the data's ``masks (N, 1, H, W)`` or None, and how many of the
    class were left out because their mask is empty or full."""

    target: int
    images: Tensor
    masks: Tensor | None
    left_out: int


def class_images(data: ImageSet, target: int, limit: int) -> ClassImages:
    """The first ``limit`` images of a class that can be scored."""
    places = (data.labels == target).nonzero().flatten().tolist()
    images, masks, left_out = [], [], 0
    for place in places:
        sample = data[place]
        if sample.mask is not None and (not bool(sample.mask.any()) or bool(sample.mask.all())):
            left_out += 1
            continue
        images.append(sample.image)
        masks.append(sample.mask)
        if len(images) == limit:
            break
    known = [mask for mask in masks if mask is not None]
    if 0 < len(known) < len(masks):  # only images that everybody has marked can be compared
        images = [image for image, mask in zip(images, masks, strict=True) if mask is not None]
        left_out += len(masks) - len(known)
    empty = torch.empty(0, *data[0].image.shape)
    return ClassImages(
        target, torch.stack(images) if images else empty, torch.stack(known) if known else None, left_out
    )


def data_masks(source: str, masks: Tensor, seed: int) -> Tensor:
    """The annotators' masks, or a poor version of them by its name."""
    poor = {
        "data": lambda: masks,
        "dilated": lambda: dilated_masks(masks),
        "shifted": lambda: shifted_masks(masks, torch.Generator().manual_seed(seed)),
        "swapped": lambda: swapped_masks(masks),
    }
    return poor[source]()


def explained_maps(
    explainer: Explainer, found: ClassImages, seed: int, folder: Path, identity: Mapping[str, Any]
) -> Tensor:
    """Maps ``(N, 1, H, W)`` of an explainer for the class; read from ``folder`` where they were made before."""
    asked = {**identity, "parameters": explainer.parameters, "target": found.target, "seed": seed}
    digest = work_digest(asked, found.images.numpy().tobytes())
    path = folder / f"{explainer.name}-{found.target}-{digest}.safetensors"
    if not path.exists():
        explainer(found.images, found.target, seed=seed, progress=sys.stderr.isatty()).save(path)
    return Explanation.load(path).attribution


def thresholded(maps: Tensor, found: ClassImages, options: CausalConfig, seed: int) -> tuple[Tensor, str, float]:
    """Masks of maps ``(N, 1, H, W)``, the rule in words, and the share of pixels chosen among equal values.

    Raises:
        UserError: if Otsu's threshold leaves a mask empty.
    """
    if options.threshold == "otsu":
        masks = otsu_masks(maps)
        empty = int((masks.flatten(1).sum(1) == 0).sum())
        if empty:
            raise UserError(
                f"Otsu's threshold leaves {empty} masks empty (maps whose positive part is constant): "
                "set caes.threshold=area."
            )
        return masks, "Otsu's threshold of the positive part", 0.0
    pixels = maps[0].numel()
    if options.threshold == "area" and found.masks is not None:
        counts, rule = found.masks.flatten(1).sum(1), "as many pixels as the data's mask of the image"
    else:
        count = min(pixels - 1, max(1, round(options.share * pixels)))
        counts, rule = torch.full((len(maps),), count), f"{options.share:.0%} of the pixels"
    masks, tied = largest_pixels(maps, counts, torch.Generator().manual_seed(seed))
    return masks, rule, tied


def usable_sources(wanted: Sequence[str], has_masks: bool) -> list[str]:
    """The sources that this data can have; a note is printed on the others."""
    left_out = [name for name in wanted if name in OF_DATA and not has_masks]
    if left_out:
        print(f"note: the data has no masks, {', '.join(left_out)} left out")
    sources = [name for name in dict.fromkeys(wanted) if name not in left_out]
    if not sources:
        raise UserError("there are no masks to score: set caes.masks to explainers, since the data has no masks.")
    return sources
