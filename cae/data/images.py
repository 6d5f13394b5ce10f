"""Reading one image file of any kind, and bringing it to the size and channels of the program."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps, TiffImagePlugin
from torch import Tensor
from torch.nn.functional import interpolate

from cae.data import medical
from cae.errors import UserError, did_you_mean

PICTURE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".pgm", ".ppm", ".jp2")
IMAGE_SUFFIXES = (*PICTURE_SUFFIXES, *medical.DICOM_SUFFIXES, *medical.NIFTI_SUFFIXES)
LUMINANCE = (0.299, 0.587, 0.114)  # ITU-R BT.601, as Pillow's own conversion


@dataclass(frozen=True)
class ImageRef:
    """An image file, or one slice of a volume: ``scan.nii.gz#12`` is slice 12 on the last axis."""

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


def list_images(folder: Path) -> list[Path]:
    """All image files below a folder, links followed, hidden files left out, sorted by their relative path."""
    found, visited = [], set()
    for root, folders, files in os.walk(folder, followlinks=True):
        real = os.path.realpath(root)
        folders[:] = [] if real in visited else [name for name in folders if not _hidden(name)]
        files = [] if real in visited else files  # a link that leads back up would be walked for ever
        visited.add(real)
        found += [Path(root, name) for name in files if not _hidden(name) and is_image(Path(root, name))]
    return sorted(found, key=lambda path: path.relative_to(folder).as_posix())


def _hidden(name: str) -> bool:
    return name.startswith(".") or name == "__MACOSX"


def is_image(path: Path) -> bool:
    """Whether the program reads this file: by its suffix, or, for DICOM files without one, by their first bytes."""
    return path.name.lower().endswith(IMAGE_SUFFIXES) or medical.is_dicom(path)


def without_suffix(path: str) -> str:
    """The path without its image suffix (``.nii.gz`` counts as one; other dots are part of the name)."""
    suffixes = [suffix for suffix in IMAGE_SUFFIXES if path.lower().endswith(suffix)]
    return path[: -max(map(len, suffixes))] if suffixes else path


def missing(path: Path, what: str) -> str:
    """The sentence for a path that does not exist, with the nearest name beside it."""
    beside = [entry.name for entry in path.parent.iterdir()] if path.parent.is_dir() else []
    return f"no {what} '{path}'{did_you_mean(path.name, beside)}"


@contextmanager
def _decoding(ref: ImageRef) -> Iterator[None]:
    """Turn whatever a decoder raises on a damaged file into a sentence with its path."""
    if not ref.path.is_file():
        raise UserError(missing(ref.path, "image file"))
    try:
        yield
    except UserError:
        raise
    except Exception as error:  # decoders raise almost anything on damaged bytes
        reason = str(error) or type(error).__name__
        raise UserError(f"cannot read the image '{ref}': {reason}") from error


@contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
    # given a path, Pillow 13.0 maps uncompressed TIFFs into memory, and scrambles those with an orientation
    with path.open("rb") as file, Image.open(file) as picture:
        yield picture


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
        _refuse_slice(ref)
        with _opened(ref.path) as picture:
            picture.verify()
        with _opened(ref.path) as picture:  # nothing may be asked of a verified picture
            height, width = _upright_size(picture)
            return (3 if _is_colour(picture) else 1, height, width)


def read_image(ref: ImageRef) -> Tensor:
    """Decode an image at its native size and channels.

    8-bit values are divided by 255 and 16-bit ones by 65535; 32-bit integers and floats are stretched from their
    least to their largest value. Transparency is laid over black, palettes are resolved, the EXIF orientation applied;
    of several frames the first is taken. DICOM and NIfTI follow the file's window (see ``cae.data.medical``).

    Returns:
        ``(C, H, W)`` float32 in [0, 1], C is 1 or 3.

    Raises:
        UserError: if the file is missing or cannot be decoded.
    """
    with _decoding(ref):
        if medical.is_nifti(ref.path):
            pixels = medical.read_nifti(ref.path, ref.slice)
        elif medical.is_dicom(ref.path):
            pixels = medical.read_dicom(ref.path, ref.slice)
        else:
            _refuse_slice(ref)
            with _opened(ref.path) as picture:
                pixels = _pixels(picture)
        return torch.from_numpy(np.ascontiguousarray(pixels, dtype=np.float32)).clamp_(0, 1)


