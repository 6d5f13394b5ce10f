"""Host memory of an explanation against the number of images: it must not grow with them.

    python benchmarks/memory.py                         compare: 100, 400 and 1,600 files of 128 x 128 pixels in colour
    python benchmarks/memory.py --command traverse      traverse, with the models that the package carries
    python benchmarks/memory.py --images 300 3000

Every number of images is explained by a process of its own, which tells the most memory that it has held. Files are
images of noise, the classifier is not trained: neither matters here. Prints a table and writes nothing else.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from cae.classifiers import SmallResNet, save_classifier  # noqa: E402 (the script also runs without an installation)
from cae.config.command_line import load_config, run_program  # noqa: E402

SIDE, CLASSES = 128, ("one", "two")
COMMON = ("name=memory", "logging.progress=false", "trainer.accelerator=cpu", "overwrite=true")
# asks the process itself at its end; the child of a shell would count what the shell was given
MEASURED = (
    "import resource, sys; from explainers.commands.programs import explain; explain(sys.argv[1:]); "
    "print('peak', resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)"
)


def main(argv: list[str]) -> None:
    """Measure every number of images, and print what an image costs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--command", choices=["compare", "traverse"], default="compare")
    parser.add_argument("--images", type=int, nargs="+", default=[100, 400, 1600])
    arguments = parser.parse_args(argv)
    found: list[tuple[int, int]] = []
    for count in arguments.images:
        with tempfile.TemporaryDirectory() as folder:
            options = compare_options if arguments.command == "compare" else traverse_options
            found.append((count, peak([arguments.command, *options(Path(folder), count)])))
        print(f"{count:7} images  {found[-1][1]:6} MB", flush=True)
    (first, least), (last, most) = found[0], found[-1]
    if last > first:
        print(f"{1000 * (most - least) / (last - first):.1f} kB for each further image")


def compare_options(folder: Path, count: int) -> list[str]:
    """A folder of files in two classes, most of them in the test split, and a classifier of them."""
    rng = np.random.default_rng(0)
    for number in range(count):
        path = folder / "data" / "test" / CLASSES[number % 2] / f"{number:06}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)).save(path)
        if number < 4:
            for split in ("train", "val"):
                other = folder / "data" / split / CLASSES[number % 2] / f"{split}-{number}.png"
                other.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(rng.integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)).save(other)
    options = [
        *COMMON, f"runs={folder}", "data.source=folder", f"data.path={folder / 'data'}", f"data.image_size={SIDE}",
        "data.channels=3", "classifier.width=4", "methods=[edges,random]", "explain.metrics=none", "explain.figures=0",
    ]  # fmt: skip
    torch.manual_seed(0)
    network = SmallResNet(2, channels=3, width=4)
    config = load_config(overrides=options).classifier
    save_classifier(folder / "memory", network, config, CLASSES, (3, SIDE, SIDE))
    return options


def traverse_options(folder: Path, count: int) -> list[str]:
    """As many of the embedded images, which lie in memory from the beginning, whatever is explained of them."""
    images = ["pretrained=true", "data.lesions.test=10000", f"traverse.limit={count}"]
    return [*COMMON, f"runs={folder}", *images, "traverse.pictures=12", "traverse.gif=false"]


def peak(words: Sequence[str]) -> int:
    """The most memory, in MB, that a process held which did this."""
    done = subprocess.run([sys.executable, "-c", MEASURED, *words], cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(done.stdout + done.stderr)
    return int(done.stdout.rpartition("peak")[2])


if __name__ == "__main__":
    run_program(main)
