"""Generators by an embedding: our own counterfactuals, and as a control their change with its pixels shuffled."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor

from cae.counterfactuals.find import find_counterfactuals
from cae.counterfactuals.result import Counterfactual
from cae.generators.base import Generated, Generator
from cae.generators.search import first_or_last


class OurCounterfactuals(Generator):
    """The run's embedding: the path to the target class's reference, and bisection to the boundary.

    Reference: docs/methods/counterfactuals; after Xie et al. 2024, arXiv:2406.07961.
    """

    words = "the run's embedding: path to the target's prototype, bisection"
    has_path = True

    @property
    def parameters(self) -> dict[str, Any]:
        """Options of the search, and the embedding."""
        options = {
            name: value for name, value in asdict(self.run.config.counterfactual).items() if name != "batch_size"
        }
        return {**options, "cae": self.run.fingerprints["cae"]}

    def search(self, images: Tensor, targets: Tensor) -> list[Counterfactual]:
        """Our results for images on any device."""
        run = self.run
        return find_counterfactuals(
            run.cae, run.classifier, run.manifold, images.cpu(), targets=targets.cpu(),
            config=run.config.counterfactual, seed=self.seed,
        )  # fmt: skip

    def generate(self, images: Tensor, targets: Tensor) -> Generated:
        """Counterfactuals, or what came closest, with the ends of the paths."""
        results = self.search(images, targets)
        found = torch.stack([_nearest_attempt(result) for result in results])
        starts = torch.stack([result.path_images[0] for result in results])
        ends = torch.stack([result.path_images[-1] for result in results])
        return Generated(found, ends, starts, passes_of(results))


class ShuffledChange(OurCounterfactuals):
    """The control: our changes, each with its pixels in another, random order. Change alone must not convince."""

    words = "control: our change with its pixels shuffled"
    control = True

    def generate(self, images: Tensor, targets: Tensor) -> Generated:
        """The first image along the shuffled path that reaches the margin, else its end."""
        found, ends, passes = [], [], []
        for image, target, result in zip(images, targets, self.search(images, targets), strict=True):
            change = result.path_images - result.path_images[:1]
            path = (image.cpu() + shuffled(change, self.seed)).clamp(0, 1).to(images)
            reached = self.reached(path, target.expand(len(path)))
            found.append(path[first_or_last(reached[None])[0]])
            ends.append(path[-1])
            passes.append(result.decoder_evaluations)
        return Generated(torch.stack(found), torch.stack(ends), passes=torch.tensor(passes))


def shuffled(changes: Tensor, seed: int) -> Tensor:
    """``(G, C, H, W)`` with the pixels of all in the same random order; the values of a pixel stay together."""
    height, width = changes.shape[-2:]
    order = torch.randperm(height * width, generator=torch.Generator().manual_seed(seed))
    return changes.flatten(2)[..., order].unflatten(2, (height, width))


def passes_of(results: Sequence[Counterfactual]) -> Tensor:
    """Images that were decoded for each result, ``(B,)``."""
    return torch.tensor([result.decoder_evaluations for result in results])


def _nearest_attempt(result: Counterfactual) -> Tensor:
    if result.counterfactual is not None:
        return result.counterfactual
    return result.path_images[0] if result.closest is None else result.closest
