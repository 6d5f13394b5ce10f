"""Times whole training steps of the CAE in the tree that it is started in; run by ``training_step.py``.

It calls only what former versions of the program have too: a recipe, ``train_cae``, and the hook before each batch.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from contextlib import suppress
from typing import Any

sys.path.insert(0, os.getcwd())

import torch
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode

import cae.training.cae as training
from cae.classifiers import TargetClassifier
from cae.classifiers.saved import build_network
from cae.config.command_line import parse
from cae.data import CAEDataModule
from cae.training.base_module import CAETrainingModule

# operations that move no data
VIEWS = {
    "as_strided", "view", "reshape", "_unsafe_view", "expand", "permute", "transpose", "t", "slice", "select", "detach",
    "alias", "unsqueeze", "squeeze", "narrow", "split", "split_with_sizes", "chunk", "empty", "empty_like",
    "empty_strided", "resize_", "set_", "lift_fresh", "flatten", "unflatten", "result_type", "is_nonzero", "item",
    "_local_scalar_dense", "expand_as", "numpy_T", "unbind", "view_as", "contiguous", "to", "_to_copy", "movedim",
}  # fmt: skip
# where the time of a step goes: the first group one of whose words is in the name of an operation
GROUPS = {
    "convolutions": ("conv",),
    "matrix products": ("addmm", "bmm", "mm", "linear", "baddbmm"),
    "resampling and pooling": ("upsample", "pool", "grid_sampler", "pixel_", "interpolate"),
    "norms": ("norm",),
    "optimisers and averages": ("adam", "foreach", "lerp"),
    "copies": ("copy", "clone", "cat", "stack", "index", "pad", "fill", "zero", "slice_backward", "select_backward"),
}
REST = "everything else, number by number"


class EnoughError(Exception):
    """Ends a training that has been timed."""


class Steps:
    """Stands before every batch: times the steps, then counts one step's operations and another's kernels."""

    def __init__(self, warm_up: int, timed: int, count: bool):
        self.first, self.last, self.count = warm_up, warm_up + timed, count
        self.marks: list[tuple[float, float]] = []
        self.figures: dict[str, float] = {}
        self._counter: FlopCounterMode | None = None
        self._profile: Any = None
        self.step = 0

    def __call__(self) -> None:
        """Called before each step."""
        cuda = torch.cuda.is_available()
        if cuda:
            torch.cuda.synchronize()
        if self.first <= self.step <= self.last:
            self.marks.append((time.perf_counter(), time.process_time()))
        if self._counter is not None:
            self._counter.__exit__(None, None, None)
            self.figures["operations"] = float(self._counter.get_total_flops())
            self._counter = None
        if self._profile is not None:
            self._profile.__exit__(None, None, None)
            self.figures["kernels"] = float(kernels(self._profile, cuda))
            self.figures |= {f"share/{group}": share for group, share in shares(self._profile, cuda).items()}
        if self.step == self.last and self.count:
            self._counter = FlopCounterMode(display=False)
            self._counter.__enter__()
        if self.step == self.last + 1 and self.count:
            activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if cuda else [])]
            self._profile = profile(activities=activities)
            self._profile.__enter__()
        if self.step == self.last + (2 if self.count else 0):
            if cuda:
                self.figures["peak_gib"] = torch.cuda.max_memory_allocated() / 2**30
            raise EnoughError
        self.step += 1


def kernels(found: Any, cuda: bool) -> int:
    """Kernels launched: on a GPU those of the device, on a CPU the innermost operations that touch data."""
    if cuda:
        return sum(event.count for event in found.key_averages() if str(event.device_type).endswith("CUDA"))
    events = [event for event in found.events() if event.name.startswith("aten::") and not event.cpu_children]
    return sum(event.name.removeprefix("aten::") not in VIEWS for event in events)


def shares(found: Any, cuda: bool) -> dict[str, float]:
    """The part of a step's time that each of ``GROUPS`` takes, and the rest: of the device, or of the processor."""
    times = dict.fromkeys([*GROUPS, REST], 0.0)
    for event in found.key_averages():
        if cuda != str(event.device_type).endswith("CUDA"):
            continue
        used = event.self_device_time_total if cuda else event.self_cpu_time_total
        name = event.key.lower()
        times[next((group for group, words in GROUPS.items() if any(word in name for word in words)), REST)] += used
    total = sum(times.values())
    return {group: used / total for group, used in times.items()}


def run(options: list[str], warm_up: int, timed: int, count: bool) -> dict[str, float]:
    """Wall and processor milliseconds of a step (medians), and what ``Steps`` counts."""
    folder = tempfile.mkdtemp()
    # as many images as are not altered by default, so that both versions do the same
    words = ["cae", *options, f"runs={folder}", "data.lesions.train=3000", "data.lesions.val=8", "data.lesions.test=8",
             "cae.warmup_steps=0", "cae.ramp_steps=1", "cae.max_steps=100000", "logging.progress=false"]  # fmt: skip
    config = parse(words, {"cae": ""}, "train.py").config
    data = CAEDataModule(config.data)
    data.setup()
    torch.manual_seed(0)
    network = build_network(config.classifier.model, len(data.classes), data.image_shape[0], config.classifier.width)
    classifier = TargetClassifier(network, data.classes, image_shape=data.image_shape, scores="logits")
    steps = Steps(warm_up, timed, count)
    # a classifier of random weights, which may give one class to all: what a step costs does not depend on it
    training._report_predictions = lambda *_: None  # type: ignore[attr-defined]
    before = CAETrainingModule.on_train_batch_start

    def start(module: Any, *arguments: Any) -> None:
        steps()
        before(module, *arguments)

    CAETrainingModule.on_train_batch_start = start  # type: ignore[method-assign]
    with suppress(EnoughError):
        training.train_cae(config, data, classifier, classifier, folder)
    taken = [(b[0] - a[0], b[1] - a[1]) for a, b in zip(steps.marks, steps.marks[1:], strict=False)]
    wall, used = (sorted(column) for column in zip(*taken, strict=True))
    middle = len(taken) // 2
    images = config.data.batch_size / wall[middle]
    return {"milliseconds": 1e3 * wall[middle], "processor_ms": 1e3 * used[middle], "fastest_ms": 1e3 * wall[0],
            "images_per_second": images, **steps.figures}  # fmt: skip


if __name__ == "__main__":
    job = json.loads(sys.argv[1])
    print("FIGURES " + json.dumps(run(job["options"], job["warm_up"], job["timed"], job["count"])))
