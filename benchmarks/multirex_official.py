"""Run the official tool (rex-xai 0.4.1), in its own environment, on tensors that ``benchmarks/multirex.py`` prepared.

    PYTHON_OF_THE_TOOL benchmarks/multirex_official.py FOLDER --seed 0

FOLDER holds ``network.onnx`` (from normalised images to logits) and ``images.npz`` (one normalised
``(3, H, W)`` array per image, so that hidden pixels are 0 as in the tool). For each image a file ``<id>-<seed>.npz``
is written: the masks that the tool found, which of them it keeps as disjoint, and the evaluations; images that have
their file already are left out. All settings are the tool's defaults, but for the batch size and the GPU.
"""

from __future__ import annotations

import argparse
import sys
import time
import types
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from rex_xai.explanation.multi_explanation import MultiExplanation
from rex_xai.explanation.rex import calculate_responsibility, predict_target
from rex_xai.input.config import CausalArgs
from rex_xai.input.input_data import Data
from rex_xai.responsibility.prediction import from_pytorch_tensor
from rex_xai.utils._utils import Strategy


class Counted:
    """The network as the tool's prediction function, which counts the images that it scores."""

    def __init__(self, network: onnxruntime.InferenceSession):
        self.network = network
        self.evaluations = 0
        self.seconds = 0.0

    def __call__(self, images, target=None, raw=False):
        """Predictions of the tool's type; one image at a time inside, which the caches of a CPU like best."""
        self.evaluations += len(images)
        started = time.perf_counter()
        scores = [self.network.run(None, {"images": image[None].float().numpy()})[0] for image in images]
        logits = torch.from_numpy(np.concatenate(scores))
        self.seconds += time.perf_counter() - started
        return logits.softmax(1) if raw else from_pytorch_tensor(logits, target=target)


def main() -> None:
    """Explain every image of the folder."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = 1
    network = onnxruntime.InferenceSession(
        str(arguments.folder / "network.onnx"), settings, providers=["CPUExecutionProvider"]
    )
    images = np.load(arguments.folder / "images.npz")
    for name in images.files:
        path = arguments.folder / f"{name}-{arguments.seed}.npz"
        if not path.exists():
            np.savez_compressed(path, **explain(torch.from_numpy(images[name]), network, arguments.seed))
            print(path.name, flush=True)


def explain(image: torch.Tensor, network: onnxruntime.InferenceSession, seed: int) -> dict[str, np.ndarray]:
    """All that the tool's multiple explanations give for one normalised image ``(3, H, W)``."""
    predict = Counted(network)
    shape = (1, *image.shape)
    options = CausalArgs()
    options.gpu, options.progress_bar, options.batch_size, options.seed = False, False, 16, seed
    options.strategy = Strategy.MultiSpotlight
    started = time.perf_counter()
    data = Data(types.SimpleNamespace(mode="RGB"), shape, "cpu", mode="RGB")
    data.data = image[None]
    data.set_mask_value(options.mask_value)
    data.target = predict_target(data, options, predict)
    maps, stats = calculate_responsibility(data, options, predict)
    map_evaluations = predict.evaluations
    found = MultiExplanation(maps, predict, data, options, stats)
    found.extract()
    chosen = found.separate_by(options.permitted_overlap)[0] if found.explanations else ()
    masks = [mask.reshape(shape)[0, 0].numpy() for mask in found.explanations]
    return {
        "masks": np.stack(masks) if masks else np.zeros((0, *image.shape[1:]), bool),
        "chosen": np.array(chosen, dtype=np.int64),
        "target": np.array(data.target.classification),
        "map_evaluations": np.array(map_evaluations),
        "evaluations": np.array(predict.evaluations),
        "seconds": np.array(time.perf_counter() - started),
        "forward_seconds": np.array(predict.seconds),
    }


if __name__ == "__main__":
    sys.exit(main())
