"""The one image that hidden pixels show, made from whatever the option ``fill`` may hold."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from cae.classifiers import TargetClassifier
from cae.errors import UserError, did_you_mean
from explainers.base import Instance
from explainers.infills.base import Sampler
from explainers.infills.catalogue import SAMPLERS, build_fill, build_sampler
from explainers.infills.fills import everywhere

NAMES = {
    "mean": "mean_colour",  # where the classifier normalises, the colour that it normalises to 0
    "image_mean": "image_mean",
    "min": "image_minimum",
    "blur": "wide_blur",
    "noise": "noise",
}
WINDOWS = 7  # along the short side: samplers draw window by window, each given the rest of the image

FillOption = str | float | Sequence[float] | Tensor | Sampler | Callable[[Tensor], Tensor]


def fill_image(fill: FillOption, instance: Instance, classifier: TargetClassifier, background: Tensor | None) -> Tensor:
    """The image ``(C, H, W)`` in [0, 1] that hidden pixels show.

    Args:
        fill: a name of ``NAMES`` or of the samplers (``explainers.infills``); a value in [0, 1] for all channels, or
            one for each; another image ``(C, H, W)``; a ``Sampler``; or a function from image to image.
        instance: the image being explained.
        classifier: whose normalisation ``mean`` stands for.
        background: training images, for in-fills made from data.

    Raises:
        UserError: for an unknown name, or an image of another form or range.
    """
    image = instance.image
    number = _number(fill)
    if number is not None:
        filled = torch.full_like(image, number)
    elif isinstance(fill, str) and fill in NAMES:
        colour = _mean_colour(image, classifier, background) if fill == "mean" else None
        filled = everywhere(image.cpu(), build_fill(fill, NAMES, colour=colour, generator=instance.generator(1)))
    elif isinstance(fill, (Sampler, str)):
        filled = _window_by_window(_sampler(fill, background), instance)
    elif callable(fill) and not isinstance(fill, Tensor):
        filled = fill(image.clone())
    else:
        filled = _given(fill, image)
    return _checked(filled, image)


def _number(fill: object) -> float | None:
    try:
        return float(fill) if isinstance(fill, str) else None
    except ValueError:
        return None


def _mean_colour(image: Tensor, classifier: TargetClassifier, background: Tensor | None) -> Tensor:
    """Colour that normalisation takes to 0; of a classifier that does not normalise, that of the training images."""
    if classifier.preprocess.normalises:
        mean = classifier.preprocess.mean.flatten().clamp(0, 1)
        return mean if len(mean) == len(image) else mean.mean(0, keepdim=True)
    if background is not None:
        return background.float().mean((0, 2, 3))
    return image.new_full((1,), 0.5)


def _sampler(fill: str | Sampler, background: Tensor | None) -> Sampler:
    if isinstance(fill, str) and fill not in SAMPLERS:
        known = {**NAMES, **SAMPLERS}
        raise UserError(f"`fill` must be a value in [0, 1] or one of {', '.join(known)}, but is {fill!r}"
                        f"{did_you_mean(fill, known)}.")  # fmt: skip
    return build_sampler(fill, background)


def _window_by_window(sampler: Sampler, instance: Instance) -> Tensor:
    """Windows side by side, each drawn given the rest of the image."""
    image = instance.image
    height, width = image.shape[1:]
    side = max(1, min(height, width) // WINDOWS)
    tops = [
        (min(y, height - side), min(x, width - side)) for y in range(0, height, side) for x in range(0, width, side)
    ]
    generators = [instance.generator(2, place) for place in range(len(tops))]
    drawn = sampler.sample(image, torch.tensor(tops, device=image.device), side, 1, generators)[:, 0]
    filled = torch.empty_like(image)
    for (y, x), window in zip(tops, drawn, strict=True):
        filled[:, y : y + side, x : x + side] = window
    return filled


def _given(fill: float | Sequence[float] | Tensor, image: Tensor) -> Tensor:
    """An image, or the colour of one."""
    filled = torch.as_tensor(fill, dtype=image.dtype, device=image.device)
    if filled.ndim >= 2:
        return filled
    filled = filled.reshape(-1, 1, 1)
    if len(filled) not in (1, len(image)):
        raise UserError(f"`fill` must have one value or {len(image)}, one for each channel, not {len(filled)}.")
    return filled


def _checked(filled: Tensor, image: Tensor) -> Tensor:
    filled = filled.to(image.device, image.dtype)
    if filled.ndim != 3 or any(a not in (1, b) for a, b in zip(filled.shape, image.shape, strict=True)):
        raise UserError(f"`fill` must be {tuple(image.shape)} like the image, but is {tuple(filled.shape)}.")
    if not bool(((filled >= -1e-6) & (filled <= 1 + 1e-6)).all()):
        raise UserError(f"`fill` must be in [0, 1], but reaches from {filled.min():.3g} to {filled.max():.3g}.")
    return filled.expand_as(image).contiguous()
