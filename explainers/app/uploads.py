"""Images that somebody sends: judged by their content and their header before a pixel of them is decoded."""

from __future__ import annotations

import shutil
import tempfile
import warnings
from dataclasses import dataclass
from pathlib import Path

from PIL import Image
from torch import Tensor

from cae.config import DataConfig
from cae.data.images import ImageRef, Reading, load_image
from cae.errors import UserError

# kinds of files that are taken, with the suffix by which they are read; each is recognised by its first bytes
KINDS = {"PNG": ".png", "JPEG": ".jpg", "BMP": ".bmp", "WEBP": ".webp", "TIFF": ".tif", "GIF": ".gif"}
LEAST_SIDE = 8  # pixels
MOST_PAGES = 64  # of a stack or an animation


@dataclass(frozen=True)
class Limits:
    """What an upload may be at most: bytes of the file, and pixels of the picture."""

    bytes: int = 20_000_000
    pixels: int = 40_000_000


def read_upload(path: str | Path, config: DataConfig, limits: Limits) -> Tensor:
    """An uploaded picture, as the data of the run would have it.

    Args:
        path: of the file, where the server put it. Its name means nothing.
        config: image size, channels, crop and levels of the run.
        limits: beyond which nothing is decoded.

    Returns:
        ``(C, H, W)`` float32 in [0, 1].

    Raises:
        UserError: for whatever is no picture of a known kind, is too large or too small, or is damaged; the sentence
            names no path of the server.
    """
    path = Path(path)
    _check_file(path, limits)
    suffix = _kind(path, limits)
    with tempfile.TemporaryDirectory() as folder:
        # under a name of our own: that of the sender may lie about the kind, or hold a `#`
        copy = Path(folder) / f"upload{suffix}"
        shutil.copyfile(path, copy)
        try:
            return load_image(ImageRef(copy), config.image_size, config.channels, config.crop, Reading.of(config))
        except UserError as error:
            raise UserError(str(error).replace(f"'{copy}'", "that was sent")) from error


def _check_file(path: Path, limits: Limits) -> None:
    """Refuse what is no ordinary file of a permitted length."""
    if path.is_symlink() or not path.is_file():
        raise UserError("the upload is no ordinary file: send one picture.")
    length = path.stat().st_size
    if length == 0:
        raise UserError("the upload is empty: send one picture.")
    if length > limits.bytes:
        raise UserError(
            f"the upload has {length / 1e6:.1f} MB, but at most {limits.bytes / 1e6:.1f} MB are taken "
            "(serve.largest_upload): send a smaller picture."
        )


def _kind(path: Path, limits: Limits) -> str:
    """Suffix of the kind of a picture, by its content; its size and pages are read from the header alone."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # the limit is ours
            with Image.open(path, formats=tuple(KINDS)) as picture:
                kind, size, pages = str(picture.format), picture.size, getattr(picture, "n_frames", 1)
    except Image.DecompressionBombError as error:
        raise _too_many_pixels(limits) from error
    except Exception as error:  # decoders raise almost anything on damaged bytes
        raise UserError(
            f"the upload cannot be read as a picture: send a file of the kind {', '.join(KINDS)}."
        ) from error
    if size[0] * size[1] > limits.pixels:
        raise _too_many_pixels(limits)
    if min(size) < LEAST_SIDE:
        raise UserError(f"the picture has {size[0]} × {size[1]} pixels: a side must have at least {LEAST_SIDE}.")
    if pages > MOST_PAGES:
        raise UserError(f"the file holds {pages} pictures, but at most {MOST_PAGES} are taken: send one of them.")
    return KINDS[kind]


def _too_many_pixels(limits: Limits) -> UserError:
    return UserError(
        f"the picture has more than {limits.pixels / 1e6:.0f} million pixels (serve.pixels): send a smaller one."
    )
