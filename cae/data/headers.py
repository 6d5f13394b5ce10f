"""One look at each file of a source: its size in pixels, its pages, and what tells it from other files."""

from __future__ import annotations

import math
import os
import zlib
from dataclasses import dataclass
from typing import BinaryIO

from cae.data import medical, pictures
from cae.data.images import ImageRef, check_size, decoding

HEAD = 1024  # bytes that are compared before the whole of a file is


@dataclass(frozen=True, slots=True)
class Header:
    """What is known of an image file before anything is decoded.

    Attributes:
        shape: native ``(C, H, W)``, upright.
        pages: of a stack, or pictures of an animation; 1 for every other file.
        place: device and number of the file, the same under all its names.
        size: in bytes.
        head: checksum of its first bytes.
    """

    shape: tuple[int, int, int]
    pages: int
    place: tuple[object, ...]
    size: int
    head: int


def read_header(ref: ImageRef, max_megapixels: float = math.inf) -> Header:
    """Open an image file once, and read what its first bytes tell.

    Raises:
        UserError: if the file is missing, is no image, its header is damaged, or it is larger than allowed.
    """
    with decoding(ref) as state, ref.path.open("rb") as file:
        head = zlib.crc32(file.read(HEAD))
        file.seek(0)
        shape, pages = _shape_and_pages(ref, file)
    check_size(ref, shape[1], shape[2], max_megapixels)
    place = (state.st_dev, state.st_ino) if state.st_ino else (os.path.realpath(ref.path),)
    return Header(shape, pages, place, state.st_size, head)


def image_shape(ref: ImageRef, max_megapixels: float = math.inf) -> tuple[int, int, int]:
    """Native ``(C, H, W)`` of an image, upright, from its header alone.

    Raises:
        UserError: if the file is missing, is no image, its header is damaged, or it is larger than allowed.
    """
    return read_header(ref, max_megapixels).shape


def orientation(ref: ImageRef) -> int:
    """The EXIF orientation of a picture, 1 to 8, wherever its file tells it; 1 for files of other kinds.

    Raises:
        UserError: if the file is missing or damaged.
    """
    if not str(ref.path).lower().endswith(pictures.SUFFIXES):
        return 1
    with decoding(ref), pictures.opened(ref.path, ref.slice) as picture:
        early = pictures.orientation(picture)
        return early if early != 1 else pictures.late_orientation(ref.path)


def _shape_and_pages(ref: ImageRef, file: BinaryIO) -> tuple[tuple[int, int, int], int]:
    if str(ref.path).lower().endswith(pictures.SUFFIXES):
        return pictures.shape_and_pages(ref.path, file, ref.slice)
    if medical.is_nifti(ref.path):
        return medical.nifti_shape(ref.path, ref.slice), 1
    if medical.is_dicom(ref.path):
        return medical.dicom_shape(ref.path, ref.slice), 1
    return pictures.shape_and_pages(ref.path, file, ref.slice)
