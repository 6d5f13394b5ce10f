"""ShearletX and its family on photographs: speed, what the shown picture keeps, conciseness, invented edges, transfer.

    python benchmarks/shearletx.py transform                      synthesis against a complex undecimated FFT, 1 thread
    python benchmarks/shearletx.py cost                           CPU seconds per step and memory, ours and published
    python benchmarks/shearletx.py quality --photographs FOLDER   all methods on photographs, paired
    python benchmarks/shearletx.py steps --photographs FOLDER     the same figures along the search: how many steps do

FOLDER holds photographs and ``labels.csv`` (columns file, class_index, class_name). The classifier is
EfficientNet-Lite0 (extra ``imagenet``). Each explanation is kept under ``runs/benchmarks/shearletx`` and not made
twice, so that a run can be stopped and continued; ``--kept`` sums up what is there. Results go to
``benchmarks/results/shearletx_<part>.json``.
"""

from __future__ import annotations

import argparse
import csv
import json
import math
import os
import platform
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from cae.classifiers import TargetClassifier  # noqa: E402 (the script also runs without an installation)
from cae.classifiers.imagenet import load_imagenet_classifier  # noqa: E402
from cae.files import write_json  # noqa: E402
from explainers import get_explainer  # noqa: E402
from explainers.mask_settings import SHEARLETX, SHEARLETX_PUBLISHED, Settings  # noqa: E402
from explainers.metrics.conciseness import (  # noqa: E402
    conciseness_preciseness,
    edges,
    hallucination_score,
    wavelet_yardstick,
)
from explainers.shearletx import make_representation  # noqa: E402
from explainers.transforms.bands import Representation  # noqa: E402
from explainers.transforms.shearlet import shearlet_system  # noqa: E402

METHODS = ("shearletx", "shearletx_reference", "waveletx_reference", "cartoonx_reference",
           "pixelmask_reference", "smoothmask_reference")  # fmt: skip
KEPT = 0.9
RESAMPLES = 2000
OFFICIAL_MS, OFFICIAL_STEP = 435.0, {16: 28.4, 4: 7.25}  # measured with the authors' code, same size, one thread


def main() -> None:
    """Run one part."""
    arguments = _arguments()
    torch.set_num_threads(arguments.threads)
    parts: dict[str, Callable[[argparse.Namespace], tuple[dict, dict, int]]] = {
        "transform": transform, "cost": cost, "quality": quality, "steps": steps, "memory": memory,
    }  # fmt: skip
    figures, intervals, images = parts[arguments.part](arguments)
    if arguments.part == "memory":  # a process of its own, started by `cost`
        print(json.dumps(figures))
        return
    shown = " ".join(word if not word.startswith(("/", "..")) else "FOLDER" for word in sys.argv[1:])
    write_json(ROOT / "benchmarks" / "results" / f"shearletx_{arguments.part}.json", {
        "command": f"python benchmarks/shearletx.py {shown}",
        "machine": f"{os.cpu_count()} CPU cores ({platform.machine()}), {arguments.threads} thread(s), no GPU",
        "seeds": [arguments.seed], "images": images, "figures": figures, "intervals": intervals,
    })  # fmt: skip
    for name, value in figures.items():
        print(
            f"{name}: {value:.4g}"
            + (f" [{intervals[name][0]:.4g}, {intervals[name][1]:.4g}]" if name in intervals else "")
        )


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=["transform", "cost", "quality", "steps", "memory"])
    parser.add_argument("--photographs", type=Path, help="folder of photographs with labels.csv")
    parser.add_argument("--count", type=int, default=20, help="photographs, evenly over the list")
    parser.add_argument("--side", type=int, default=224, help="pixels")
    parser.add_argument("--steps", type=int, default=40, help="steps of every method")
    parser.add_argument("--samples", type=int, default=2, help="noisy pictures per step of every method")
    parser.add_argument("--methods", nargs="+", default=list(METHODS))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--kept", action="store_true", help="only photographs whose explanations are all there")
    parser.add_argument("--method", default="shearletx", help="of the part `memory`")
    arguments = parser.parse_args()
    if arguments.part in ("quality", "steps") and arguments.photographs is None:
        parser.error(f"{arguments.part} needs --photographs FOLDER")
    return arguments


