"""Metrics over random sets of one image: the sets, their images, and what the scores amount to for each map.

How much the score drops without a set does not depend on the map, so all methods share the scores.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from explainers.metrics import correlation
from explainers.metrics.batched_scores import StreamScores
from explainers.metrics.faithfulness import PerturbationContext, Values
from explainers.metrics.seeds import generator


@dataclass(frozen=True, eq=False)
class RandomSets:
    """The random sets of one image.

    Attributes:
        context: the image.
        sensitivity: also draw the sets of sensitivity-n.
    """

    context: PerturbationContext
    sensitivity: bool

    @cached_property
    def masks(self) -> dict[str, Tensor]:
        """Sets of cells ``(R, cells)`` bool, and patches ``(R, H, W)`` bool, by name."""
        count, size = self.context.units["cells"].count, self.context.image.shape[1:]
        found = {
            "sets": correlation.random_sets(
                correlation.SETS, correlation.SET_SHARE, count, generator(self.context.key, "sets")
            ),
            "patches": correlation.random_patches(
                correlation.PATCHES, size[0], size[1], generator(self.context.key, "patches")
            ),
        }
        for share in correlation.SENSITIVITY_SHARES if self.sensitivity else ():
            noise = generator(self.context.key, "sensitivity", str(share))
            found[f"share {share}"] = correlation.random_sets(correlation.SENSITIVITY_SETS, share, count, noise)
        return {name: mask.to(self.context.image.device) for name, mask in found.items()}

    def streams(self) -> dict[str, Iterator[Tensor]]:
        """The image without each set, by name of the sets."""
        return {name: self._without(masks, in_pixels=name == "patches") for name, masks in self.masks.items()}

    def _without(self, masks: Tensor, in_pixels: bool) -> Iterator[Tensor]:
        """The image without each of the sets, drawn when asked for."""
        labels = self.context.units["cells"].labels
        for mask in masks:
            yield torch.where(mask if in_pixels else mask[labels], self.context.filled, self.context.image)

    def values(self, attribution: Tensor, scored: Mapping[str, StreamScores]) -> Values:
        """Metrics of a map ``(H, W)`` from the scores of ``streams`` and of the whole image."""
        whole = scored["whole"].scores
        drops = {name: whole - scored[name].scores for name in self.masks}
        of_cells = self.context.units["cells"].sums(attribution)
        sums = {name: (mask.double() @ of_cells).cpu() for name, mask in self.masks.items() if name != "patches"}
        of_patches = (self.masks["patches"].double() * attribution.double()).sum((1, 2)).cpu()
        found: Values = {
            "faithfulness_corr": correlation.faithfulness_correlation(sums["sets"], drops["sets"]),
            "infidelity": correlation.infidelity(of_patches, drops["patches"]),
            "infidelity_raw": correlation.infidelity(of_patches, drops["patches"], scaled=False),
        }
        if self.sensitivity:
            names = [name for name in sums if name != "sets"]
            found["sensitivity_n"] = correlation.sensitivity_n(
                torch.stack([sums[name] for name in names]), torch.stack([drops[name] for name in names])
            )
        return found
