"""Reading one image file of any kind, and bringing it to the size and channels of the program."""

from __future__ import annotations

import math
import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from PIL import UnidentifiedImageError
from torch import Tensor
from torch.nn.functional import interpolate, pad

from cae.config import DataConfig
from cae.data import medical, pictures
from cae.errors import UserError, did_you_mean

MOST_BESIDE = 500  # names in a folder among which the nearest is looked for
Size = int | Sequence[int]  # side of a square, or (height, width)
LUMINANCE = (0.299, 0.587, 0.114)  # ITU-R BT.601, as Pillow's own conversion


@dataclass(frozen=True, slots=True)
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
    """How files become images: what their values mean, and how they are brought to a square.

    Attributes:
        levels: stored values that become 0 and 1 in files of more than 8 bits that bring no window of their own; None
            for the whole range of the file's kind, or of the file itself where its kind has none.
        ground: what lies behind transparent pixels: white, grey or black.
        fit: ``crop`` the ends of the long side, ``pad`` the short one with the image's mean, or ``stretch`` it.
        max_megapixels: larger files are refused.
    """

    levels: tuple[float, float] | None = None
    ground: str = "white"
    fit: str = "crop"
    max_megapixels: float = math.inf

    @classmethod
    def of(cls, config: DataConfig) -> Reading:
        """As the section ``data`` of the configuration wants it."""
        levels = (config.levels[0], config.levels[1]) if config.levels else None
        # without training images there is nothing that `auto` could find to be too much
        return cls(levels, config.ground, "crop" if config.fit == "auto" else config.fit, config.max_megapixels)


AS_STORED = Reading()


def missing(path: Path, what: str) -> str:
    """The sentence for a path that is not what it should be: another thing, a broken link, or not there at all."""
    if path.is_symlink() and not path.exists():
        return f"'{path}' is a link to '{path.readlink()}', which is not there"
    if path.is_dir():
        return f"'{path}' is a folder, where a {what} is wanted"
    if path.is_file():
        return f"'{path}' is a file, where a {what} is wanted{_of_file(path)}"
    return f"no {what} '{path}'{did_you_mean(path.name, islice(beside(path), MOST_BESIDE))}"


def beside(path: Path) -> Iterator[str]:
    """Names in the folder that a path would lie in, one after the other: there may be a million."""
    if path.parent.is_dir():
        with os.scandir(path.parent) as entries:
            yield from (entry.name for entry in entries)


def _of_file(path: Path) -> str:
    """What to do with a file that stands for a folder."""
    suffix = path.suffix.lower()
    if suffix in (".zip", ".tar", ".gz", ".tgz", ".7z", ".rar"):
        return ": unpack the archive, and name the folder"
    if suffix in (".csv", ".tsv", ".parquet"):
        return ": tables are read with `data.source=table`"
    return ": MedMNIST files are read with `data.source=medmnist`" if suffix == ".npz" else ""


@contextmanager
def decoding(ref: ImageRef) -> Iterator[os.stat_result]:
    """The state of a file that is to be read; whatever a decoder raises on it becomes a sentence with its path."""
    state = _state(ref.path)
    try:
        yield state
    except UserError:
        raise
    except Exception as error:  # decoders raise almost anything on damaged bytes
        reason = str(error) or type(error).__name__
        if isinstance(error, UnidentifiedImageError):
            reason = "its content is no picture that the program can read"
        raise UserError(f"cannot read the image '{ref}': {reason}") from error


def _state(path: Path) -> os.stat_result:
    """What the file system says of an ordinary file.

    Raises:
        UserError: if there is none of this name.
    """
    try:
        state = path.stat()
    except (OSError, ValueError):  # the second for a name that no file can have
        raise UserError(missing(path, "image file")) from None
    if stat.S_ISREG(state.st_mode):
        return state
    if stat.S_ISDIR(state.st_mode):
        raise UserError(missing(path, "image file"))
    raise UserError(f"'{path}' is no ordinary file, but a pipe, a socket or a device: it is not read.")


def check_size(ref: ImageRef, height: int, width: int, max_megapixels: float) -> None:
    """Refuse an image of more pixels than allowed, with the option that admits it."""
    megapixels = height * width / 1e6
    if megapixels > max_megapixels:
        raise UserError(
            f"the image '{ref}' has {width} × {height} pixels, {megapixels:.0f} megapixels: set "
            f"`data.max_megapixels={math.ceil(megapixels)}` to read it all the same (some "
            f"{max(1, round(megapixels * 4 / 1000))} GB of memory for it), or make it smaller."
        )


