"""From images in [0, 1] to what a network was trained on: channels, size, normalisation. All of it differentiable."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cae.errors import UserError

Numbers = float | Sequence[float] | np.ndarray | Tensor
LUMINANCE = (0.299, 0.587, 0.114)  # ITU-R BT.601


def remedy(error: Exception, shape: tuple[int, ...]) -> str:
    """What would cure what a network raised for images ``(B, C, H, W)``, as a sentence; empty where not known."""
    words = str(error).lower()
    wanted = re.search(r"to have (\d+) channels, but got (\d+) channels", words)
    if wanted and int(wanted[1]) == shape[1] and int(wanted[2]) in shape[2:]:
        return (
            " It turns its input round, as networks with channels last do: give it a first layer that turns images "
            "(B, C, H, W) into (B, H, W, C)."
        )
    if "channel" in words:
        return " Set `classifier.channels` to what it was trained with."
    if any(part in words for part in ("mat1 and mat2", "size", "shape", "height", "width", "kernel")):
        return " Set `classifier.input_size` (and `classifier.channels`) to what it was trained with."
    return ""


def convert_channels(images: Tensor, channels: int) -> Tensor:
    """Images ``(B, 1 or 3, H, W)`` with the wanted number of channels: grey is repeated, RGB becomes luminance."""
    if images.shape[1] == channels:
        return images
    if images.shape[1] == 1:
        return images.expand(-1, channels, -1, -1)
    if channels == 1:
        weights = images.new_tensor(LUMINANCE).view(1, 3, 1, 1)
        return (images * weights).sum(1, keepdim=True)
    raise UserError(f"Images with {images.shape[1]} channels cannot be given to a classifier that wants {channels}.")


def resize(images: Tensor, size: tuple[int, int]) -> Tensor:
    """Images ``(B, C, H, W)`` at ``size`` (height, width); bilinear, antialiased when made smaller."""
    if tuple(images.shape[-2:]) == size:
        return images
    return F.interpolate(images, size=size, mode="bilinear", align_corners=False, antialias=True)


def _per_channel(given: Numbers, default: float, channels: int, option: str) -> list[float]:
    """One value per channel; a single one serves all, the default where none is given."""
    values = np.ravel(np.asarray(given, dtype=float)).tolist() or [default]
    if len(values) not in (1, channels):
        raise UserError(
            f"`{option}` has {len(values)} values, but the classifier's input has {channels} channel(s): "
            f"give {channels}, or one for all."
        )
    return values * (channels // len(values))


class Preprocessing(nn.Module):
    """Channels, size and normalisation of a classifier's input, in this order; nothing of it is learned.

    Args:
        channels: channels that the network wants.
        size: height and width that the network wants, in pixels.
        mean: per-channel mean on [0, 1]; empty for 0.
        std: per-channel standard deviation on [0, 1]; empty for 1.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, channels: int, size: tuple[int, int], mean: Numbers = (), std: Numbers = ()):
        super().__init__()
        self.channels = channels
        self.size = size
        means = _per_channel(mean, 0.0, channels, "classifier.mean")
        deviations = _per_channel(std, 1.0, channels, "classifier.std")
        if max(means) > 1:
            small = [round(value / 255, 4) for value in means]
            raise UserError(
                f"`classifier.mean` must be on the scale of images in [0, 1], but is {means}; if it is meant for "
                f"bytes, divide it (and `classifier.std`) by 255: mean={small}."
            )
        if min(deviations) <= 0:
            raise UserError(f"`classifier.std` must be above 0 in every channel, but is {deviations}.")
        if max(deviations) > 1:
            raise UserError(
                f"`classifier.std` must be on the scale of images in [0, 1], but is {deviations}; if it is meant for "
                f"bytes, divide it by 255: std={[round(value / 255, 4) for value in deviations]}."
            )
        self.normalises = any(means) or any(value != 1 for value in deviations)
        # not persistent: a checkpoint of the network alone stays a checkpoint of the network alone
        self.register_buffer("mean", torch.tensor(means).view(1, -1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(deviations).view(1, -1, 1, 1), persistent=False)

    def description(self) -> str:
        """The settings as one line, for fingerprints."""
        mean, std = ([round(value, 6) for value in tensor.flatten().tolist()] for tensor in (self.mean, self.std))
        return f"channels={self.channels} size={self.size} mean={mean} std={std}"

    def forward(self, images: Tensor) -> Tensor:
        """``(B, 1 or 3, H, W)`` in [0, 1] to the network's input ``(B, channels, *size)``."""
        images = resize(convert_channels(images, self.channels), self.size)
        return (images - self.mean) / self.std if self.normalises else images
