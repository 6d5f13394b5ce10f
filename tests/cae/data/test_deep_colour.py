"""Colours of 16 bits a channel are read with all of their bits, from every kind of file that holds them."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from cae.config import DataConfig
from cae.data import open_source
from cae.data.headers import image_shape
from cae.data.images import ImageRef, Reading, read_image, read_mask
from cae.data.pictures import kind
from cae.errors import UserError

COLOURS = np.random.default_rng(0).integers(0, 65536, (3, 4, 3)).astype(np.uint16)
OPACITY = np.random.default_rng(1).integers(0, 65536, (3, 4, 1)).astype(np.uint16)
PNG_KINDS = {2: 4, 3: 2, 4: 6}  # by channels: grey with opacity, colour, both


def png(path: Path, values: np.ndarray, orientation: int = 1) -> ImageRef:
    """A PNG of 16 bits, which Pillow cannot write."""
    height, width, channels = values.shape
    exif = Image.Exif()
    exif[0x0112] = orientation
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    chunks = {
        b"IHDR": struct.pack(">IIBBBBB", width, height, 16, PNG_KINDS[channels], 0, 0, 0),
        b"eXIf": exif.tobytes()[6:],
        b"IDAT": zlib.compress(rows),
        b"IEND": b"",
    }
    content = b"".join(
        struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
        for name, body in chunks.items()
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + content)
    return ImageRef(path)


def tiff(path: Path, values: np.ndarray, order: str = "<", planes: int = 1) -> ImageRef:
    """An uncompressed TIFF of 16-bit colours; the number of planes is as its tag has it."""
    height, width, channels = values.shape
    stored = values if planes == 1 else values.transpose(2, 0, 1)
    pixels, bits = stored.astype(f"{order}u2").tobytes(), struct.pack(f"{order}3H", 16, 16, 16)
    tags = [(256, 4, 1, width), (257, 4, 1, height), (258, 3, 3, 8), (259, 3, 1, 1), (262, 3, 1, 2), (273, 4, 1, 14),
            (277, 3, 1, channels), (278, 4, 1, height), (279, 4, 1, len(pixels)), (284, 3, 1, planes)]  # fmt: skip
    if planes == 2:
        each, after = len(pixels) // 3, 14 + len(pixels)
        offsets = struct.pack(f"{order}6I", *(14 + n * each for n in range(3)), each, each, each)
        tags[5], tags[8], pixels = (273, 4, 3, after), (279, 4, 3, after + 12), pixels + offsets
    entries = b""
    for tag, form, count, value in tags:
        inside = "HH" if form == 3 and count == 1 else "I"  # a single short stands in the upper half of its place
        entries += struct.pack(f"{order}HHI{inside}", tag, form, count, value, *([0] if inside == "HH" else []))
    head = {"<": b"II", ">": b"MM"}[order] + struct.pack(f"{order}HI", 42, 14 + len(pixels)) + bits
    path.write_bytes(head + pixels + struct.pack(f"{order}H", len(tags)) + entries + bytes(4))
    return ImageRef(path)


def ppm(path: Path, values: np.ndarray) -> ImageRef:
    height, width, _ = values.shape
    path.write_bytes(f"P6\n{width} {height}\n65535\n".encode() + values.astype(">u2").tobytes())
    return ImageRef(path)


@pytest.mark.parametrize("write", [png, tiff, lambda path, values: tiff(path, values, ">"), ppm])
def test_every_bit_of_a_deep_colour_is_read(tmp_path, write):
    ref = write(tmp_path / "a", COLOURS)
    image = read_image(ref)
    assert image_shape(ref) == tuple(image.shape) == (3, 3, 4)
    assert torch.equal(image, torch.from_numpy(COLOURS.astype(np.float32) / 65535).permute(2, 0, 1))
    assert "16 bits, colour" in kind(ref.path)


def test_levels_give_twelve_bits_in_sixteen_their_scale(tmp_path):
    ref = png(tmp_path / "a.png", COLOURS // 16)
    image = read_image(ref, Reading(levels=(0, 4095)))
    assert torch.allclose(image, torch.from_numpy((COLOURS // 16).astype(np.float32) / 4095).permute(2, 0, 1))


def test_opacity_of_sixteen_bits_is_laid_over_the_ground(tmp_path):
    share = OPACITY / 65535
    wanted = (COLOURS * share + 65535 * (1 - share)) / 65535
    image = read_image(png(tmp_path / "a.png", np.concatenate([COLOURS, OPACITY], 2)))
    assert np.allclose(image.permute(1, 2, 0), wanted, atol=1e-6)
    grey = png(tmp_path / "b.png", np.concatenate([COLOURS[..., :1], OPACITY], 2))
    assert image_shape(grey) == (1, 3, 4)
    assert np.allclose(read_image(grey).permute(1, 2, 0), wanted[..., :1], atol=1e-6)


def test_a_deep_colour_is_turned_upright(tmp_path):
    image = read_image(png(tmp_path / "a.png", COLOURS, orientation=6))
    upright = np.rot90(COLOURS, -1).astype(np.float32) / 65535
    assert torch.equal(image, torch.from_numpy(upright.copy()).permute(2, 0, 1))


def test_a_mask_of_small_numbers_in_a_deep_file_is_not_empty(tmp_path):
    mask = np.zeros((3, 4, 3), np.uint16)
    mask[1, 2] = 1  # the upper 8 bits of it are 0
    assert read_mask(png(tmp_path / "a.png", mask)).nonzero().tolist() == [[0, 1, 2]]
    drawn = np.concatenate([np.zeros_like(mask), 60000 * mask[..., :1]], 2)  # in opacity alone
    assert read_mask(png(tmp_path / "b.png", drawn)).nonzero().tolist() == [[0, 1, 2]]


def test_few_bits_in_deep_colours_are_told_as_in_grey_ones(tmp_path):
    for name in ("cat", "dog"):
        for number in range(8):
            png(tmp_path / name / f"{number}.png", COLOURS // 16 + number)
    splits = open_source(DataConfig(source="folder", path=str(tmp_path), image_size=8, channels=3, fit="stretch"))
    assert any("16-bit files hold no value above" in note and "[0,4095]" in note for note in splits.notes)


def test_planes_one_after_the_other_are_refused_and_not_taken_for_bytes(tmp_path):
    ref = tiff(tmp_path / "a.tif", COLOURS, planes=2)
    for read in (read_image, image_shape, read_mask):
        with pytest.raises(UserError, match=r"a\.tif' holds colours of 16 bits in planes one after the other.*PNG"):
            read(ref)
