"""Speed and memory of the shearlet transform and of one explanation, for ``benchmarks/shearletx.py``."""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from cae.classifiers.imagenet import load_imagenet_classifier
from explainers import get_explainer
from explainers.shearletx.explainer import make_representation
from explainers.shearletx.settings import SHEARLETX, SHEARLETX_PUBLISHED, Settings
from explainers.transforms.shearlet import shearlet_system

SCRIPT = Path(__file__).with_name("shearletx.py")
SIDE = 256  # of the published measurements
# measured with the authors' code at the same size on one CPU thread
OFFICIAL_MS, OFFICIAL_STEP, OFFICIAL_STEPS = 435.0, {16: 28.4, 4: 7.25}, 300
TURNS = 11


def clock(device: str) -> float:
    """Seconds: of the processor, so that other programs do not count; with an accelerator, of the wall."""
    if device == "cpu":
        return time.process_time()
    torch.cuda.synchronize()
    return time.perf_counter()


def complex_synthesis(height: int, width: int, device: str = "cpu") -> Callable[[Tensor], Tensor]:
    """The control: an undecimated frame by complex FFTs of all bands, complex filters and dual weights."""
    system = shearlet_system(height, width, None, False)
    half = torch.cat([group.filters for group in system.groups])
    mirror = half[:, (-torch.arange(height)) % height][:, :, (-torch.arange(width)) % width % (width // 2 + 1)]
    columns = torch.arange(width)
    full = torch.where(columns <= width // 2, half[:, :, columns.clamp_max(width // 2)],
                       mirror[:, :, columns])  # fmt: skip
    filters = torch.complex(full, torch.zeros_like(full)).to(device)
    weights = filters.abs().square().sum(0)

    def synthesise(coefficients: Tensor) -> Tensor:
        bands = coefficients.view(-1, height, width)
        spectra = torch.fft.fftshift(torch.fft.fft2(torch.fft.ifftshift(bands, (-2, -1))), (-2, -1))
        return torch.fft.ifft2((spectra * filters).sum(0) / weights).real

    return synthesise


def transform(arguments: argparse.Namespace) -> tuple[dict, dict, int]:
    """Milliseconds of one synthesis, forward and backward, of a grey 256 x 256 image."""
    device = arguments.device
    fast, whole = (shearlet_system(SIDE, SIDE, None, decimate, device=device) for decimate in (True, False))
    makers = {
        "decimated": (fast.synthesise, fast.count),
        "undecimated": (whole.synthesise, whole.count),
        "complex_control": (complex_synthesis(SIDE, SIDE, device), whole.count),
    }
    # in turns, so that a busy machine slows all alike
    times: dict[str, list[float]] = {name: [] for name in makers}
    for _ in range(TURNS):
        for name, (synthesise, count) in makers.items():
            coefficients = torch.randn(count, device=device, requires_grad=True)
            start = clock(device)
            image = synthesise(coefficients)
            image.backward(torch.ones_like(image))
            times[name].append(1000 * (clock(device) - start))
    figures = {f"transform/{name}_ms": statistics.median(found[1:]) for name, found in times.items()}
    intervals = {f"transform/{name}_ms": [min(found[1:]), max(found[1:])] for name, found in times.items()}
    ours = figures["transform/decimated_ms"]
    figures["transform/times_faster_than_control"] = figures["transform/complex_control_ms"] / ours
    if device == "cpu":
        figures["transform/times_faster_than_published"] = OFFICIAL_MS / ours
    figures["transform/redundancy"] = fast.count / SIDE**2
    return figures, intervals, 1


def cost(arguments: argparse.Namespace) -> tuple[dict, dict, int]:
    """Seconds and memory of one explanation, ours and the published settings on our frame, each in its own process."""
    figures: dict[str, float] = {}
    for samples in (4, 16):
        for method in ("shearletx", "shearletx_published"):
            command = [sys.executable, str(SCRIPT), "memory", "--method", method, "--samples", str(samples),
                       "--side", str(SIDE), "--device", arguments.device]  # fmt: skip
            answer = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
            found = json.loads(answer.splitlines()[-1])
            figures |= {f"cost/{method}_{samples}_{name}": value for name, value in found.items()}
        ours = figures[f"cost/shearletx_{samples}_seconds_per_step"]
        control = figures[f"cost/shearletx_published_{samples}_seconds_per_step"]
        figures[f"cost/share_of_control_{samples}"] = ours / control
        if arguments.device == "cpu":
            figures[f"cost/share_of_published_{samples}"] = ours / OFFICIAL_STEP[samples]
    default = figures["cost/default_seconds"] = SHEARLETX.steps * figures["cost/shearletx_4_seconds_per_step"]
    figures["cost/default_share_of_control"] = default / (
        OFFICIAL_STEPS * figures["cost/shearletx_published_16_seconds_per_step"]
    )
    if arguments.device == "cpu":
        figures["cost/default_share_of_published"] = default / (OFFICIAL_STEPS * OFFICIAL_STEP[16])
    return figures, {}, 1


def _peak(device: str) -> float:
    """Most gigabytes held so far: by the process, libraries included, or on the GPU."""
    if device == "cpu":
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    return torch.cuda.max_memory_allocated() / 1e9


def memory(arguments: argparse.Namespace) -> tuple[dict, dict, int]:
    """One short search in a process of its own."""
    device, side = arguments.device, arguments.side
    classifier = load_imagenet_classifier((3, side, side))
    classifier.to(device).network.to(memory_format=torch.channels_last)
    image = torch.rand(1, 3, side, side, generator=torch.Generator().manual_seed(0)).to(device)
    most = 3 if device == "cpu" else 23
    loaded = _peak(device)
    times = []
    for count in (1, 1, most):  # filters and tables are built once, by the first
        explainer = get_explainer(arguments.method, classifier, steps=count, samples=arguments.samples)
        start = clock(device)
        explainer(image)
        times.append(clock(device) - start)
    settings: Settings = SHEARLETX if arguments.method == "shearletx" else SHEARLETX_PUBLISHED
    # coefficients of three channels; mask, two moments, best mask, weights of the size; a gradient lives within a step
    planes = 3 + 5
    floats = make_representation(settings.transform, image[0]).bands[-1].place.stop
    return (
        {
            "seconds_per_step": (times[2] - times[1]) / (most - 1),
            "state_megabytes": planes * floats * 4 / 1e6,
            "peak_gigabytes": _peak(device),
            "loaded_gigabytes": loaded,
        },
        {},
        1,
    )
