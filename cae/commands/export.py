"""The command `export`: encoder, decoder and counterfactuals as ONNX files, each compared with PyTorch."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from cae.config import Config
from cae.counterfactuals.find import WORDS
from cae.data.selection import evenly_spread
from cae.errors import UserError, did_you_mean
from cae.files import atomic_path, file_name
from cae.models.graphs import CounterfactualGraph, DecoderGraph, EncoderGraph
from cae.runs.trained_run import TrainedRun, load_run

EXAMPLES = 4  # images on which both are compared
LARGEST = 1e-3  # difference of images in [0, 1], a quarter of a grey level of 8 bits
OPSET = 17


def export(config: Config) -> None:
    """Write ``encoder.onnx``, ``decoder.onnx`` and ``counterfactual_to_<class>.onnx`` of a trained run.

    ``counterfactual.target`` names one class; of all others (``runner-up``, ``any``, ``all``) every class gets a file.

    Raises:
        UserError: if packages are missing, there is no such class, or a file gives other images than PyTorch.
    """
    _require_packages()
    run = load_run(config)
    targets = _targets(run)
    folder = run.folder.explanations("export")
    cae = run.cae.cpu()
    images = evenly_spread(run.data.test if len(run.data.test) else run.data.train, EXAMPLES)
    with torch.no_grad():
        codes = cae.encode(images)
    facts = {
        "classes": ",".join(run.classes),
        **{f"fingerprint_{name}": text for name, text in run.fingerprints.items()},
    }
    _write(folder / "encoder.onnx", EncoderGraph(cae), {"images": images}, ["class_code", "individual_code"], facts)
    both = {"class_code": codes.class_code, "individual_code": codes.individual_code}
    _write(folder / "decoder.onnx", DecoderGraph(cae), both, ["images"], facts)
    position = torch.linspace(0, 1, len(images))
    for name, reference in targets.items():
        _write(
            folder / f"counterfactual_to_{file_name(name)}.onnx", CounterfactualGraph(cae, reference),
            {"images": images, "position": position}, ["counterfactual"], {**facts, "target": name},
        )  # fmt: skip
    print(f"export: written to '{folder}'; images and positions are float32 in [0, 1]")


def _require_packages() -> None:
    try:
        import onnx  # noqa: F401
        import onnxruntime  # noqa: F401
    except ModuleNotFoundError:
        raise UserError("this needs the packages onnx and onnxruntime: pip install 'cae-explain[onnx]'.") from None


def _targets(run: TrainedRun) -> dict[str, Tensor]:
    """The prototype ``(D,)`` of each class asked for, by its name; classes that are never predicted have none."""
    wanted = run.config.counterfactual.target
    if wanted not in (*run.classes, *WORDS):
        raise UserError(
            f"counterfactual.target must be one of the classes ({', '.join(run.classes)}) or of {', '.join(WORDS)}, "
            f"but got '{wanted}'{did_you_mean(wanted, run.classes)}."
        )
    names = [wanted] if wanted in run.classes else list(run.classes)
    found = {name: run.manifold.prototypes(run.classes.index(name)) for name in names}
    missing = [name for name, prototypes in found.items() if prototypes is None]
    if wanted in missing:
        raise UserError(f"the classifier predicts '{wanted}' for no training image: there is nothing to lead to.")
    if missing:
        print(f"note: no counterfactual towards {', '.join(missing)}, which the classifier never predicts")
    return {name: prototypes.mean.float() for name, prototypes in found.items() if prototypes is not None}


def _write(
    path: Path, graph: nn.Module, inputs: Mapping[str, Tensor], outputs: Sequence[str], facts: Mapping[str, str]
) -> None:
    """Write a network as ONNX, for any number of images, and compare what it gives with PyTorch."""
    import onnx
    from onnx.helper import set_model_props

    graph.eval()
    with atomic_path(path) as temporary:
        with warnings.catch_warnings(), _with_expm1():
            warnings.simplefilter("ignore")
            torch.onnx.export(
                graph, tuple(inputs.values()), temporary, input_names=list(inputs), output_names=list(outputs),
                dynamic_axes={name: {0: "batch"} for name in (*inputs, *outputs)}, opset_version=OPSET, dynamo=False,
            )  # fmt: skip
        model = onnx.load(temporary)
        set_model_props(model, dict(facts))
        onnx.save(model, temporary)
        difference = _difference(temporary, graph, inputs)
        if not difference <= LARGEST:
            raise UserError(
                f"'{path}' is not written: ONNX Runtime gives other numbers than PyTorch, by {difference:.2g} at most."
            )
    print(f"  {path.name}: differs from PyTorch by {difference:.1e} at most")


@contextmanager
def _with_expm1() -> Iterator[None]:
    """Let the exporter write ``expm1``, for which ONNX has no operator, as ``exp - 1``, less than 1e-7 from it."""

    def symbolic(graph: Any, x: Any) -> Any:
        return graph.op("Sub", graph.op("Exp", x), graph.op("Constant", value_t=torch.tensor(1.0)))

    torch.onnx.register_custom_op_symbolic("aten::expm1", symbolic, OPSET)
    try:
        yield
    finally:
        torch.onnx.unregister_custom_op_symbolic("aten::expm1", OPSET)


@torch.no_grad()
def _difference(path: Path, graph: nn.Module, inputs: Mapping[str, Tensor]) -> float:
    """Largest difference of any output, as a share of the largest number where that is above 1.

    Asked with another number of images than the graph was traced with.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    fewer = {name: value[1:] for name, value in inputs.items()}
    expected = graph(*fewer.values())
    expected = expected if isinstance(expected, tuple) else (expected,)
    found = session.run(None, {name: value.numpy() for name, value in fewer.items()})
    return max(
        float(np.abs(array - tensor.numpy()).max() / max(1.0, float(tensor.abs().max())))
        for array, tensor in zip(found, expected, strict=True)
    )
