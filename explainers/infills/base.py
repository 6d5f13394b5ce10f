"""What an in-fill is: draws of a patch, given the rest of the image."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor


class Sampler(ABC):
    """Draws patches ``u ~ r(. | image without the patch)``.

    ``deterministic`` samplers always give the same fill, so that one draw is enough. ``fingerprint`` changes with the
    data or weights that a sampler was made from, where it was made from any.
    """

    name: str
    deterministic: bool = False
    fingerprint: str = ""
    window: int | None = None  # the one size that it can fill, if there is only one

    @abstractmethod
    def sample(self, image: Tensor, tops: Tensor, size: int, n: int, generators: Sequence[torch.Generator]) -> Tensor:
        """Draw patches.

        Args:
            image: ``(C, H, W)`` in [0, 1]; what it shows inside a window must not influence that window's fill.
            tops: ``(M, 2)`` upper left pixels of the windows, which lie inside the image.
            size: their side in pixels.
            n: draws of each window.
            generators: one for each window (on the CPU), the only source of randomness.

        Returns:
            ``(M, n, C, size, size)`` in [0, 1], on the image's device.
        """

    def card(self) -> dict[str, Any]:
        """What a reader of a map must know of the in-fill; plain values."""
        return {"name": self.name, "deterministic": self.deterministic, "fingerprint": self.fingerprint}


def crops(images: Tensor, tops: Tensor, side: int) -> Tensor:
    """Squares ``(M, ..., side, side)`` of images ``(..., H, W)`` at tops ``(M, 2)``, which must lie inside."""
    reach = torch.arange(side, device=images.device)
    tops = tops.to(images.device)
    rows, columns = tops[:, :1] + reach, tops[:, 1:] + reach
    return images[..., rows[:, :, None], columns[:, None, :]].movedim(-3, 0)


def place_crops(images: Tensor, rows: Tensor, tops: Tensor, side: int) -> Tensor:
    """Squares ``(M, C, side, side)`` at tops ``(M, 2)``, each of its own image, ``rows (M,)`` of ``(B, C, H, W)``."""
    reach = torch.arange(side, device=images.device)
    y, x = tops[:, :1] + reach, tops[:, 1:] + reach
    return images[rows[:, None, None], :, y[:, :, None], x[:, None, :]].movedim(3, 1)


def noise(count: int, n: int, dimension: int, generators: Sequence[torch.Generator]) -> Tensor:
    """Standard normal numbers ``(count, n, dimension)``, those of each window from its own generator."""
    drawn = [torch.randn(n, dimension, generator=generators[m]) for m in range(count)]
    return torch.stack(drawn)


def digest(*tensors: Tensor) -> str:
    """12 hexadecimal digits that change with the tensors."""
    found = hashlib.sha256()
    for tensor in tensors:
        found.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return found.hexdigest()[:12]
