"""Colours of 16 bits a channel, of which Pillow keeps the upper 8: both halves are read, each by a look of its own."""

from __future__ import annotations

from typing import IO, Any, TypeGuard

import numpy as np
from PIL import Image, ImageFile, ImageOps, TiffImagePlugin

from cae.data.undecoded import undecoded
from cae.errors import UserError

FULL = 65535
# how Pillow takes the upper bytes out of a file, and how it is made to take the lower ones
LOWER = {f"{colours};16{order}": f"{colours};16{other}" for colours in ("RGB", "RGBX", "RGBA")
         for order, other in (("L", "B"), ("B", "L"), ("N", "B" if np.little_endian else "L"))}  # fmt: skip
GREY_ALPHA = "LA;16B"  # of which all four bytes are read as if they were colours
BITS, PLANES, APART = 258, 284, 2  # numbers of tags of TIFF; what the second says of planes one after the other


def is_deep(picture: Image.Image) -> TypeGuard[ImageFile.ImageFile]:
    """Whether a picture file that is not decoded yet has colours, or grey with opacity, of more than 8 bits."""
    mode, arguments = _stored(picture)
    deep = mode in LOWER or mode == GREY_ALPHA or (picture.mode == "RGB" and _largest(arguments) > 255)
    return deep and "transparency" not in picture.info


def is_grey(picture: Image.Image) -> bool:
    """Whether a picture that is not decoded yet is grey with opacity, of 16 bits each: Pillow makes it a colour one."""
    return _stored(picture)[0] == GREY_ALPHA


def check_depth(picture: Image.Image, name: str) -> None:
    """Refuse a TIFF of deep colours whose planes, one after the other, Pillow takes for 8 bits.

    Raises:
        UserError: for such a file; ``name`` is its.
    """
    if not isinstance(picture, TiffImagePlugin.TiffImageFile):
        return
    bits = picture.tag_v2.get(BITS, (1,))
    if len(bits) > 2 and max(bits) > 8 and picture.tag_v2.get(PLANES) == APART:
        raise UserError(
            f"'{name}' holds colours of {max(bits)} bits in planes one after the other, which cannot be read right: "
            "save it as a PNG, or as a TIFF whose colours stand side by side (PlanarConfiguration 1)."
        )


def deep_values(picture: ImageFile.ImageFile) -> tuple[np.ndarray, np.ndarray | None]:
    """Colours ``(H, W, C)`` float32 in [0, 65535] and opacity ``(H, W)`` in [0, 1], None where there is none; upright.

    Args:
        picture: of which ``is_deep`` holds; it is not decoded yet, and its file is open.
    """
    mode, arguments = _stored(picture)
    if mode == GREY_ALPHA:
        stored = _bytes(picture, "RGBA")
        grey, opacity = (256 * stored[..., place] + stored[..., place + 1] for place in (0, 2))
        return grey[..., None], opacity / FULL
    if mode in LOWER:
        colours = 256 * _bytes(picture, mode) + _bytes(picture, LOWER[mode])
        return (colours[..., :3], colours[..., 3] / FULL) if mode.startswith("RGBA") else (colours[..., :3], None)
    file, count = _file(picture), 3 * picture.width * picture.height
    file.seek(picture.tile[0][2])
    stored = np.frombuffer(file.read(2 * count), ">u2", count).astype(np.float32)
    return stored.reshape(picture.height, picture.width, 3) * np.float32(FULL / _largest(arguments)), None


def _stored(picture: Image.Image) -> tuple[str, tuple[Any, ...]]:
    """How the pixels of a file are stored, as Pillow calls it, and all arguments of its decoder."""
    tiles = getattr(picture, "tile", None) if isinstance(picture, ImageFile.ImageFile) else None
    if not tiles:
        return "", ()
    arguments = tiles[0][3]
    arguments = arguments if isinstance(arguments, tuple) else (arguments,)
    return (arguments[0] if arguments and isinstance(arguments[0], str) else ""), arguments


def _largest(arguments: tuple[Any, ...]) -> int:
    """Largest value of a PPM, by the arguments of its decoder; 0 for other files."""
    return arguments[1] if len(arguments) == 2 and isinstance(arguments[1], int) else 0


def _bytes(picture: ImageFile.ImageFile, mode: str) -> np.ndarray:
    """One byte of each value, ``(H, W, C)`` float32: the file is decoded anew, as if it were stored in this mode."""
    page = picture.tell()
    again = undecoded(_file(picture), [str(picture.format)])
    if page:
        again.seek(page)
    again.tile = [_with_mode(tile, mode) for tile in again.tile]
    return np.asarray(ImageOps.exif_transpose(again), dtype=np.float32)


def _file(picture: ImageFile.ImageFile) -> IO[bytes]:
    """The open file of a picture, at its beginning."""
    if picture.fp is None:
        raise ValueError("the picture is decoded already, and its file given back")
    picture.fp.seek(0)
    return picture.fp


def _with_mode(tile: Any, mode: str) -> Any:
    arguments = (mode, *tile[3][1:]) if isinstance(tile[3], tuple) else mode
    return tile._replace(args=arguments) if hasattr(tile, "_replace") else (*tile[:3], arguments)