def read_image(ref: ImageRef, reading: Reading = AS_STORED, least_side: float = math.inf) -> Tensor:
    """Decode an image at its native size and channels.

    8-bit values are divided by 255. 16-bit ones follow ``reading.levels``, by default 0 to 65535; so do 32-bit integers
    and floats, by default from their least to their largest value. Palettes are resolved, the EXIF orientation applied,
    transparency laid over ``reading.ground``. Of a stack of pages the middle one is taken, of an animation the first.
    DICOM and NIfTI follow the file's window, or else the levels (see ``cae.data.medical``).

    Args:
        ref: where it is.
        reading: what the stored values mean.
        least_side: what its short side is needed for, in pixels: a picture of more than 20 megapixels comes averaged
            over squares of pixels, but at least four times as large.

    Returns:
        ``(C, H, W)`` float32 in [0, 1], C is 1 or 3.

    Raises:
        UserError: if the file is missing, cannot be decoded, or is larger than ``reading`` allows.
    """
    with decoding(ref):
        if medical.is_nifti(ref.path):
            pixels = medical.read_nifti(ref.path, ref.slice, reading.levels)
        elif medical.is_dicom(ref.path):
            pixels = medical.read_dicom(ref.path, ref.slice, reading.levels)
        else:
            with pictures.opened(ref.path, ref.slice) as picture:
                check_size(ref, picture.height, picture.width, reading.max_megapixels)
                small = pictures.reduced(picture, least_side)
                pixels = _scaled(*pictures.values(small, reading.ground), reading.levels)
                if picture.mode in ("I", "F", "I;16", "I;16B") and pictures.is_white_least(picture):
                    pixels = 1 - pixels
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
    with decoding(ref):
        if medical.is_nifti(ref.path):
            window = medical.nifti_percentiles(ref.path)
            return None if window is None else (*window, True)
        if medical.is_dicom(ref.path):
            window = medical.dicom_percentiles(ref.path, ref.slice)
            return None if window is None else (*window, True)
        with pictures.opened(ref.path, ref.slice) as picture:
            if not pictures.has_levels(picture):
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
    with decoding(ref):
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


def is_soft_mask(ref: ImageRef) -> bool:
    """Whether a mask picture holds many grey levels, from faint to bright.

    Raises:
        UserError: if the file is missing or cannot be decoded.
    """
    if medical.is_nifti(ref.path) or medical.is_dicom(ref.path):
        return False
    with decoding(ref), pictures.opened(ref.path, ref.slice) as picture:
        return pictures.is_soft(picture)


def load_image(
    ref: ImageRef, image_size: Size, channels: int, crop: float = 1.0, reading: Reading = AS_STORED
) -> Tensor:
    """An image as the program wants it: ``(channels, height, width)`` float32 in [0, 1].

    Args:
        ref: where it is.
        image_size: side in pixels, or height and width.
        channels: 1 or 3.
        crop: share that is kept, centred, as in ``fit``.
        reading: what the stored values mean, and how images of another shape come to this one.
    """
    image = to_channels(read_image(ref, reading, max(sides(image_size)) / crop), channels)[None]
    return fit(image, image_size, crop, reading.fit)[0]


def load_mask(ref: ImageRef, image_size: Size, crop: float = 1.0, mode: str = "crop") -> Tensor:
    """A mask brought through the same geometry as its image: ``(1, height, width)`` bool."""
    return fit_mask(read_mask(ref), image_size, crop, mode)


