"""What hidden pixels show."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from cae.classifiers import TargetClassifier
from cae.errors import UserError, did_you_mean
from explainers.base import Instance
from explainers.infills import SAMPLERS, Sampler, build_sampler
from explainers.multirex.search_state import smoothed

FILLS = {
    "mean": "the mean of the classifier's normalisation, or of the training images",
    "image_mean": "the image's mean colour",
    "min": "the image's lowest value in each channel",
    "blur": "the image, blurred by a Gaussian of a tenth of its short side",
    "noise": "independent uniform noise",
}
WINDOWS = 7  # along the short side: in-fills are drawn in windows, each given the rest of the image

Fill = str | float | Sequence[float] | Tensor | Sampler | Callable[[Tensor], Tensor]


def fill_image(fill: Fill, subject: Instance, classifier: TargetClassifier, background: Tensor | None) -> Tensor:
    """The image ``(C, H, W)`` in [0, 1] that hidden pixels show.

    Args:
        fill: a name of ``FILLS`` or of the in-fills (``explainers.infills``); a value in [0, 1] for all channels, or
            one for each; another image ``(C, H, W)``; an in-fill object; or a function from image to image.
        subject: the image being explained.
        classifier: whose normalisation ``mean`` stands for.
        background: training images, for in-fills made from data.

    Raises:
        UserError: for an unknown name, or an image of another form or range.
    """
    image = subject.image
    if isinstance(fill, (Sampler, str)) and fill not in FILLS:
        number = _number(fill)
        filled = _sampled(fill, subject, background) if number is None else torch.full_like(image, number)
    elif isinstance(fill, str):
        filled = _named(fill, subject, classifier, background)
    elif callable(fill) and not isinstance(fill, Tensor):
        filled = fill(image.clone())
    else:
        filled = torch.as_tensor(fill, dtype=image.dtype, device=image.device)
        if filled.ndim < 2:
            filled = filled.reshape(-1, 1, 1)
            if len(filled) not in (1, len(image)):
                raise UserError(f"`fill` must have one value or {len(image)}, one for each channel, not {len(filled)}.")
    return _checked(filled, image)


def _number(fill: object) -> float | None:
    try:
        return float(fill) if isinstance(fill, str) else None
    except ValueError:
        return None


def _checked(filled: Tensor, image: Tensor) -> Tensor:
    filled = filled.to(image.device, image.dtype)
    if filled.ndim != 3 or any(a not in (1, b) for a, b in zip(filled.shape, image.shape, strict=True)):
        raise UserError(f"`fill` must be {tuple(image.shape)} like the image, but is {tuple(filled.shape)}.")
    if not bool(((filled >= -1e-6) & (filled <= 1 + 1e-6)).all()):
        raise UserError(f"`fill` must be in [0, 1], but reaches from {filled.min():.3g} to {filled.max():.3g}.")
    return filled.expand_as(image).contiguous()


def _named(fill: str, subject: Instance, classifier: TargetClassifier, background: Tensor | None) -> Tensor:
    image = subject.image
    if fill == "image_mean":
        return image.mean((1, 2), keepdim=True)
    if fill == "min":
        return image.amin((1, 2), keepdim=True)
    if fill == "blur":
        deviation = min(image.shape[1:]) / 10
        return torch.stack([smoothed(channel, deviation) for channel in image.cpu()])
    if fill == "noise":
        return torch.rand(image.shape, generator=subject.generator(1))
    return _mean(image, classifier, background)


def _mean(image: Tensor, classifier: TargetClassifier, background: Tensor | None) -> Tensor:
    """Colour that normalisation takes to 0; of a classifier that does not normalise, that of the training images."""
    if classifier.preprocess.normalises:
        mean = classifier.preprocess.mean.reshape(-1, 1, 1).clamp(0, 1)
        return mean if len(mean) == len(image) else mean.mean(0, keepdim=True)
    if background is not None:
        return background.float().mean((0, 2, 3)).reshape(-1, 1, 1)
    return image.new_full((1, 1, 1), 0.5)


def _sampled(fill: str | Sampler, subject: Instance, background: Tensor | None) -> Tensor:
    """Windows side by side, each drawn by an in-fill given the rest of the image."""
    if isinstance(fill, str) and fill not in SAMPLERS:
        known = {**FILLS, **SAMPLERS}
        raise UserError(f"`fill` must be a value in [0, 1] or one of {', '.join(known)}, but is {fill!r}"
                        f"{did_you_mean(fill, known)}.")  # fmt: skip
    sampler = build_sampler(fill, background)
    image = subject.image
    height, width = image.shape[1:]
    side = max(1, min(height, width) // WINDOWS)
    tops = [
        (min(y, height - side), min(x, width - side)) for y in range(0, height, side) for x in range(0, width, side)
    ]
    generators = [subject.generator(2, place) for place in range(len(tops))]
    drawn = sampler.sample(image, torch.tensor(tops, device=image.device), side, 1, generators)[:, 0]
    filled = torch.empty_like(image)
    for (y, x), window in zip(tops, drawn, strict=True):
        filled[:, y : y + side, x : x + side] = window
    return filled
