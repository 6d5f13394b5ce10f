"""Picture files of any size, opened without decoding a pixel."""

from __future__ import annotations

from collections.abc import Sequence
from threading import Lock
from typing import BinaryIO

from PIL import Image

_PILLOW = Lock()


def undecoded(file: BinaryIO, formats: Sequence[str] | None = None) -> Image.Image:
    """A picture of which nothing is decoded yet: how large it may be is the program's to say.

    Pillow warns above 89 megapixels and refuses above 179, by a limit that is one for the whole process.
    """
    with _PILLOW:
        limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            return Image.open(file, formats=formats)
        finally:
            Image.MAX_IMAGE_PIXELS = limit