def fit_mask(mask: Tensor, image_size: Size, crop: float = 1.0, mode: str = "crop") -> Tensor:
    """A mask ``(1, H, W)`` bool as ``(1, height, width)``: inside where more than half of a pixel is."""
    height, width = mask.shape[-2:]
    factor = pictures.reduction(height, width, max(sides(image_size)) / crop)
    if factor > 1:  # before it becomes floats, of four times the memory
        whole = centre(mask, height - height % factor, width - width % factor)[0].numpy()
        squares = whole.reshape(height // factor, factor, width // factor, factor)
        shares = torch.from_numpy(squares.mean(axis=(1, 3), dtype=np.float32))[None]
    else:
        shares = mask.to(torch.float32)
    return fit(shares[None], image_size, crop, mode, padding=0.0)[0] >= 0.5


def sides(size: Size) -> tuple[int, int]:
    """Height and width of a size.

    >>> sides(64), sides([96, 64])
    ((64, 64), (96, 64))
    """
    height, width = [size] * 2 if isinstance(size, int) else size
    return height, width


def to_channels(images: Tensor, channels: int) -> Tensor:
    """Repeat grey to RGB, or take the luminance of RGB (BT.601): ``(…, C, H, W)`` to ``(…, channels, H, W)``."""
    if images.shape[-3] == channels:
        return images
    if channels == 3:
        return images.expand(*images.shape[:-3], 3, *images.shape[-2:])
    weights = torch.tensor(LUMINANCE, dtype=images.dtype, device=images.device)[:, None, None]
    return (images * weights).sum(dim=-3, keepdim=True)


def kept_by_crop(height: int, width: int, size: Size) -> tuple[float, float]:
    """Height and width of the largest part of an image that has the shape of ``size``.

    >>> kept_by_crop(100, 300, 64), kept_by_crop(100, 300, (32, 64)), kept_by_crop(100, 100, (32, 64))
    ((100.0, 100.0), (100.0, 200.0), (50.0, 100.0))
    """
    wanted = sides(size)
    smaller = min(height / wanted[0], width / wanted[1])
    return wanted[0] * smaller, wanted[1] * smaller


def _without_ends(images: Tensor, size: Size) -> Tensor:
    """Images without the ends of their long side that no crop of the centre keeps.

    A line of 20,000 pixels would be enlarged to as many times its width before all but its centre is thrown away.
    """
    height, width = images.shape[-2:]
    kept = kept_by_crop(height, width, size)
    spare = [max(0, (side - math.ceil(4 * part)) // 2) for side, part in zip((height, width), kept, strict=True)]
    return images[..., spare[0] : height - spare[0], spare[1] : width - spare[1]]


def fit(
    images: Tensor, image_size: Size, crop: float = 1.0, mode: str = "crop", padding: float | None = None
) -> Tensor:
    """Images ``(N, C, H, W)`` at ``(N, C, height, width)`` in [0, 1]: bilinear, antialiased.

    Args:
        images: in [0, 1].
        image_size: side in pixels, or height and width.
        crop: share of the largest part of that shape that is kept, centred: of squares, of the short side, as ImageNet
            classifiers are tested (0.875). With ``pad`` and ``stretch``, of both sides.
        mode: ``crop``: that part is cut out of the centre; ``pad``: what is missing to that shape is filled up;
            ``stretch``: each side is brought to its length.
        padding: value of what is filled up; by default the mean of each image and channel.
    """
    if mode == "crop":
        return _cropped(images, image_size, crop)
    wanted, kept = sides(image_size), [max(1, round(crop * side)) for side in images.shape[-2:]]
    images = centre(images, kept[0], kept[1])
    if mode == "stretch":
        return _resized(images, *wanted).contiguous()
    scale = min(wanted[0] / kept[0], wanted[1] / kept[1])
    height, width = (max(1, round(side * scale)) for side in kept)
    small = _resized(images, height, width)
    top, left = (wanted[0] - height) // 2, (wanted[1] - width) // 2
    margins = (left, wanted[1] - width - left, top, wanted[0] - height - top)
    ground = small.mean((-2, -1), keepdim=True) if padding is None else torch.full_like(small[..., :1, :1], padding)
    return pad(small - ground, margins) + ground


def centre(images: Tensor, height: int, width: int) -> Tensor:
    """The middle ``(…, height, width)`` of images ``(…, H, W)``."""
    top, left = (images.shape[-2] - height) // 2, (images.shape[-1] - width) // 2
    return images[..., top : top + height, left : left + width]


def _resized(images: Tensor, height: int, width: int) -> Tensor:
    if tuple(images.shape[-2:]) == (height, width):
        return images
    return interpolate(images, size=(height, width), mode="bilinear", antialias=True, align_corners=False).clamp(0, 1)


def _cropped(images: Tensor, size: Size, crop: float) -> Tensor:
    images, wanted = _without_ends(images, size), sides(size)
    height, width = images.shape[-2:]
    scale = max(wanted[0] / (crop * height), wanted[1] / (crop * width))
    images = _resized(images, max(wanted[0], round(height * scale)), max(wanted[1], round(width * scale)))
    return centre(images, *wanted).contiguous()
