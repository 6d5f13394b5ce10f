"""ShearletX and its family on photographs: speed, what the shown picture keeps, conciseness, invented edges, transfer.

    python benchmarks/shearletx.py transform                      synthesis against a complex undecimated FFT, 1 thread
    python benchmarks/shearletx.py cost                           seconds and memory, ours and published settings
    python benchmarks/shearletx.py quality --photographs FOLDER   all methods on photographs, paired
    python benchmarks/shearletx.py steps --photographs FOLDER     figures along the search: how many steps do
    python benchmarks/shearletx.py pictures                       docs/images/shearletx_*.png

FOLDER holds photographs and ``labels.csv`` (columns file, class_index, class_name). Every fifth of the list is taken,
from ``--offset`` on; those at 0, 1, 20, 21, 40, 41, 60, 61, 80 and 81 chose our defaults (but for the number of steps)
and are left out by the usual offset of 3. The classifier is EfficientNet-Lite0 (extra ``imagenet``), the second
network Lite1 (extra ``benchmarks``). Each explanation's figures are kept under ``runs/benchmarks/shearletx`` and not
made twice, so that a run can be stopped and continued: remove that folder after a change of the code, or for other
photographs of the same names. Results go to ``benchmarks/results/shearletx_<part>.json``, or ``..._gpu.json`` with
``--device cuda``, where several photographs are searched side by side and seconds are those of the wall, shared out.
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks._machine import machine  # noqa: E402
from benchmarks._shearletx_cost import clock, cost, memory, transform  # noqa: E402 (runs without an installation too)
from benchmarks._shearletx_measures import measured, second_network  # noqa: E402
from benchmarks._shearletx_pictures import centre_square, pictures  # noqa: E402
from benchmarks._shearletx_summary import paired, summary  # noqa: E402
from cae.classifiers import TargetClassifier  # noqa: E402
from cae.classifiers.imagenet import load_imagenet_classifier  # noqa: E402
from cae.errors import UserError  # noqa: E402
from cae.files import write_json  # noqa: E402
from explainers import get_explainer  # noqa: E402

METHODS = ("shearletx", "waveletx_published", "shearletx_published", "cartoonx_published", "pixelmask_published",
           "smoothmask_published")  # fmt: skip
CURVE = (25, 50, 100, 150, 300)
CURVE_FIGURES = ("retained", "kept_at_least", "cp_l1_capped", "cp_entropy_capped", "second_network",
                 "second_network_half", "faithfulness", "size", "steps", "hallucination_gradient")  # fmt: skip


def main() -> None:
    """Run one part."""
    arguments = _arguments()
    torch.set_num_threads(arguments.threads)
    torch.backends.cudnn.allow_tf32 = False  # probabilities are compared to three digits
    parts: dict[str, Callable[[argparse.Namespace], tuple[dict, dict, int]]] = {
        "transform": transform, "cost": cost, "quality": quality, "steps": steps, "memory": memory,
    }  # fmt: skip
    try:
        if arguments.part == "pictures":
            pictures(arguments)
            return
        figures, intervals, images = parts[arguments.part](arguments)
    except UserError as error:
        sys.exit(f"error: {error}")
    if arguments.part == "memory":  # a process of its own, started by `cost`
        print(json.dumps(figures))
        return
    shown = " ".join(word if "/" not in word else "FOLDER" for word in sys.argv[1:])
    suffix = "" if arguments.device == "cpu" else "_gpu"
    name = f"shearletx_{arguments.part}{suffix}{arguments.name}.json"
    write_json(arguments.results / name, {
        "command": f"python benchmarks/shearletx.py {shown}", "machine": machine(arguments.threads, arguments.device),
        "seeds": [arguments.seed], "images": images, "figures": figures, "intervals": intervals,
    })  # fmt: skip
    for name, value in figures.items():
        low, high = intervals.get(name, (None, None))
        print(f"{name}: {value:.4g}" + (f" [{low:.4g}, {high:.4g}]" if low is not None else ""))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parts = ["transform", "cost", "quality", "steps", "memory", "pictures"]
    parser.add_argument("part", nargs="?", default=parts[0], choices=parts)
    parser.add_argument("--photographs", type=Path, help="folder of photographs with labels.csv")
    parser.add_argument("--count", type=int, default=20, help="photographs at most")
    parser.add_argument("--offset", type=int, default=3, help="the first photograph's place in the list")
    parser.add_argument("--stride", type=int, default=5, help="places from one photograph to the next")
    parser.add_argument("--side", type=int, default=224, help="pixels")
    parser.add_argument("--steps", type=int, default=60, help="steps of every method")
    parser.add_argument("--samples", type=int, default=2, help="noisy pictures per step of every method")
    parser.add_argument("--curve", type=int, nargs="+", default=list(CURVE), help="steps, of the part `steps`")
    parser.add_argument("--methods", nargs="+", default=list(METHODS), help="the first is compared with each other one")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="auto", choices=["auto", "cpu", "cuda"])
    parser.add_argument("--together", type=int, help="photographs side by side (1 on a CPU, 20 on a GPU)")
    parser.add_argument("--batch-size", type=int, help="pictures in one forward pass (16 on a CPU, 96 on a GPU)")
    parser.add_argument("--results", type=Path, default=ROOT / "benchmarks" / "results", help="folder of the results")
    parser.add_argument("--name", default="", help="added to the name of the results")
    parser.add_argument("--method", default="shearletx", help="of the part `memory`")
    arguments = parser.parse_args()
    if arguments.part in ("quality", "steps") and arguments.photographs is None:
        parser.error(f"{arguments.part} needs --photographs FOLDER")
    if arguments.device == "auto":
        arguments.device = "cuda" if torch.cuda.is_available() else "cpu"
    on_cpu = arguments.device == "cpu"
    arguments.together = arguments.together or (1 if on_cpu else 20)
    arguments.batch_size = arguments.batch_size or (16 if on_cpu else 96)
    return arguments


def quality(arguments: argparse.Namespace) -> tuple[dict, dict, int]:
    """Every method on every photograph, with paired intervals."""
    rows = _rows(arguments, arguments.methods, arguments.steps)
    return (*summary(rows, arguments.methods), len(rows))


def steps(arguments: argparse.Namespace) -> tuple[dict, dict, int]:
    """Figures of our method for growing numbers of steps, each with its own schedule."""
    figures: dict[str, float] = {}
    intervals: dict[str, list[float]] = {}
    found: dict[int, list[float]] = {}
    for number in arguments.curve:
        rows = [row["shearletx"] for row in _rows(arguments, ["shearletx"], number)]
        found[number] = [row["faithfulness"] for row in rows]
        medians, sure = summary([{"shearletx": row} for row in rows], ["shearletx"])
        for key in CURVE_FIGURES:
            if f"shearletx/{key}" in medians:
                figures[f"steps/{number}/{key}"] = medians[f"shearletx/{key}"]
                intervals[f"steps/{number}/{key}"] = sure[f"shearletx/{key}"]
    first = 50 if 50 in found else arguments.curve[0]
    last = arguments.curve[-1]
    change = paired("steps/faithfulness_change", [b - a for a, b in zip(found[first], found[last], strict=True)])
    return figures | change[0], intervals | change[1], len(found[last])


def _rows(arguments: argparse.Namespace, methods: Sequence[str], number: int) -> list[dict[str, dict[str, Any]]]:
    """Figures per photograph and method; method by method, so that a run cut short has whole columns."""
    setting = f"{arguments.side}-{number}-{arguments.samples}-{arguments.seed}-{arguments.device}"
    folder = ROOT / "runs" / "benchmarks" / "shearletx" / setting
    files = photographs(arguments.photographs, arguments.offset, arguments.stride, arguments.count)
    shape = (3, arguments.side, arguments.side)
    classifier, second = load_imagenet_classifier(shape), second_network(shape)
    for network in (classifier, second):
        network.to(arguments.device).network.to(memory_format=torch.channels_last)
    for method in methods:
        left = [file for file in files if not (folder / f"{file.stem}-{method}.json").exists()]
        for first in range(0, len(left), arguments.together):
            part = left[first : first + arguments.together]
            images = torch.cat([photograph(file, arguments.side) for file in part]).to(arguments.device)
            for file, row in zip(part, _measured(arguments, classifier, second, method, images, number), strict=True):
                write_json(folder / f"{file.stem}-{method}.json", row)
            print(f"{method}, {number} steps: {len(files) - len(left) + first + len(part)}/{len(files)}", flush=True)
    return [
        {method: json.loads((folder / f"{file.stem}-{method}.json").read_text(encoding="utf-8")) for method in methods}
        for file in files
    ]


def _measured(
    arguments: argparse.Namespace, classifier: TargetClassifier, second: TargetClassifier, method: str, images: Tensor,
    number: int,
) -> list[dict[str, Any]]:  # fmt: skip
    """Explain images ``(N, C, H, W)`` side by side and measure each explanation."""
    options = {} if method == "smoothmask_published" else {"samples": arguments.samples}
    explainer = get_explainer(method, classifier, steps=number, save_mask=True, together=arguments.together,
                              batch_size=arguments.batch_size, **options)  # fmt: skip
    start = clock(arguments.device)
    found = explainer(images, seed=arguments.seed)
    seconds = (clock(arguments.device) - start) / len(images)
    return [
        {"seconds": seconds, **measured(classifier, second, explainer, image, found, place, arguments.seed)}
        for place, image in enumerate(images)
    ]


def photographs(folder: Path, offset: int, stride: int, count: int) -> list[Path]:
    """Files at places ``offset``, ``offset + stride``, ... of the list, ``count`` at most."""
    table = folder / "labels.csv"
    if not table.is_file():
        raise UserError(f"--photographs needs a folder with 'labels.csv', but '{table}' is no file.")
    with table.open(encoding="utf-8", newline="") as lines:
        rows = csv.DictReader(lines)
        if "file" not in (rows.fieldnames or ()):
            raise UserError(f"'{table}' must have a column `file`, but has {', '.join(rows.fieldnames or ())}.")
        files = sorted(folder / row["file"] for row in rows)
    chosen = files[offset::stride][:count]
    if not chosen:
        raise UserError(f"'{table}' names {len(files)} photographs: none is at {offset}, {offset + stride}, ...")
    return chosen


def photograph(file: Path, side: int) -> Tensor:
    """The centre square at ``side`` pixels, ``(1, 3, side, side)`` in [0, 1]."""
    with Image.open(file) as picture:
        return centre_square(picture, side)


if __name__ == "__main__":
    main()
