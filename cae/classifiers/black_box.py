"""Classifiers that only give scores: ONNX files and Python functions."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from cae.classifiers.identity import callable_name
from cae.classifiers.outputs import scores_array
from cae.errors import UserError, did_you_mean
from cae.importing import named_module

NUMBER_TYPES = {"tensor(float)": np.float32, "tensor(float16)": np.float16, "tensor(double)": np.float64}


def file_digest(path: Path) -> str:
    """SHA-256 of a file."""
    with path.open("rb") as file:
        digest = hashlib.sha256()
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


class OnnxScores:
    """Scores of an ONNX file: NumPy images ``(B, C, H, W)`` float32 to ``(B, K)``, for any B.

    ``channels`` and ``size`` are what the file declares, None where it leaves them open. A file with a fixed batch
    size is fed in batches of that size, the last one filled up. Channels-last files are recognised by their shape.

    Raises:
        UserError: if onnxruntime is missing, or the file is no image classifier.
    """

    def __init__(self, path: Path):
        try:
            import onnxruntime
        except ModuleNotFoundError:
            raise UserError("`classifier.model=onnx` needs ONNX Runtime: pip install 'cae-explain[onnx]'.") from None
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        options.log_severity_level = 3
        providers = [
            name
            for name in ("CUDAExecutionProvider", "CPUExecutionProvider")
            if name in onnxruntime.get_available_providers()
        ]
        try:
            self.session = onnxruntime.InferenceSession(str(path), options, providers=providers)
        except Exception as error:  # onnxruntime's own exception classes are private
            raise UserError(f"'{path}' cannot be read as an ONNX file: {error}.") from error
        self._read_input(path)
        self._read_output(path)

    def _read_input(self, path: Path) -> None:
        inputs = self.session.get_inputs()
        if len(inputs) != 1 or len(inputs[0].shape) != 4 or inputs[0].type not in NUMBER_TYPES:
            found = ", ".join(f"{item.name} {item.type} {item.shape}" for item in inputs)
            raise UserError(f"'{path}' must have one input of floats (B, C, H, W), but has: {found}.")
        self.input_name, self.dtype = inputs[0].name, NUMBER_TYPES[inputs[0].type]
        batch, *shape = [size if isinstance(size, int) and size > 0 else None for size in inputs[0].shape]
        self.channels_last = shape[2] in (1, 3) and shape[0] not in (1, 3)
        self.batch = batch
        self.channels = shape[2] if self.channels_last else shape[0]
        height, width = shape[:2] if self.channels_last else shape[1:]
        self.size = height if height == width else None

    def _read_output(self, path: Path) -> None:
        """All outputs of floats: files from scikit-learn give labels, too."""
        names = [item.name for item in self.session.get_outputs() if item.type in NUMBER_TYPES]
        if not names:
            found = ", ".join(f"{item.name} {item.type}" for item in self.session.get_outputs())
            raise UserError(f"'{path}' has no output of float scores, only: {found}.")
        self.output_names = names

    def __call__(self, images: np.ndarray) -> Any:
        """Scores ``(B, K)`` of images ``(B, C, H, W)``; of a file with several outputs, all of them by name."""
        images = images.astype(self.dtype, copy=False)
        if self.channels_last:
            images = np.ascontiguousarray(images.transpose(0, 2, 3, 1))
        step = self.batch or max(len(images), 1)
        parts = [self._run(images[i : i + step], step) for i in range(0, len(images), step)]
        found = [np.concatenate(rows) for rows in zip(*parts, strict=True)]
        return found[0] if len(found) == 1 else dict(zip(self.output_names, found, strict=True))

    def _run(self, images: np.ndarray, size: int) -> list[np.ndarray]:
        filling = np.zeros((size - len(images), *images.shape[1:]), images.dtype)
        found = self.session.run(self.output_names, {self.input_name: np.concatenate([images, filling])})
        return [np.asarray(scores, dtype=np.float32)[: len(images)] for scores in found]


def call_function(
    function: Callable[[np.ndarray], Any], inputs: Tensor, classes: Sequence[str], by_name: bool
) -> Tensor:
    """Scores, float32, that a function gives for preprocessed images ``(B, C, H, W)``, where these are.

    Columns of a table that bear the names of the classes are taken by these, unless ``by_name`` is False: where the
    user has said which output stands for which class.

    Raises:
        UserError: with the words of any exception of the function.
    """
    # a copy: a user's function may write into its argument
    array = np.array(inputs.detach().cpu().numpy(), dtype=np.float32, order="C")
    try:
        scores = scores_array(function(array), len(classes), classes if by_name else ())
    except UserError:
        raise
    except Exception as error:  # whatever a foreign function raises, the user hears what it was given
        raise UserError(
            f"The classifier {callable_name(function)} failed on images of shape {tuple(inputs.shape)}: "
            f"{type(error).__name__}: {error}."
        ) from error
    return torch.as_tensor(scores, device=inputs.device)


def import_callable(model: str) -> Any:
    """What ``callable:package.module:name`` names: a function of NumPy images, or a PyTorch module.

    Raises:
        UserError: if the module cannot be imported, or has nothing callable of that name.
    """
    module_name, separator, name = model.removeprefix("callable:").partition(":")
    if not separator or not module_name or not name:
        raise UserError(f"`classifier.model` must be callable:package.module:name, but is {model!r}.")
    module = named_module(module_name, f"`classifier.model={model}`: the module '{module_name}'")
    found = getattr(module, name, None)
    if not callable(found):
        problem = "is not callable" if hasattr(module, name) else f"is not there{did_you_mean(name, dir(module))}"
        raise UserError(f"`classifier.model={model}`: '{name}' in '{module_name}' {problem}.")
    return found
