"""In-fills that need no training: a constant, blurs, patches of other images, and any in-painter of the user."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from cae.errors import UserError
from explainers.infills.base import Sampler, crops, digest

SMALLEST_WEIGHT = 1e-3  # of known pixels under the kernel of the masked blur


class Gray(Sampler):
    """One constant colour: the middle of the range, or any other.

    Args:
        colour: one value, or one for each channel, in [0, 1].
    """

    name = "gray"
    deterministic = True

    def __init__(self, colour: float | Sequence[float] = 0.5):
        self.colour = torch.as_tensor(colour, dtype=torch.float32).reshape(-1)

    def sample(self, image: Tensor, tops: Tensor, size: int, n: int, generators: Sequence[torch.Generator]) -> Tensor:
        """Fill every window with the colour."""
        colour = self.colour.to(image.device).expand(len(image))
        return colour[:, None, None].expand(len(tops), n, len(image), size, size)


class Blur(Sampler):
    """The image itself, blurred by a Gaussian of half the window as standard deviation.

    It keeps the low frequencies of the very patch that it replaces: a coarsening, no draw given the rest.
    """

    name = "blur"
    deterministic = True

    def sample(self, image: Tensor, tops: Tensor, size: int, n: int, generators: Sequence[torch.Generator]) -> Tensor:
        """Blur the image once and cut the windows from it."""
        height, width = image.shape[1:]
        rows, columns = (
            _weights(torch.arange(side, device=image.device), torch.arange(side, device=image.device), size / 2)
            for side in (height, width)
        )
        blurred = (rows @ image @ columns.T) / (rows.sum(1)[:, None] * columns.sum(1))
        return crops(blurred, tops, size)[:, None].expand(-1, n, -1, -1, -1)


class MaskedBlur(Sampler):
    """A Gaussian mean of the pixels around the window, and of none inside it: smooth, and free of any leak.

    ``blur(image (1 - m)) / blur(1 - m)``; the standard deviation begins at a quarter of the window and is doubled
    until enough known pixels lie under the kernel. Without any known pixel the fill is the middle grey.
    """

    name = "masked_blur"
    deterministic = True

    def sample(self, image: Tensor, tops: Tensor, size: int, n: int, generators: Sequence[torch.Generator]) -> Tensor:
        """Average around every window."""
        deviation = max(size / 4, 0.75)
        while True:
            fill, weight = self._fill(image, tops, size, deviation)
            if bool((weight > SMALLEST_WEIGHT).all()) or deviation > 2 * max(image.shape[1:]):
                break
            deviation *= 2
        fill = torch.where(weight > 0, fill / weight.clamp_min(1e-30), 0.5)
        return fill.clamp(0, 1)[:, None].expand(-1, n, -1, -1, -1)

    @staticmethod
    def _fill(image: Tensor, tops: Tensor, size: int, deviation: float) -> tuple[Tensor, Tensor]:
        """Weighted sums ``(M, C, size, size)`` of the known pixels, and the weights ``(M, 1, size, size)``."""
        reach = min(int(3 * deviation) + 1, max(image.shape[1:]))
        side = size + 2 * reach
        known = torch.nn.functional.pad(torch.ones_like(image[:1]), [reach] * 4)
        padded = torch.nn.functional.pad(image, [reach] * 4)
        # the two together: one gather, one pair of products
        around = crops(torch.cat([padded, known]), tops, side)
        around[..., reach : reach + size, reach : reach + size] = 0
        outside, inside = torch.arange(side, device=image.device), torch.arange(size, device=image.device) + reach
        kernel = _weights(inside, outside, deviation)
        kernel = kernel / kernel.sum(1, keepdim=True)
        blurred = kernel @ around @ kernel.T
        return blurred[:, :-1], blurred[:, -1:]


def _weights(at: Tensor, of: Tensor, deviation: float) -> Tensor:
    """Gaussian weights ``(len(at), len(of))`` of distances on a line, not normalised."""
    return torch.exp(-(((at[:, None] - of) / deviation) ** 2) / 2)


class Marginal(Sampler):
    """Patches of other images, whatever surrounds the window: the marginal distribution of the patch.

    Args:
        background: ``(N, C, H, W)`` images in [0, 1].
        location: ``same`` place in the other images, or a ``random`` one.

    Reference: Zintgraf et al. 2017, ICLR, section 3.1.
    """

    name = "marginal"

    def __init__(self, background: Tensor, location: str = "same"):
        if location not in ("same", "random"):
            raise UserError(f"`location` of the marginal in-fill must be same or random, but is {location!r}.")
        self.background, self.location = background, location
        self.fingerprint = digest(background[:64])

    def sample(self, image: Tensor, tops: Tensor, size: int, n: int, generators: Sequence[torch.Generator]) -> Tensor:
        """Cut each window from n images of the background."""
        limits = torch.tensor(self.background.shape[2:]) - size + 1
        if self.location == "same" and self.background.shape[2:] != image.shape[1:]:
            raise UserError(
                f"the marginal in-fill takes the same place in training images, whose shape is "
                f"{tuple(self.background.shape[2:])} and that of the image {tuple(image.shape[1:])}."
            )
        filled = []
        for top, generator in zip(tops, generators, strict=False):
            rows = torch.randint(len(self.background), (n,), generator=generator)
            places = top.expand(n, 2)
            if self.location == "random":
                places = (torch.rand(n, 2, generator=generator) * limits).long()
            filled.append(torch.stack([
                self.background[row, :, y : y + size, x : x + size]
                for row, (y, x) in zip(rows.tolist(), places.tolist(), strict=True)
            ]))  # fmt: skip
        return torch.stack(filled).to(image.device)


class FunctionSampler(Sampler):
    """Any in-painter of the user.

    Args:
        function: called as ``function(image, mask, n, generator)`` with an image ``(C, H, W)`` whose masked pixels
            are 0, a mask ``(H, W)`` bool of the pixels to draw, and a CPU generator; gives ``(n, C, H, W)`` in [0, 1].
        name: for tables and figures.
    """

    def __init__(self, function: Callable[[Tensor, Tensor, int, torch.Generator], Tensor], name: str = "callable"):
        self.function, self.name = function, name

    def sample(self, image: Tensor, tops: Tensor, size: int, n: int, generators: Sequence[torch.Generator]) -> Tensor:
        """Call the function once for each window, and check what it gives."""
        filled = []
        for (y, x), generator in zip(tops.tolist(), generators, strict=False):
            mask = torch.zeros(image.shape[1:], dtype=torch.bool, device=image.device)
            mask[y : y + size, x : x + size] = True
            drawn = self.function(image.masked_fill(mask, 0), mask, n, generator)
            self._check(drawn, (n, *image.shape))
            filled.append(drawn[..., y : y + size, x : x + size])
        return torch.stack(filled).to(image.device)

    def _check(self, drawn: Tensor, shape: tuple[int, ...]) -> None:
        if not isinstance(drawn, Tensor) or tuple(drawn.shape) != shape:
            found = tuple(drawn.shape) if isinstance(drawn, Tensor) else type(drawn).__name__
            raise UserError(f"the in-painter '{self.name}' must give a tensor of shape {shape}, but gave {found}.")
        low, high = (float(value) for value in drawn.aminmax())
        if not (low >= 0 and high <= 1):
            raise UserError(
                f"the in-painter '{self.name}' must give values in [0, 1], but gave {low:.3g} to {high:.3g}."
            )
