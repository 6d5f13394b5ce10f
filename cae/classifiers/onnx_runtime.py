"""Scores without gradients by ONNX Runtime, several times faster on CPUs for networks of thin convolutions."""

from __future__ import annotations

import tempfile
import warnings
from pathlib import Path

import torch
from torch import Tensor, nn

from cae.classifiers.black_box import OnnxScores
from cae.errors import UserError


class OnnxForward:
    """A PyTorch network, frozen as it is now, computed by ONNX Runtime on the CPU.

    Args:
        network: from ``(B, C, H, W)`` to scores ``(B, K)``.
        example: ``(1, C, H, W)`` an input of it.

    Raises:
        UserError: if the packages of the extra ``onnx`` are missing, or the network cannot be exported.
    """

    def __init__(self, network: nn.Module, example: Tensor):
        try:
            import onnx  # noqa: F401 (the exporter needs it)
        except ModuleNotFoundError:
            raise UserError(
                "`classifier.runtime=onnx` needs the packages onnx and onnxruntime: pip install 'cae-explain[onnx]'."
            ) from None
        with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            path = Path(folder) / "network.onnx"
            try:
                torch.onnx.export(
                    network,
                    (example,),
                    path,
                    input_names=["images"],
                    output_names=["scores"],
                    dynamic_axes={"images": {0: "batch"}, "scores": {0: "batch"}},
                    dynamo=False,
                )
            except Exception as error:  # the exporter raises whatever an operation it does not know leads to
                reason = (str(error).strip() or type(error).__name__).splitlines()[0]
                raise UserError(
                    f"`classifier.runtime=onnx`: {type(network).__name__} cannot be exported ({reason}); use torch."
                ) from error
            self._scores = OnnxScores(path)
            if len(self._scores.output_names) > 1:
                raise UserError(
                    f"`classifier.runtime=onnx` is for networks that give their scores alone, but "
                    f"{type(network).__name__} gives {len(self._scores.output_names)} outputs; use torch."
                )

    def __call__(self, inputs: Tensor) -> Tensor:
        """Scores ``(B, K)`` of inputs ``(B, C, H, W)`` on the CPU."""
        return torch.from_numpy(self._scores(inputs.detach().float().numpy()))

    def __deepcopy__(self, _: dict) -> None:
        """A copy of a network may be given other weights: it is computed by PyTorch."""
        return
