"""Reading one image file of any kind, and bringing it to the size and channels of the program."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from cae.config import DataConfig
from cae.data import medical, pictures
from cae.errors import UserError, did_you_mean

LUMINANCE = (0.299, 0.587, 0.114)  # ITU-R BT.601, as Pillow's own conversion


@dataclass(frozen=True)
class ImageRef:
    """An image file, one slice of a volume (``scan.nii.gz#12``) or one page of a stack (``cells.tif#3``)."""

    path: Path
    slice: int | None = None

    @classmethod
    def parse(cls, text: str | Path, base: Path = Path()) -> ImageRef:
        """Read ``path`` or ``path#slice``, relative to ``base``; a file that really has ``#`` in its name wins."""
        path = base / Path(text).expanduser()
        name, mark, number = str(path).rpartition("#")
        if mark and number.isdecimal() and not path.exists():
            return cls(Path(name), int(number))
        return cls(path)

    def __str__(self) -> str:
        return str(self.path) if self.slice is None else f"{self.path}#{self.slice}"


@dataclass(frozen=True)
class Reading:
    """What the values of a file mean.

    Attributes:
        levels: stored values that become 0 and 1 in files of more than 8 bits that bring no window of their own; None
            for the whole range of the file's kind, or of the file itself where its kind has none.
        ground: what lies behind transparent pixels: white, grey or black.
    """

    levels: tuple[float, float] | None = None
    ground: str = "white"

    @classmethod
    def of(cls, config: DataConfig) -> Reading:
        """As the section ``data`` of the configuration wants it."""
        return cls((config.levels[0], config.levels[1]) if config.levels else None, config.ground)


AS_STORED = Reading()


def missing(path: Path, what: str) -> str:
    """The sentence for a path that does not exist, with the nearest name beside it."""
    beside = [entry.name for entry in path.parent.iterdir()] if path.parent.is_dir() else []
    return f"no {what} '{path}'{did_you_mean(path.name, beside)}"


@contextmanager
def _decoding(ref: ImageRef) -> Iterator[None]:
    """Turn whatever a decoder raises on a damaged file into a sentence with its path."""
    if not ref.path.is_file():
        if ref.path.exists() and not ref.path.is_dir():
            raise UserError(f"'{ref.path}' is no ordinary file, but a pipe, a socket or a device: it is not read.")
        raise UserError(missing(ref.path, "image file"))
    try:
        yield
    except UserError:
        raise
    except Exception as error:  # decoders raise almost anything on damaged bytes
        reason = str(error) or type(error).__name__
        raise UserError(f"cannot read the image '{ref}': {reason}") from error


def image_shape(ref: ImageRef) -> tuple[int, int, int]:
    """Native ``(C, H, W)`` of an image, upright, from its header alone.

    Raises:
        UserError: if the file is missing, is no image, or its header is damaged.
    """
    with _decoding(ref):
        if medical.is_nifti(ref.path):
            return medical.nifti_shape(ref.path, ref.slice)
        if medical.is_dicom(ref.path):
            return medical.dicom_shape(ref.path, ref.slice)
        return pictures.shape(ref.path, ref.slice)


def read_image(ref: ImageRef, reading: Reading = AS_STORED) -> Tensor:
    """Decode an image at its native size and channels.

    8-bit values are divided by 255. 16-bit ones follow ``reading.levels``, by default 0 to 65535; so do 32-bit integers
    and floats, by default from their least to their largest value. Palettes are resolved, the EXIF orientation applied,
    transparency laid over ``reading.ground``. Of a stack of pages the middle one is taken, of an animation the first.
    DICOM and NIfTI follow the file's window, or else the levels (see ``cae.data.medical``).

    Returns:
        ``(C, H, W)`` float32 in [0, 1], C is 1 or 3.

    Raises:
        UserError: if the file is missing or cannot be decoded.
    """
    with _decoding(ref):
        if medical.is_nifti(ref.path):
            pixels = medical.read_nifti(ref.path, ref.slice, reading.levels)
        elif medical.is_dicom(ref.path):
            pixels = medical.read_dicom(ref.path, ref.slice, reading.levels)
        else:
            with pictures.opened(ref.path, ref.slice) as picture:
                pixels = _scaled(*pictures.values(picture, reading.ground), reading.levels)
        return torch.from_numpy(np.ascontiguousarray(pixels, dtype=np.float32)).clamp_(0, 1)


def _scaled(stored: np.ndarray, largest: float | None, levels: tuple[float, float] | None) -> np.ndarray:
    """Stored values of a picture as [0, 1]; 8 bits mean what they say, whatever the levels of deeper files."""
    if largest == 255 or (largest is not None and levels is None):
        return stored / np.float32(largest)
    return medical.stretch(stored, *(levels or ()))


def unscaled_range(ref: ImageRef) -> tuple[float, float, bool] | None:
    """Least and largest stored value of a file of more than 8 bits without a window; None for every other file.

    Returns:
        both (medical files: the 0.5 and 99.5 percentiles), and whether the kind of file brings no range of its own.

    Raises:
        UserError: if the file is missing or cannot be decoded.
    """
    with _decoding(ref):
        if medical.is_nifti(ref.path):
            window = medical.nifti_percentiles(ref.path)
            return None if window is None else (*window, True)
        if medical.is_dicom(ref.path):
            window = medical.dicom_percentiles(ref.path, ref.slice)
            return None if window is None else (*window, True)
        with pictures.opened(ref.path, ref.slice) as picture:
            if picture.mode not in ("I", "F") and not picture.mode.startswith("I;16"):
                return None
            stored, largest = pictures.values(picture, "black")
        finite = stored[np.isfinite(stored)]
        return (float(finite.min()), float(finite.max()), largest is None) if finite.size else None


def read_mask(ref: ImageRef) -> Tensor:
    """Decode a mask at its native size: everything but zero is inside (for lossy files see ``cae.data.pictures``).

    Returns:
        ``(1, H, W)`` bool.

    Raises:
        UserError: if the file is missing or cannot be decoded.
    """
    with _decoding(ref):
        if medical.is_nifti(ref.path):
            inside: np.ndarray = medical.nifti_slice(ref.path, ref.slice) > 0
        elif medical.is_dicom(ref.path):
            inside = medical.dicom_frame(ref.path, ref.slice)[1] > 0
        else:
            with pictures.opened(ref.path, ref.slice) as picture:
                inside = pictures.inside(picture)
        if inside.ndim == 3:
            inside = np.asarray(inside.any(axis=-1))
        return torch.from_numpy(np.ascontiguousarray(inside))[None]


def load_image(
    ref: ImageRef, image_size: int, channels: int, crop: float = 1.0, reading: Reading = AS_STORED
) -> Tensor:
    """An image as the program wants it: ``(channels, image_size, image_size)`` float32 in [0, 1].

    Args:
        ref: where it is.
        image_size: side in pixels.
        channels: 1 or 3.
        crop: share of the shorter side that is kept, centred.
        reading: what the stored values mean.
    """
    return fit(to_channels(read_image(ref, reading), channels)[None], image_size, crop)[0]


def load_mask(ref: ImageRef, image_size: int, crop: float = 1.0) -> Tensor:
    """A mask brought through the same geometry as its image: ``(1, image_size, image_size)`` bool."""
    return fit(read_mask(ref)[None].to(torch.float32), image_size, crop)[0] >= 0.5


def to_channels(images: Tensor, channels: int) -> Tensor:
    """Repeat grey to RGB, or take the luminance of RGB (BT.601): ``(…, C, H, W)`` to ``(…, channels, H, W)``."""
    if images.shape[-3] == channels:
        return images
    if channels == 3:
        return images.expand(*images.shape[:-3], 3, *images.shape[-2:])
    weights = torch.tensor(LUMINANCE, dtype=images.dtype, device=images.device)[:, None, None]
    return (images * weights).sum(dim=-3, keepdim=True)


def _without_ends(images: Tensor) -> Tensor:
    """Images without the ends of their long side that no crop of the centre keeps.

    A line of 20,000 pixels would be enlarged to as many times its width before all but its centre is thrown away.
    """
    height, width = images.shape[-2:]
    spare = [max(0, (side - 4 * min(height, width)) // 2) for side in (height, width)]
    return images[..., spare[0] : height - spare[0], spare[1] : width - spare[1]]


def fit(images: Tensor, image_size: int, crop: float = 1.0) -> Tensor:
    """Resize (bilinear, antialiased) and crop the centre: ``(N, C, image_size, image_size)`` in [0, 1].

    Of the short side, the share ``crop`` is kept, as ImageNet classifiers are tested (0.875).
    """
    images = _without_ends(images)
    height, width = images.shape[-2:]
    scale = image_size / (crop * min(height, width))
    size = (max(image_size, round(height * scale)), max(image_size, round(width * scale)))
    if size != (height, width):
        images = interpolate(images, size=size, mode="bilinear", antialias=True, align_corners=False).clamp(0, 1)
    top, left = (size[0] - image_size) // 2, (size[1] - image_size) // 2
    return images[..., top : top + image_size, left : left + image_size].contiguous()
