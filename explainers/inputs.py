"""Images and targets as people write them, as the tensors and numbers that explainers work on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from cae.errors import UserError, did_you_mean

FULL_SCALE = {np.dtype(np.uint8): 255.0, np.dtype(np.uint16): 65535.0, np.dtype(bool): 1.0}


def as_images(given: Any, channels: int, side: int | None = None) -> Tensor:
    """Images ``(B, C, H, W)`` from one or many of any kind; tensors ``(B, C, H, W)`` are returned as they are.

    Args:
        given: a tensor or NumPy array, ``(H, W)``, ``(C, H, W)``, ``(H, W, C)`` or with a batch before it, bytes or
            floats in [0, 1]; a PIL picture; a file name; or a list of these.
        channels: 1 or 3, what the classifier's images have; pictures, files and arrays are converted.
        side: in pixels, of the squares that files become, as everywhere in the program: the short side is resized,
            the centre cut out; by default they keep their size.

    Raises:
        UserError: for anything else, or images of different sizes in a list.
    """
    if isinstance(given, Tensor):
        return given[None] if given.ndim == 3 else given
    if not isinstance(given, (list, tuple)):
        return _converted(given, channels, side)
    if not given:
        raise UserError("There is no image to explain: the list is empty.")
    parts = [as_images(item, channels, side) for item in given]
    shapes = {tuple(part.shape[1:]) for part in parts}
    if len(shapes) > 1:
        found = " and ".join(str(shape) for shape in sorted(shapes))
        raise UserError(f"Images of one call must have one size, but are {found}: resize them, or explain them apart.")
    return torch.cat(parts)


def _converted(given: Any, channels: int, side: int | None) -> Tensor:
    from cae.data.images import ImageRef, load_image, read_image, to_channels

    if isinstance(given, (str, Path)) and side is not None:
        return load_image(ImageRef.parse(given), side, channels)[None]
    if isinstance(given, (str, Path)):
        images = read_image(ImageRef.parse(given))[None]
    elif isinstance(given, np.ndarray):
        images = _from_array(given)
    elif hasattr(given, "getexif") and hasattr(given, "convert"):
        images = _from_picture(given)
    else:
        raise UserError(
            f"Images must be tensors, NumPy arrays, PIL pictures or file names, but got a {type(given).__name__}."
        )
    return to_channels(images, channels).contiguous()


def _from_picture(picture: Any) -> Tensor:
    from PIL import ImageOps

    if "A" in picture.getbands() or "transparency" in picture.info:
        raise UserError("The picture is transparent: lay it over a ground first, as in picture.convert('RGB').")
    picture = ImageOps.exif_transpose(picture)
    if picture.mode in ("I", "F"):  # Pillow would cut them off at 255
        raise UserError(
            f"A picture of mode {picture.mode!r} has no range of its own: scale it to floats in [0, 1], as a NumPy "
            "array."
        )
    if not picture.mode.startswith(("L", "I;16")):
        picture = picture.convert("L" if picture.mode == "1" else "RGB")
    return _from_array(np.array(picture))


def _from_array(array: np.ndarray) -> Tensor:
    scale = FULL_SCALE.get(array.dtype)
    if scale is None and not np.issubdtype(array.dtype, np.floating):
        raise UserError(f"Arrays of images must be bytes, or floats in [0, 1], but are {array.dtype}.")
    values = np.asarray(array, dtype=np.float32) / np.float32(scale or 1)
    if values.ndim == 2:
        values = values[None]
    if values.ndim == 3:
        values = values[None]
    if values.ndim != 4:
        raise UserError(f"Arrays of images must be (H, W), (C, H, W), (H, W, C) or a batch, but are {array.shape}.")
    first, last = values.shape[1] in (1, 3), values.shape[3] in (1, 3)
    if last and not (first and scale is None):  # bytes are most often channels last, floats channels first
        values = values.transpose(0, 3, 1, 2)
    elif not first:
        raise UserError(f"Arrays of images must have 1 or 3 channels, first or last, but are {array.shape}.")
    return torch.from_numpy(np.ascontiguousarray(values))


def as_targets(given: Any, count: int, classes: Sequence[str]) -> list[int]:
    """Class numbers of ``count`` images from numbers of any integer kind or names, one for all or one for each.

    Raises:
        UserError: for another number of targets, or one that is no class.
    """
    if isinstance(given, (Tensor, np.ndarray, np.generic)):
        given = given.reshape(-1).tolist()
    items = [given] if isinstance(given, (int, str, float)) else given
    if not isinstance(items, Sequence):
        raise UserError(f"`target` must be a class, by number or name, or a list, but is a {type(given).__name__}.")
    if len(items) not in (1, count):
        raise UserError(f"`target` must be one class or one for each of the {count} images, but has {len(items)}.")
    return [class_number(item, classes) for item in (list(items) * count if len(items) == 1 else items)]


def class_number(target: Any, classes: Sequence[str]) -> int:
    """The number of a class from its number or name.

    Raises:
        UserError: if it is no class.
    """
    target = target.item() if isinstance(target, (Tensor, np.ndarray, np.generic)) and target.size else target
    if isinstance(target, str):
        if target not in classes:
            some = ", ".join(classes[:10]) + (" …" if len(classes) > 10 else "")
            raise UserError(
                f"`target` {target!r} is no class of the classifier ({some}){did_you_mean(target, classes)}."
            )
        return list(classes).index(target)
    if not isinstance(target, (int, float)) or target != target or not float(target).is_integer():
        raise UserError(f"`target` must be a class, by number or name, but is {target!r}.")
    if not 0 <= target < len(classes):
        raise UserError(f"`target` must be in [0, {len(classes)}), but got {target}.")
    return int(target)
