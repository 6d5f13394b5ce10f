"""What an information map costs, and how near it comes to a dense one, on photographs with EfficientNet-Lite0.

    python benchmarks/information_cost.py --photographs FOLDER

FOLDER holds photographs and ``labels.csv`` with a column ``file``. For each in-fill: evaluations of one image, the
share of the time beyond that of the same number of bare forward passes (by PyTorch, and by ONNX Runtime, which is
several times faster and lets everything else show), and the rank correlation of the default map
with a dense one (stride 4, 64 draws of a random in-fill) over cells of 16 pixels. Photographs that are not explained
serve as the background of in-fills that need one. Results go to ``benchmarks/results/information_cost.json``.
"""

from __future__ import annotations

import argparse
import csv
import os
import sys
import time
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks._machine import machine  # noqa: E402
from cae.classifiers import TargetClassifier  # noqa: E402 (the script also runs without an installation)
from cae.classifiers.imagenet import load_imagenet_classifier  # noqa: E402
from cae.files import write_json  # noqa: E402
from cae.metrics.statistics import interval, spearman  # noqa: E402
from explainers import get_explainer  # noqa: E402
from explainers.metrics.perturbation import cells  # noqa: E402

SIZE = 224
DENSE = {"stride": 4, "max_evaluations": 10**7}
DENSE_SAMPLES = 64


def main() -> None:
    """Measure and write the file of results."""
    arguments = _arguments()
    torch.set_num_threads(arguments.threads)
    classifier = load_imagenet_classifier((3, SIZE, SIZE))
    fast = load_imagenet_classifier((3, SIZE, SIZE)).compute_with_onnx()  # the same logits
    photographs = _photographs(arguments.photographs)
    chosen = torch.linspace(0, len(photographs) - 1, arguments.images).round().long()
    others = torch.ones(len(photographs), dtype=torch.bool)
    others[chosen] = False
    images, background = photographs[chosen], photographs[others]
    figures: dict[str, float] = {}
    intervals: dict[str, list[float]] = {}
    for sampler in arguments.samplers:
        for runtime, words in ((classifier, ""), (fast, " (ONNX Runtime)")):
            costs = _cost(runtime, images[: arguments.timed], background, sampler)
            figures |= {f"{sampler}{words}/{name}": value for name, value in costs.items()}
        if arguments.dense:
            found = [_agreement(fast, image[None], background, sampler) for image in images]
            figures[f"{sampler}/spearman_dense"] = float(np.mean(found))
            intervals[f"{sampler}/spearman_dense"] = list(interval(np.array(found), range(len(found)), resamples=2000))
        print({name: round(value, 3) for name, value in figures.items() if name.startswith(sampler)}, flush=True)
        _write(figures, intervals, arguments)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photographs", type=Path, required=True, help="folder of photographs with labels.csv")
    parser.add_argument("--images", type=int, default=10, help="photographs compared with a dense map")
    parser.add_argument("--timed", type=int, default=2, help="photographs whose wall time is taken")
    parser.add_argument("--samplers", nargs="+", default=["masked_blur", "gaussian"])
    parser.add_argument("--dense", action="store_true", help="compare with dense maps, which takes hours on a CPU")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    return parser.parse_args()


def _cost(classifier: TargetClassifier, images: Tensor, background: Tensor, sampler: str) -> dict[str, float]:
    """Evaluations of one image, and the time beyond that of bare forward passes in batches of the same size.

    Taken twice: by the processor, which other programs on the machine disturb less, and by the clock on the wall. On a
    machine that does nothing else, one thread makes the two the same.
    """
    explainer = get_explainer("pmi", classifier, sampler=sampler, background=background)
    explainer(images[:1])  # fits what is fitted once, and warms up
    mapped, bare, evaluations = np.zeros(2), np.zeros(2), 0
    for image in images:  # in turn, so that a change of the machine's load meets both
        started = _clocks()
        found = explainer(image[None])
        mapped += _clocks() - started
        evaluations = int(found.evaluations[0])
        bare += _forward_seconds(classifier, image, evaluations, explainer.batch_size)
    return {
        "evaluations": evaluations,
        "beyond_classifier": float(mapped[0] / bare[0] - 1),
        "beyond_classifier_wall": float(mapped[1] / bare[1] - 1),
        "seconds": float(mapped[0] / len(images)),
        "forwards_per_second": float(evaluations * len(images) / bare[0]),
    }


def _clocks() -> np.ndarray:
    """Seconds of the processor and on the wall."""
    return np.array([time.process_time(), time.perf_counter()])


@torch.inference_mode()
def _forward_seconds(classifier: TargetClassifier, image: Tensor, count: int, batch_size: int) -> np.ndarray:
    batch = image.expand(batch_size, -1, -1, -1).clone()
    started = _clocks()
    for first in range(0, count, batch_size):
        classifier.logits(batch[: min(batch_size, count - first)])
    return _clocks() - started


def _agreement(classifier: TargetClassifier, image: Tensor, background: Tensor, sampler: str) -> float:
    """Rank correlation of the default map and a dense one over cells of 16 pixels."""
    default = get_explainer("pmi", classifier, sampler=sampler, background=background)
    samples = 1 if default.sampler.deterministic else DENSE_SAMPLES  # type: ignore[attr-defined]
    dense = get_explainer("pmi", classifier, sampler=sampler, background=background, samples=samples, **DENSE)
    units = cells(SIZE, SIZE)
    one, other = (units.means(explainer(image).attribution[0, 0]) for explainer in (default, dense))
    return float(spearman(one, other))


def _photographs(folder: Path) -> Tensor:
    """All photographs, short side resized to 224 and centre-cropped, ``(N, 3, 224, 224)``."""
    from PIL import Image, ImageOps

    with (folder / "labels.csv").open(newline="", encoding="utf-8") as file:
        names = [row["file"] for row in csv.DictReader(file)]
    found = [ImageOps.fit(Image.open(folder / name).convert("RGB"), (SIZE, SIZE), Image.Resampling.BICUBIC)
             for name in names]  # fmt: skip
    return torch.stack([torch.from_numpy(np.array(image)).permute(2, 0, 1).float() / 255 for image in found])


def _write(figures: dict[str, float], intervals: dict[str, list[float]], arguments: argparse.Namespace) -> None:
    command = "python benchmarks/information_cost.py --photographs data/imagenet-sample"
    command += f" --images {arguments.images} --timed {arguments.timed} --samplers {' '.join(arguments.samplers)}"
    command += f" --threads {arguments.threads}"
    result = {
        "command": command + (" --dense" if arguments.dense else ""),
        "machine": machine(),
        "seeds": [0],
        "images": arguments.images if arguments.dense else arguments.timed,
        "figures": figures,
        "intervals": intervals,
    }
    write_json(ROOT / "benchmarks" / "results" / "information_cost.json", result)


if __name__ == "__main__":
    main()
