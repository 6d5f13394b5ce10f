"""Opening a folder of many image files, against reading their headers with Pillow: it may take twice as long.

    python benchmarks/opening.py                 10,000 files, half PNG, half JPEG, five pairs in turn
    python benchmarks/opening.py --files 50000

The files are drawn into a temporary folder. What is opened is a source with splits, notes on copies, masks and levels:
all that is told before more than a few images are decoded. Both sides find the files in a warm cache of the operating
system. Prints the pairs and their median, and writes nothing.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from cae.config import DataConfig
from cae.config.command_line import run_program
from cae.data import open_source

CLASSES, SIDE = 4, 96


def main(argv: list[str]) -> None:
    """Draw the files, time both in turn, and print the ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=10_000)
    parser.add_argument("--pairs", type=int, default=5)
    arguments = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        draw_files(root, arguments.files)
        config = DataConfig(source="folder", path=str(root), channels=3, image_size=64)
        seconds(lambda: read_headers(root)), seconds(lambda: open_quietly(config))
        ratios = []
        for _ in range(arguments.pairs):
            pillow, ours = seconds(lambda: read_headers(root)), seconds(lambda: open_quietly(config))
            ratios.append(ours / pillow)
            print(f"Pillow's headers {pillow:.2f} s, opened {ours:.2f} s: {ratios[-1]:.2f} times", flush=True)
    print(f"median of {arguments.pairs} pairs: {statistics.median(ratios):.2f} times")


def draw_files(root: Path, count: int) -> None:
    """So many small pictures of noise in four classes, two of them of PNG files and two of JPEG files."""
    rng = np.random.default_rng(0)
    for number in range(count):
        cls = number % CLASSES
        path = root / f"class{cls}" / f"{number:06}.{'png' if cls % 2 else 'jpg'}"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)).resize((SIDE, SIDE)).save(path)


def read_headers(root: Path) -> None:
    """What Pillow needs to tell the size of every file below a folder."""
    for folder, _, names in os.walk(root):
        for name in names:
            with Image.open(os.path.join(folder, name)) as picture:
                picture.size  # noqa: B018 (read from the header)


def open_quietly(config: DataConfig) -> None:
    """The source, whose notes nobody reads here."""
    with contextlib.redirect_stdout(io.StringIO()):
        open_source(config)


def seconds(work: Callable[[], None]) -> float:
    """How long it takes, by the clock."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


if __name__ == "__main__":
    run_program(main)
