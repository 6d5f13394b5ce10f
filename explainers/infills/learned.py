"""The learned in-fill: draws from a network that was trained to predict a patch from what surrounds it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor

from cae.classifiers.identity import state_digest
from cae.errors import UserError
from cae.files import check_sizes, read_tensors, write_json, write_weights
from explainers.infills.base import Sampler
from explainers.infills.patch_distribution import PatchDistribution

AT_ONCE = 16  # windows that draws are made of together: the levels of every pixel take room


class LearnedSampler(Sampler):
    """Draws from a trained ``PatchDistribution``, for windows of the size that it was trained for.

    Args:
        distribution: the network.
        facts: what its file says of it: ``bits`` per dimension, fingerprint of the ``data``.
    """

    name = "learned"

    def __init__(self, distribution: PatchDistribution, facts: Mapping[str, Any] | None = None):
        self.distribution = distribution.eval()
        self.facts = dict(facts or {})
        self.window = distribution.window
        self.fingerprint = state_digest(distribution)[:16]

    @torch.inference_mode()
    def sample(self, image: Tensor, tops: Tensor, size: int, n: int, generators: Sequence[torch.Generator]) -> Tensor:
        """Draw every window."""
        if size != self.window:
            raise UserError(
                f"the learned in-fill was trained for windows of {self.window} pixels, but is asked for {size}: set "
                f"`window={self.window}`, or train one with `python train.py sampler … sampler.window={size}`."
            )
        if len(image) != self.distribution.channels:
            raise UserError(
                f"the learned in-fill was trained on images of {self.distribution.channels} channels, not {len(image)}."
            )
        self.distribution.to(image.device)
        drawn = []
        for first in range(0, len(tops), AT_ONCE):
            places = tops[first : first + AT_ONCE].to(image.device)
            outputs = self.distribution(image[None], torch.zeros_like(places[:, 0]), places)
            drawn.append(self.distribution.draws(outputs, n, generators[first : first + len(places)]))
        return torch.cat(drawn)

    def card(self) -> dict[str, Any]:
        """Name, data, bits per dimension and architecture."""
        return {**super().card(), "bits": self.facts.get("bits"), **self.distribution.sizes}

    def save(self, folder: str | Path) -> None:
        """Write ``sampler.json`` and, last, ``sampler.safetensors``."""
        header = {"kind": "sampler", "sizes": self.distribution.sizes, **self.facts}
        write_json(Path(folder) / "sampler.json", header)
        write_weights(Path(folder) / "sampler.safetensors", self.distribution.state_dict(), "sampler", header)

    @classmethod
    def load(cls, folder: str | Path) -> LearnedSampler:
        """Read what ``save`` wrote.

        Raises:
            UserError: if there is none, or it cannot be read.
        """
        path = Path(folder) / "sampler.safetensors"
        if not path.exists():
            raise UserError(f"no learned in-fill at '{path}'; train one with `python train.py sampler …`.")
        try:
            header, weights = read_tensors(path, "sampler")
            check_sizes(header["sizes"], weights)
            distribution = PatchDistribution(**header.pop("sizes"))
            distribution.load_state_dict(weights)
        except (SafetensorError, OSError, ValueError, KeyError, TypeError, AttributeError, RuntimeError) as error:
            raise UserError(
                f"'{path}' cannot be read as a learned in-fill ({error}); train it anew with `python train.py sampler "
                "… overwrite=true`."
            ) from error
        return cls(distribution, header)
