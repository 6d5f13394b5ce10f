"""Files that are no picture, lie about it, are damaged, or are too large for an app that takes little."""

from __future__ import annotations

import io
import struct
import zipfile
import zlib

import numpy as np
from PIL import Image


def picture(kind: str = "PNG", size: tuple[int, int] = (20, 20), mode: str = "RGB", **options) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (size[1], size[0], 3), dtype=np.uint8)).convert(
        mode
    ).save(buffer, kind, **options)
    return buffer.getvalue()


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, data: bytes, *more: bytes) -> bytes:
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(more) + chunk(b"IDAT", zlib.compress(data)) + chunk(b"IEND", b"")


def archive() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        file.writestr("../../evil.png", picture())
    return buffer.getvalue()


def animation(pages: int) -> bytes:
    frames = [Image.new("L", (16, 16), page % 256) for page in range(pages)]
    buffer = io.BytesIO()
    frames[0].save(buffer, "TIFF", save_all=True, append_images=frames[1:])
    return buffer.getvalue()


MALFORMED = {
    "empty": b"",
    "text": b"hello",
    "html": b"<html><script>alert(1)</script></html>",
    "svg": b'<svg xmlns="http://www.w3.org/2000/svg"><image href="file:///etc/passwd"/></svg>',
    "archive": archive(),
    "pickle": b"\x80\x04\x8c\x05posix\x8c\x06system\x93.",
    "program": b"\x7fELF" + bytes(200),
    "postscript": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n",
    "pdf": b"%PDF-1.7\n",
    "only a signature": b"\x89PNG\r\n\x1a\n",
    "cut off PNG": picture()[:150],
    "cut off JPEG": picture("JPEG", (60, 60))[:300],
    "cut off WebP": picture("WEBP", (60, 60))[:60],
    "wrong checksum": picture().replace(b"IHDR", b"IHDX"),
    "bomb of pixels": png(60_000, 60_000, bytes(1000)),
    "more pixels than allowed": png(400, 400, bytes(401 * 400)),
    "no pixels": png(0, 0, b""),
    "one pixel": png(1, 1, bytes(2)),
    "a line": png(1, 3000, bytes(6000)),
    "bomb of text": png(20, 20, bytes(21 * 20), chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(80_000_000), 9))),
    "too many bytes": picture("BMP", (300, 300)),
    "too many pages": animation(70),
    "random bytes": np.random.default_rng(1).bytes(5000),
    "GIF without frames": b"GIF89a" + struct.pack("<HHBBB", 20, 20, 0, 0, 0) + b";",
}
