"""Picture files of any size, opened without decoding a pixel."""

from __future__ import annotations

from threading import Lock
from typing import IO

from PIL import Image, ImageFile

_PILLOW = Lock()


def undecoded(file: IO[bytes], formats: list[str] | None = None) -> ImageFile.ImageFile:
    """A picture of which nothing is decoded yet: how large it may be is the program's to say.

    Pillow warns above 89 megapixels and refuses above 179, by a limit that is one for the whole process.
    """
    with _PILLOW:
        limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            return Image.open(file, formats=formats)
        finally:
            Image.MAX_IMAGE_PIXELS = limit