# --- speed and memory


def complex_synthesis(height: int, width: int) -> Callable[[Tensor], Tensor]:
    """The control: an undecimated frame by complex FFTs of all bands, complex filters and dual weights."""
    system = shearlet_system(height, width, None, False)
    half = torch.cat([group.filters for group in system.groups])
    mirror = half[:, (-torch.arange(height)) % height][:, :, (-torch.arange(width)) % width % (width // 2 + 1)]
    columns = torch.arange(width)
    full = torch.where(columns <= width // 2, half[:, :, columns.clamp_max(width // 2)],
                       mirror[:, :, columns])  # fmt: skip
    filters = torch.complex(full, torch.zeros_like(full))
    weights = filters.abs().square().sum(0)

    def synthesise(coefficients: Tensor) -> Tensor:
        bands = coefficients.view(-1, height, width)
        spectra = torch.fft.fftshift(torch.fft.fft2(torch.fft.ifftshift(bands, (-2, -1))), (-2, -1))
        return torch.fft.ifft2((spectra * filters).sum(0) / weights).real

    return synthesise


def transform(arguments: argparse.Namespace) -> tuple[dict, dict, int]:
    """Milliseconds of one synthesis, forward and backward, of a grey 256 x 256 image."""
    side = 256
    fast, whole = shearlet_system(side, side), shearlet_system(side, side, None, False)
    makers = {
        "decimated": (fast.synthesise, fast.count),
        "undecimated": (whole.synthesise, whole.count),
        "complex_control": (complex_synthesis(side, side), whole.count),
    }
    # in turns, so that a busy machine slows all alike; CPU time, not wall time
    times: dict[str, list[float]] = {name: [] for name in makers}
    for _ in range(11):
        for name, (synthesise, count) in makers.items():
            coefficients = torch.randn(count, requires_grad=True)
            start = time.process_time()
            image = synthesise(coefficients)
            image.backward(torch.ones_like(image))
            times[name].append(1000 * (time.process_time() - start))
    figures = {f"transform/{name}_ms": statistics.median(found[1:]) for name, found in times.items()}
    intervals = {f"transform/{name}_ms": [min(found[1:]), max(found[1:])] for name, found in times.items()}
    figures["transform/times_faster_than_control"] = (
        figures["transform/complex_control_ms"] / figures["transform/decimated_ms"]
    )
    figures["transform/times_faster_than_published"] = OFFICIAL_MS / figures["transform/decimated_ms"]
    figures["transform/redundancy"] = fast.count / side**2
    return figures, intervals, 1


def cost(arguments: argparse.Namespace) -> tuple[dict, dict, int]:
    """CPU seconds per step, state per image, and peak memory, of ours and of the published settings on our frame."""
    figures: dict[str, float] = {}
    for samples in (4, 16):
        for method in ("shearletx", "shearletx_reference"):
            command = [
                sys.executable,
                __file__,
                "memory",
                "--method",
                method,
                "--samples",
                str(samples),
                "--side",
                "256",
            ]
            found = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
            figures |= {f"cost/{method}_{samples}_{name}": value for name, value in found.items()}
        ours = figures[f"cost/shearletx_{samples}_seconds_per_step"]
        figures[f"cost/share_of_control_{samples}"] = (
            ours / figures[f"cost/shearletx_reference_{samples}_seconds_per_step"]
        )
        figures[f"cost/share_of_published_{samples}"] = ours / OFFICIAL_STEP[samples]
    return figures, {}, 1


def memory(arguments: argparse.Namespace) -> tuple[dict, dict, int]:
    """One short search in a process of its own."""
    torch.set_num_threads(1)
    classifier = load_imagenet_classifier((3, arguments.side, arguments.side))
    image = torch.rand(1, 3, arguments.side, arguments.side, generator=torch.Generator().manual_seed(0))
    explainer = get_explainer(arguments.method, classifier, steps=1, samples=arguments.samples)
    explainer(image)  # filters and tables are built once
    times = []
    for count in (1, 3):
        explainer = get_explainer(arguments.method, classifier, steps=count, samples=arguments.samples)
        start = time.process_time()
        explainer(image)
        times.append(time.process_time() - start)
    settings: Settings = SHEARLETX if arguments.method == "shearletx" else SHEARLETX_PUBLISHED
    planes = 3 + 5  # coefficients of three channels; mask, gradient, two moments, best mask
    floats = make_representation(settings.transform, image[0]).bands[-1].place.stop
    return (
        {
            "seconds_per_step": (times[1] - times[0]) / 2,
            "state_megabytes": planes * floats * 4 / 1e6,
            "peak_gigabytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6,
        },
        {},
        1,
    )


# --- quality


def quality(arguments: argparse.Namespace) -> tuple[dict, dict, int]:
    """Every method on every photograph, with paired intervals."""
    rows = _rows(arguments, arguments.methods, arguments.steps)
    if not rows:
        sys.exit("No photograph has all its explanations yet: run without --kept.")
    return (*summary(rows, arguments.methods), len(rows))


def steps(arguments: argparse.Namespace) -> tuple[dict, dict, int]:
    """Figures of our method for growing numbers of steps, each with its own schedule, and faithfulness of the map."""
    figures, intervals, count = {}, {}, 0
    for number in (10, 20, 40, 80):
        rows = _rows(arguments, ["shearletx"], number)
        found, sure = summary(rows, ["shearletx"])
        wanted = ("retained", "kept_at_least", "cp_l1", "cp_entropy", "faithfulness", "size")
        for key in found:
            if key.split("/")[-1] in wanted:
                figures[f"steps/{number}/{key.split('/')[-1]}"] = found[key]
                if key in sure:
                    intervals[f"steps/{number}/{key.split('/')[-1]}"] = sure[key]
        count = len(rows)
    return figures, intervals, count


def _rows(arguments: argparse.Namespace, methods: Sequence[str], number: int) -> list[dict[str, dict[str, Any]]]:
    classifier = load_imagenet_classifier((3, arguments.side, arguments.side))
    folder = (
        ROOT / "runs" / "benchmarks" / "shearletx" / f"{arguments.side}-{number}-{arguments.samples}-{arguments.seed}"
    )
    rows = []
    for file in photographs(arguments.photographs, arguments.count):
        row, image = {}, None
        if arguments.kept and not all((folder / f"{file.stem}-{method}.json").exists() for method in methods):
            continue
        for method in methods:
            path = folder / f"{file.stem}-{method}.json"
            if not path.exists():
                image = photograph(file, arguments.side) if image is None else image
                write_json(path, measured(classifier, method, image, number, arguments.samples, arguments.seed))
                print(f"{file.stem} {method}", flush=True)
            row[method] = json.loads(path.read_text(encoding="utf-8"))
        rows.append(row)
    return rows


def photographs(folder: Path, count: int) -> list[Path]:
    """Files of the list, evenly taken."""
    with (folder / "labels.csv").open(encoding="utf-8") as lines:
        files = [folder / line["file"] for line in csv.DictReader(lines)]
    return [files[place * len(files) // count] for place in range(min(count, len(files)))]


def photograph(file: Path, side: int) -> Tensor:
    """The centre square at ``side`` pixels, ``(1, 3, side, side)`` in [0, 1]."""
    picture = Image.open(file).convert("RGB")
    short = min(picture.size)
    left, top = (picture.width - short) // 2, (picture.height - short) // 2
    square = picture.crop((left, top, left + short, top + short)).resize((side, side), Image.Resampling.BICUBIC)
    return torch.from_numpy(np.asarray(square).copy()).permute(2, 0, 1)[None].float() / 255


def measured(
    classifier: TargetClassifier, method: str, image: Tensor, number: int, samples: int, seed: int
) -> dict[str, Any]:
    """All figures of one explanation."""
    options = {} if method.startswith("smoothmask") and method.endswith("reference") else {"samples": samples}
    explainer = get_explainer(method, classifier, steps=number, save_mask=True, **options)
    start = time.process_time()
    found = explainer(image, seed=seed)
    seconds = time.process_time() - start
    extras, target = found.extras[0], int(found.target[0])
    whole, shown = float(found.probabilities[0, target]), extras["explanation"]
    bright = (shown / shown.max().clamp_min(1e-12)).clamp(0, 1)
    representation = make_representation(explainer.settings.transform, image[0])  # type: ignore[attr-defined]
    coefficients, mask = representation.analyse(image[0]), extras["mask"]
    random = torch.Generator().manual_seed(seed)
    pictures = {
        "shown": shown,
        "bright": bright,
        "shifted": shown.roll((2, 2), (1, 2)),
        "largest": _largest(representation, coefficients, mask),
        "shuffled": _shuffled(representation, coefficients, mask, random),
    }
    with torch.no_grad():
        p = classifier.probabilities(torch.stack(list(pictures.values())).clamp(0, 1))[:, target].tolist()
        view = second_view(classifier, torch.stack([image[0], shown]))[:, target].tolist()
    retained = {name: value / whole for name, value in zip(pictures, p, strict=True)}
    l1, entropy = extras["kept_l1"], max(extras["kept_entropy"], 1e-6)
    share, ratio = wavelet_yardstick(shown, image[0])
    result: dict[str, Any] = {
        "cpu_seconds": seconds, "steps": extras["steps"], "probability": whole, "size": extras["size"],
        "repaired": extras["repaired"], "evaluations": int(found.evaluations[0]),
        "retained": retained["shown"], "retained_bright": retained["bright"], "retained_shifted": retained["shifted"],
        "retained_largest": retained["largest"], "retained_shuffled": retained["shuffled"],
        "expected_precision": extras["probability_noise"] / whole, "mean_precision": extras["probability_mean"] / whole,
        "complement": extras["probability_complement"] / whole,
        "second_view": view[1] / max(view[0], 1e-6),
        "kept_l1": l1, "kept_entropy": entropy, "kept_pixels": extras["kept_pixels"],
        "cp_l1": conciseness_preciseness(retained["shown"], l1),
        "cp_l1_bright": conciseness_preciseness(retained["bright"], l1),
        "cp_l1_capped": conciseness_preciseness(retained["shown"], l1, capped=True),
        "cp_entropy": conciseness_preciseness(retained["shown"], entropy),
        "cp_entropy_bright": conciseness_preciseness(retained["bright"], entropy),
        "cp_entropy_capped": conciseness_preciseness(retained["shown"], entropy, capped=True),
        "cp_pixel_capped": conciseness_preciseness(retained["shown"], extras["kept_pixels"], capped=True),
        "cp_wavelet_l1_capped": conciseness_preciseness(retained["shown"], share, capped=True),
        "cp_wavelet_entropy_capped": conciseness_preciseness(retained["shown"], max(ratio, 1e-6), capped=True),
        "faithfulness": faithfulness(classifier, image, found.attribution[0, 0], target),
    }  # fmt: skip
    for detector in ("gradient", "shearlet", "canny"):
        of_image = edges(image[0], detector)
        result[f"hallucination_{detector}"] = hallucination_score(edges(shown, detector), of_image)
        result[f"hallucination_{detector}_bright"] = hallucination_score(edges(bright, detector), of_image)
    return result


def second_view(classifier: TargetClassifier, images: Tensor) -> Tensor:
    """Probabilities of the same network on another view: mirrored, and seen at 6/7 of the resolution.

    No second ImageNet network is shipped with the project; what a mask tuned to single pixels of one view gains is lost
    here, though not what it gains from the network's weights.
    """
    side = images.shape[-1]
    small = torch.nn.functional.interpolate(images.flip(-1), size=(side * 6 // 7,) * 2, mode="bilinear", antialias=True)
    back = torch.nn.functional.interpolate(small, size=(side, side), mode="bilinear").clamp(0, 1)
    return classifier.probabilities(back)


def _largest(representation: Representation, coefficients: Tensor, mask: Tensor) -> Tensor:
    """The control that knows no classifier: the largest coefficients, as many as the mask has mass."""
    kept = int(mask.mean(0).sum().round())
    order = coefficients.abs().sum(0).argsort(descending=True)
    chosen = torch.zeros_like(mask[0])
    chosen[order[:kept]] = 1
    return representation.synthesise(chosen * coefficients)


def _shuffled(representation: Representation, coefficients: Tensor, mask: Tensor, random: torch.Generator) -> Tensor:
    """The control that knows the bands alone: the mask shuffled within each."""
    moved = mask.clone()
    for band in representation.bands:
        order = torch.randperm(band.count, generator=random)
        moved[:, band.place] = mask[:, band.place][:, order]
    return representation.synthesise(moved * coefficients)


def faithfulness(classifier: TargetClassifier, image: Tensor, relevance: Tensor, target: int, levels: int = 8) -> float:
    """Area under insertion minus area under deletion, over ``levels`` shares of pixels, grey for what is missing."""
    order = (
        relevance.flatten().argsort(descending=True, stable=True).argsort().view(relevance.shape) / relevance.numel()
    )
    grey = image.mean().expand_as(image)
    pictures = []
    for level in range(1, levels):
        most = (order < level / levels)[None, None]
        pictures += [torch.where(most, image, grey), torch.where(most, grey, image)]
    with torch.no_grad():
        p = classifier.probabilities(torch.cat(pictures))[:, target]
    return float((p[0::2] - p[1::2]).mean())


# --- summaries


def summary(rows: Sequence[dict[str, dict[str, Any]]], methods: Sequence[str]) -> tuple[dict, dict]:
    """Medians with bootstrap intervals, shares with Wilson intervals, and medians of paired differences from ours."""
    figures: dict[str, float] = {}
    intervals: dict[str, list[float]] = {}
    for method in methods:
        values = {key: [row[method][key] for row in rows] for key in rows[0][method]}
        kept = sum(value >= KEPT - 1e-6 for value in values["retained"])
        figures[f"{method}/kept_at_least"] = kept / len(rows)
        intervals[f"{method}/kept_at_least"] = wilson(kept, len(rows))
        for key, column in values.items():
            _median(f"{method}/{key}", column, figures, intervals)
        if method != methods[0]:
            for key in values:
                ours = [row[methods[0]][key] for row in rows]
                pairs = [a - b for a, b in zip(ours, values[key], strict=True) if a is not None and b is not None]
                _median(f"ours_minus/{method}/{key}", pairs, figures, intervals)
    return figures, intervals


def _median(name: str, column: Sequence[Any], figures: dict[str, float], intervals: dict[str, list[float]]) -> None:
    values = np.array([float(value) for value in column if value is not None])
    if not len(values):
        return
    draws = np.random.default_rng(0).integers(0, len(values), (RESAMPLES, len(values)))
    medians = np.median(values[draws], axis=1)
    figures[name] = float(np.median(values))
    intervals[name] = [float(np.quantile(medians, 0.025)), float(np.quantile(medians, 0.975))]


def wilson(hits: int, count: int, z: float = 1.96) -> list[float]:
    """95 % interval of a share (Wilson 1927)."""
    share = hits / count
    middle = (share + z**2 / (2 * count)) / (1 + z**2 / count)
    half = z / (1 + z**2 / count) * math.sqrt(share * (1 - share) / count + z**2 / (4 * count**2))
    return [max(0.0, middle - half), min(1.0, middle + half)]


if __name__ == "__main__":
    main()
