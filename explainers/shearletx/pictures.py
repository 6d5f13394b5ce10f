"""Pictures of masked images side by side, by which their searches are judged: each has its own noise and movement."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from explainers.shearletx import compositions
from explainers.shearletx.search_state import Search
from explainers.shearletx.settings import Settings
from explainers.shearletx.smooth_masks import smooth_mask
from explainers.transforms.representation import Representation


@dataclass(frozen=True, eq=False)
class MaskedPictures:
    """Makes the pictures of ``settings.compositions`` of masked images.

    Attributes:
        representation: T and S for the images' size, type and device.
        settings: of the search.
        channels: of the images.
    """

    representation: Representation
    settings: Settings
    channels: int

    @cached_property
    def counts(self) -> list[int]:
        """Pictures that each composition takes."""
        return compositions.picture_counts(self.settings.compositions, self.settings.samples)

    def mask(self, parameters: Tensor) -> Tensor:
        """Masks ``(A, M, n)`` of parameters."""
        if not self.settings.smooth:
            return parameters
        height, width = self.representation.shape
        return smooth_mask(parameters, height, width).flatten(1)[:, None]

    def shown(self, mask: Tensor, coefficients: Tensor) -> Tensor:
        """What a mask ``(M, n)`` keeps, on black: the displayed picture ``(C, H, W)`` in [0, 1]."""
        return self.representation.synthesise(mask * coefficients).clamp(0, 1)

    def baseline(self, image: Tensor) -> Tensor | None:
        """What the compositions put in place of removed parts: coefficients ``(C, n)`` of the blurred image, or its
        blur pyramid; None where they need neither."""
        if "pyramid" in self.settings.compositions:
            return compositions.blur_pyramid(image)
        if "blur" in self.settings.compositions:
            sigma = compositions.BLUR_SHARE * min(self.representation.shape)
            return self.representation.analyse(compositions.blurred(image, sigma))
        return None

    def fill(self, coefficients: Tensor, image: Tensor) -> compositions.Fill:
        """The noise that replaces removed coefficients of an image ``(C, H, W)``."""
        if self.settings.published_noise:
            return compositions.published_fill(self.representation, coefficients)
        grey, pixels = coefficients.mean(0), image.mean(0)
        return compositions.matched_fill(self.representation, grey, pixels, self.settings.noise)

    def draw(self, fill: compositions.Fill, generator: torch.Generator) -> Tensor:
        """Noise of one step for one image: ``(S / 2, n)``, or as published ``(S, 1 or C, n)`` with its means."""
        if not self.settings.published_noise:
            return compositions.draw_noise(self.representation, fill, (self.settings.samples // 2,), generator)
        rows = self.channels if fill.colour else 1
        noise = compositions.draw_noise(self.representation, fill, (self.settings.samples, rows), generator)
        return noise + compositions.fill_means(self.representation, fill)

    def compose(self, searches: Sequence[Search], mask: Tensor) -> tuple[Tensor, Tensor]:
        """Pictures ``(A, E, C, H, W)`` of the compositions under fresh noise, and the shown intensity ``(A,)``."""
        chosen = self.settings
        if "pyramid" in chosen.compositions:
            planes = mask.unflatten(-1, self.representation.shape)
            return compositions.compose_pyramid(planes, _baselines(searches)), mask.new_zeros(len(searches))
        coefficients = torch.stack([search.coefficients for search in searches])
        if chosen.published_noise:
            return compositions.compose_published(
                self.representation, mask, coefficients, self._noise(searches), chosen.clamp_coefficients
            )
        noise = self._noise(searches) if "noise" in chosen.compositions else None
        blurred = _baselines(searches) if "blur" in chosen.compositions else None
        means = torch.stack([search.fill.means[0] for search in searches])
        pictures, intensity = compositions.compose(
            self.representation, mask, coefficients, chosen.compositions, noise, means, blurred
        )
        return self._moved(searches, pictures), intensity

    def _noise(self, searches: Sequence[Search]) -> Tensor:
        return torch.stack([self.draw(search.fill, search.noise) for search in searches])

    def _moved(self, searches: Sequence[Search], pictures: Tensor) -> Tensor:
        """Pictures ``(A, E, C, H, W)`` with all but the displayed one moved, an image's by one draw."""
        reach, zoom = self.settings.jitter, self.settings.zoom
        if not reach and not zoom:
            return pictures
        names = [
            name for name, count in zip(self.settings.compositions, self.counts, strict=True) for _ in range(count)
        ]
        views = []
        for search, row in zip(searches, pictures, strict=True):
            down, right = torch.randint(-reach, reach + 1, (2,), generator=search.noise, device=row.device).tolist()
            draw = float(torch.rand(1, generator=search.noise, device=row.device))
            views.append(compositions.moved(row, names, (down, right), (1 + zoom) ** (2 * draw - 1)))
        return torch.stack(views)


def _baselines(searches: Sequence[Search]) -> Tensor:
    return torch.stack([search.baseline for search in searches if search.baseline is not None])
