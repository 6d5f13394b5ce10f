"""Picture files that Pillow reads: pages, orientation, transparency and levels."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image, ImageOps, TiffImagePlugin, features

from cae.data.deep_colour import FULL, check_depth, deep_values, is_deep, is_grey
from cae.data.undecoded import undecoded
from cae.errors import UserError

SUFFIXES = (
    ".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".pgm", ".ppm", ".pnm", ".jp2",
    *((".avif",) if features.check("avif") else ()),
)  # fmt: skip
GROUNDS = {"white": 255, "grey": 128, "black": 0}  # what lies behind transparent pixels
ORIENTATION = 0x0112  # number of the tag of EXIF
PHOTOMETRIC, BITS, FORMAT, SIGNED, UNSIGNED = 262, 258, 339, 2, 1  # numbers of tags of TIFF, and values of the last
ORIENTED = {"exif", "xmp", "XML:com.adobe.xmp", "Raw profile type exif"}  # where Pillow looks for it
LOSSY = ("JPEG", "MPO", "WEBP", "JPEG2000", "AVIF")
ANIMATED = ("GIF", "PNG", "WEBP", "AVIF")  # a JPEG of several pictures holds previews and depths
LARGE = 20e6  # pixels above which a picture is made smaller before anything else is done with it
MOST_LEVELS = 8  # other than 0 in a mask; numbers of classes are few, or begin at 1 and end early
FAINT = 16  # in a lossy mask that is nowhere brighter, the values are class numbers and not grey levels


@contextmanager
def _header(path: Path) -> Iterator[Image.Image]:
    """A picture file, of which nothing is decoded yet."""
    # given a path, Pillow 13.0 maps uncompressed TIFFs into memory, and scrambles those with an orientation
    with path.open("rb") as file, undecoded(file) as picture:
        yield picture


@contextmanager
def opened(path: Path, page: int | None = None) -> Iterator[Image.Image]:
    """A picture file, at one of its pages: the first, or the middle one of a TIFF whose pages are all of one size.

    Raises:
        UserError: if it has no such page.
    """
    with _header(path) as picture:
        _turn_to(picture, path, page)
        check_depth(picture, str(path))
        yield picture


def _turn_to(picture: Image.Image, path: Path, page: int | None) -> int:
    """Turn to a page, and give how many pages of one size a TIFF, or pictures an animation holds; 1 for all others."""
    count = int(getattr(picture, "n_frames", 1))
    if page is not None and count == 1:
        raise UserError(f"'{path}#{page}' asks for a slice, but the file holds a single picture.")
    if page is not None and page >= count:
        raise UserError(f"'{path}#{page}': the file has {count} page(s), 0 to {count - 1}.")
    stack = _is_stack(picture, count)
    if count > 1:
        middle = count // 2 if stack else 0
        picture.seek(middle if page is None else page)
    return count if stack or picture.format in ANIMATED else 1


def _is_stack(picture: Image.Image, count: int) -> bool:
    """Whether the pages of a TIFF are slices of one stack: the levels of a pyramid and thumbnails differ in size."""
    if count < 2 or picture.format != "TIFF":
        return False
    sizes = set()
    for page in range(count):
        picture.seek(page)
        sizes.add(picture.size)
    return len(sizes) == 1


def shape_and_pages(path: Path, file: BinaryIO, page: int | None = None) -> tuple[tuple[int, int, int], int]:
    """Native ``(C, H, W)`` of an open picture file, upright, from its header alone; and its pages (see ``_turn_to``).

    Raises:
        UserError: if it has no such page; ``path`` is its name.
    """
    with undecoded(file) as picture:
        pages = _turn_to(picture, path, page)
        check_depth(picture, str(path))
        height, width = _upright_size(picture)
        return (3 if _is_colour(picture) else 1, height, width), pages


def kind(path: Path) -> str:
    """What kind of picture a file is, from its header: ``PNG, 8 bits, RGB``."""
    with _header(path) as picture:
        depths = {"1": "1 bit", "I": "32 bits", "F": "32-bit floats"}
        depth = depths.get(picture.mode, "16 bits" if picture.mode.startswith("I;16") else "8 bits")
        if is_deep(picture) or (picture.mode == "I" and picture.format in ("PNG", "PPM")):
            depth = "16 bits"
        colours = "palette" if picture.mode in ("P", "PA") else "colour" if _is_colour(picture) else "grey"
        return f"{picture.format}, {depth}, {colours}" + (", transparent" if _has_alpha(picture) else "")


def late_orientation(path: Path) -> int:
    """The EXIF orientation that a PNG tells after its pixels, as ExifTool writes it; 1 for every other picture."""
    with path.open("rb") as file, undecoded(file) as picture:
        if picture.format != "PNG" or orientation(picture) != 1 or not _has_late_chunk(file):
            return 1
        picture.load()
        return orientation(picture)


def _has_late_chunk(file: BinaryIO) -> bool:
    """Whether an open PNG holds metadata after its pixels, found by the lengths of its chunks."""
    file.seek(8)
    pixels = False
    while len(head := file.read(8)) == 8 and head[4:] != b"IEND":
        pixels |= head[4:] == b"IDAT"
        if pixels and head[4:] in (b"eXIf", b"iTXt", b"zTXt", b"tEXt"):
            return True
        file.seek(int.from_bytes(head[:4], "big") + 4, 1)
    return False


def values(picture: Image.Image, ground: str) -> tuple[np.ndarray, float | None]:
    """Stored values ``(C, H, W)`` float32, and the largest that the kind of file can hold, None where there is none.

    Palettes are resolved, the EXIF orientation applied, transparency laid over ``ground`` (a key of ``GROUNDS``).
    """
    if is_deep(picture):
        colours, opacity = deep_values(picture)
        if opacity is not None:
            behind = np.float32(GROUNDS[ground] * FULL / 255)
            colours = behind + (colours - behind) * opacity[..., None]
        return colours.transpose(2, 0, 1), FULL
    kind, colour, whole = picture.format, _is_colour(picture), _whole_numbers(picture)
    picture = ImageOps.exif_transpose(picture)
    # Pillow opens PGM files of 16 bits as 32-bit integers, scaled to 65535
    if picture.mode.startswith("I;16") or (picture.mode == "I" and kind in ("PNG", "PPM")):
        return np.asarray(picture, dtype=np.float32)[None], FULL
    if picture.mode in ("I", "F") or whole is not None:
        stored = np.asarray(picture)
        return (stored if whole is None else stored.view(whole)).astype(np.float32)[None], None
    stored = np.asarray(_over(picture, GROUNDS[ground]), dtype=np.float32)
    return (stored.transpose(2, 0, 1) if colour else stored[None, :, :, 0]), 255


def has_levels(picture: Image.Image) -> bool:
    """Whether the values of a picture that is not decoded yet are more than 8 bits, or have a sign."""
    deep = is_deep(picture) or _whole_numbers(picture) is not None
    return deep or picture.mode in ("I", "F") or picture.mode.startswith("I;16")


def _whole_numbers(picture: Image.Image) -> type[np.generic] | None:
    """The whole numbers that a TIFF holds where Pillow takes them for others: with a sign in 8 bits, without in 32."""
    if not isinstance(picture, TiffImagePlugin.TiffImageFile):
        return None
    bits, form = picture.tag_v2.get(BITS, (1,)), picture.tag_v2.get(FORMAT, (UNSIGNED,))
    if picture.mode == "L" and bits == (8,) and form == (SIGNED,):
        return np.int8
    return np.uint32 if picture.mode == "I" and bits == (32,) and form == (UNSIGNED,) else None


def is_soft(picture: Image.Image) -> bool:
    """Whether a mask picture, other than a lossy or a palette one, holds many grey levels from faint to bright."""
    if picture.format in LOSSY or picture.mode not in ("L", "LA", "RGB", "RGBA") or is_deep(picture):
        return False
    levels = np.unique(np.asarray(picture.convert("L")))
    levels = levels[levels > 0]
    return len(levels) > MOST_LEVELS and levels[0] < FAINT and levels[-1] > 128


def inside(picture: Image.Image) -> np.ndarray:
    """Which pixels of a mask picture are inside: ``(H, W)`` or ``(H, W, 3)`` bool.

    Everything but zero; in a lossy file, which is never exact, above half of its largest value, unless that is so small
    that the values are class numbers. Where the colours say nothing, the opaque pixels of a transparent picture.
    """
    lossy = picture.format in LOSSY
    if is_deep(picture):
        colours, opacity = deep_values(picture)
        drawn = colours > 0
        return drawn if opacity is None or drawn.any() else (opacity > 0) & (opacity.min() < opacity.max())
    stored_white = picture.mode in ("1", "L") and is_white_least(picture)
    picture = ImageOps.exif_transpose(picture)
    if picture.mode in ("P", "I", "F") or picture.mode.startswith("I;16"):
        return np.asarray(picture) > 0
    if stored_white:  # Pillow has inverted what is shown; what is marked is what is stored
        picture = ImageOps.invert(picture.convert("L"))
    stored = np.asarray(_over(picture, 0))
    if not stored.any() and _has_alpha(picture):
        stored = np.asarray(picture.convert("RGBA").getchannel("A"))
        if stored.min() == stored.max():  # nothing is drawn at all, neither in colour nor in opacity
            return np.zeros(stored.shape, dtype=bool)
    largest = int(stored.max(initial=0))
    return stored > (largest / 2 if lossy and largest > FAINT else 0)


def is_white_least(picture: Image.Image) -> bool:
    """Whether a TIFF shows its least value as white (PhotometricInterpretation 0): Pillow inverts 8 bits alone."""
    return isinstance(picture, TiffImagePlugin.TiffImageFile) and picture.tag_v2.get(PHOTOMETRIC) == 0


def reduction(height: int, width: int, least_side: float) -> int:
    """The factor by which a large picture may be made smaller, so that its short side keeps ``4 * least_side``."""
    return max(1, int(min(height, width) / (4 * least_side))) if height * width > LARGE else 1


def reduced(picture: Image.Image, least_side: float) -> Image.Image:
    """A large picture of 8 bits, averaged over squares while its pixels are still bytes; others as they are."""
    factor = reduction(picture.height, picture.width, least_side)
    if factor == 1 or is_deep(picture) or picture.mode not in ("L", "LA", "RGB", "RGBA", "CMYK", "YCbCr"):
        return picture
    picture.load()  # recent Pillow turns a TIFF when it is decoded
    orientation = picture.getexif().get(ORIENTATION)
    smaller = picture.reduce(factor)
    smaller.format = picture.format
    if orientation:
        smaller.getexif()[ORIENTATION] = orientation
    return smaller


def _upright_size(picture: Image.Image) -> tuple[int, int]:
    """Height and width after the EXIF orientation is applied."""
    if isinstance(picture, TiffImagePlugin.TiffImageFile):
        width, height = picture.tag_v2[256], picture.tag_v2[257]  # recent Pillow has turned `size` already
    else:
        width, height = picture.size
    return (width, height) if orientation(picture) in (5, 6, 7, 8) else (height, width)


def orientation(picture: Image.Image) -> int:
    """The EXIF orientation, 1 to 8, as the part of the file before the pixels tells it; 1 where it tells none."""
    # Pillow decodes the whole of a PNG to find what it does not bring, and makes an object for every other file
    if picture.format != "TIFF" and not ORIENTED & picture.info.keys():
        return 1
    found = picture.getexif().get(ORIENTATION, 1)
    return found if found in range(1, 9) else 1


def _is_colour(picture: Image.Image) -> bool:
    if picture.mode in ("P", "PA"):
        palette = np.asarray(picture.getpalette() or [0, 0, 0]).reshape(-1, 3)
        return bool((palette != palette[:, :1]).any())
    if picture.mode == "RGBA" and is_grey(picture):
        return False
    return picture.mode not in ("1", "L", "LA", "La", "I", "F") and not picture.mode.startswith("I;16")


def _has_alpha(picture: Image.Image) -> bool:
    return picture.mode in ("LA", "La", "PA", "RGBA", "RGBa") or "transparency" in picture.info


def _over(picture: Image.Image, ground: int) -> Image.Image:
    """An 8-bit RGB picture with its transparency laid over a grey value."""
    if not _has_alpha(picture) or picture.mode == "1":
        return picture.convert("RGB")
    if picture.mode in ("La", "RGBa"):
        picture = picture.convert(picture.mode.upper())
    picture = picture.convert("RGBA")
    behind = Image.new("RGB", picture.size, (ground,) * 3)
    return Image.composite(picture.convert("RGB"), behind, picture.getchannel("A"))