def read_mask(ref: ImageRef) -> Tensor:
    """Decode a mask at its native size: everything but zero is inside (JPEG, which is never exact: above one half).

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
            _refuse_slice(ref)
            with _opened(ref.path) as picture:
                inside = _inside(picture)
        if inside.ndim == 3:
            inside = np.asarray(inside.any(axis=-1))
        return torch.from_numpy(np.ascontiguousarray(inside))[None]


def load_image(ref: ImageRef, image_size: int, channels: int, crop: float = 1.0) -> Tensor:
    """An image as the program wants it: ``(channels, image_size, image_size)`` float32 in [0, 1].

    Args:
        ref: where it is.
        image_size: side in pixels.
        channels: 1 or 3.
        crop: share of the shorter side that is kept, centred.
    """
    return fit(to_channels(read_image(ref), channels)[None], image_size, crop)[0]


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


def fit(images: Tensor, image_size: int, crop: float = 1.0) -> Tensor:
    """Resize (bilinear, antialiased) and crop the centre: ``(N, C, image_size, image_size)`` in [0, 1].

    Of the short side, the share ``crop`` is kept, as ImageNet classifiers are tested (0.875).
    """
    height, width = images.shape[-2:]
    scale = image_size / (crop * min(height, width))
    size = (max(image_size, round(height * scale)), max(image_size, round(width * scale)))
    if size != (height, width):
        images = interpolate(images, size=size, mode="bilinear", antialias=True, align_corners=False).clamp(0, 1)
    top, left = (size[0] - image_size) // 2, (size[1] - image_size) // 2
    return images[..., top : top + image_size, left : left + image_size].contiguous()


def _refuse_slice(ref: ImageRef) -> None:
    if ref.slice is not None:
        raise UserError(f"'{ref}' asks for a slice, but only NIfTI volumes and DICOM files have slices.")


def _upright_size(picture: Image.Image) -> tuple[int, int]:
    """Height and width after the EXIF orientation is applied."""
    if isinstance(picture, TiffImagePlugin.TiffImageFile):
        width, height = picture.tag_v2[256], picture.tag_v2[257]  # recent Pillow has turned `size` already
    else:
        width, height = picture.size
    # asking a PNG without EXIF for it decodes the whole file
    turns = picture.format != "PNG" or "exif" in picture.info
    turned = turns and picture.getexif().get(0x0112, 1) in (5, 6, 7, 8)
    return (width, height) if turned else (height, width)


def _is_colour(picture: Image.Image) -> bool:
    if picture.mode in ("P", "PA"):
        palette = np.asarray(picture.getpalette() or [0, 0, 0]).reshape(-1, 3)
        return bool((palette != palette[:, :1]).any())
    return picture.mode not in ("1", "L", "LA", "La", "I", "F") and not picture.mode.startswith("I;16")


def _pixels(picture: Image.Image) -> np.ndarray:
    """Decode to ``(C, H, W)`` float32 in [0, 1]."""
    kind, colour = picture.format, _is_colour(picture)
    picture = ImageOps.exif_transpose(picture)
    if picture.mode.startswith("I;16") or (picture.mode == "I" and kind == "PNG"):
        return np.asarray(picture, dtype=np.float32)[None] / 65535
    if picture.mode in ("I", "F"):
        return medical.stretch(np.asarray(picture, dtype=np.float32))[None]
    values = np.asarray(_over_black(picture), dtype=np.float32) / 255
    return values.transpose(2, 0, 1) if colour else values[None, :, :, 0]


def _over_black(picture: Image.Image) -> Image.Image:
    """An 8-bit RGB picture with its transparency laid over black."""
    has_alpha = picture.mode in ("LA", "La", "PA", "RGBA", "RGBa") or "transparency" in picture.info
    if not has_alpha or picture.mode == "1":
        return picture.convert("RGB")
    if picture.mode in ("La", "RGBa"):
        picture = picture.convert(picture.mode.upper())
    picture = picture.convert("RGBA")
    return Image.composite(picture.convert("RGB"), Image.new("RGB", picture.size), picture.getchannel("A"))


def _inside(picture: Image.Image) -> np.ndarray:
    """Which pixels of a mask picture are not zero: ``(H, W)`` or ``(H, W, 3)`` bool."""
    lossy = picture.format in ("JPEG", "MPO", "WEBP")
    picture = ImageOps.exif_transpose(picture)
    if picture.mode in ("P", "I", "F") or picture.mode.startswith("I;16"):
        return np.asarray(picture) > 0
    return np.asarray(_over_black(picture)) > (127 if lossy else 0)
