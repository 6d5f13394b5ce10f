"""Reading weights of any origin into a network, with every misfit put into words."""

from __future__ import annotations

import json
import pickle
import warnings
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor, nn

from cae.classifiers.state_dicts import best_prefixes, is_auxiliary, weights_inside, with_own_head, without_prefixes
from cae.errors import UserError, did_you_mean
from cae.files import DIGEST, FAULTS, check_archive, checked_header, existing_text

LIBRARIES = {"torchvision": "torchvision.models.{}()", "timm": "timm.create_model('{}')"}
CONVERSION = "torch.save(model.state_dict(), 'weights.pt')"


def existing_file(path: str | Path, option: str = "classifier.weights") -> Path:
    """The path, if it is a file; otherwise a UserError that names the nearest file of the folder."""
    path = Path(path).expanduser()
    if path.is_file():
        return path
    if path.is_dir():
        raise UserError(f"`{option}`: '{path}' is a folder; give a file of weights.")
    siblings = [file.name for file in path.parent.iterdir()] if path.parent.is_dir() else []
    raise UserError(f"`{option}`: there is no file '{path}'{did_you_mean(path.name, siblings)}.")


def read_metadata(path: Path) -> dict[str, Any]:
    """What ``save_classifier`` wrote about a ``.safetensors`` file: in its header, or in the ``.json`` beside it."""
    header: dict[str, str] = {}
    if path.suffix == ".safetensors":
        with _in_words(path), safe_open(path, framework="pt") as file:
            header = file.metadata() or {}
    beside = path.with_suffix(".json")
    try:
        content = json.loads(header.get("classifier") or (existing_text(beside) if beside.is_file() else "{}"))
    except ValueError as error:
        raise UserError(f"The description of '{path}' is not valid JSON: {error}.") from error
    if not isinstance(content, dict) or not {"model", "classes"} <= content.keys():
        return {}
    return {name: value for name, value in content.items() if name != DIGEST}


@contextmanager
def _in_words(path: Path) -> Iterator[None]:
    """Turn what goes wrong while a file of weights is read into a UserError."""
    try:
        yield
    except pickle.UnpicklingError as error:
        raise UserError(
            f"'{path}' holds Python objects (or no weights at all), which are not loaded as they may run any code; "
            f"save the weights alone where the classifier was trained, with {CONVERSION}, or as .safetensors."
        ) from error
    except FAULTS as error:
        raise UserError(f"'{path}' cannot be read as weights: {error}.") from error


def _refuse_other_formats(path: Path) -> None:
    """Name the right option for a file that is no state dict."""
    if path.suffix == ".onnx":
        raise UserError(f"'{path}' is an ONNX file: set `classifier.model=onnx`.")
    if not zipfile.is_zipfile(path):
        return
    with _in_words(path), zipfile.ZipFile(path) as archive:
        names = archive.namelist()
    if any(name.endswith("constants.pkl") for name in names):
        raise UserError(f"'{path}' is a TorchScript file, not a state dict: set `classifier.model=torchscript`.")
    if path.suffix == ".pt2" or any(name.endswith("archive_format") for name in names):
        raise UserError(f"'{path}' is an exported program: save {CONVERSION}, a TorchScript or an ONNX file instead.")
    with _in_words(path), zipfile.ZipFile(path) as archive:
        check_archive(archive)


def read_state_dict(path: str | Path) -> dict[str, Tensor]:
    """Tensors by name from a ``.safetensors`` file or a ``.pt``/``.pth``/``.ckpt`` checkpoint, on the CPU.

    Raises:
        UserError: if the file is missing, of another kind, or holds Python objects.
    """
    path = existing_file(path)
    if path.suffix == ".safetensors":
        with _in_words(path), safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
            checked_header(file.metadata() or {}, tensors)
            return tensors
    _refuse_other_formats(path)
    content: Any = None
    with _in_words(path):
        content = torch.load(path, map_location="cpu", weights_only=True)
    state = weights_inside(content, str(path))
    if not state:
        raise UserError(f"'{path}' holds no weights (a dict from names to tensors); save them with {CONVERSION}.")
    return state


def scores_of_head(network: nn.Module, state: Mapping[str, Tensor]) -> int | None:
    """Scores that the checkpoint's head gives, where it differs from the network in that number alone; else None."""
    own = network.state_dict()
    state, _ = with_own_head(network, without_prefixes(state, own))
    differing = [key for key in own if key in state and own[key].shape != state[key].shape]
    alike = all(own[key].shape[1:] == state[key].shape[1:] for key in differing)
    counts = {state[key].shape[0] for key in differing if state[key].ndim}
    return counts.pop() if alike and len(counts) == 1 else None


def _refuse_whole_numbers(state: Mapping[str, Tensor], path: str | Path) -> None:
    """Refuse weights of a quantised network, whose whole numbers mean nothing without their scales.

    Raises:
        UserError: that names the first of them.
    """
    weights = {key: value for key, value in state.items() if key.endswith("weight") or value.is_quantized}
    whole = [key for key, value in weights.items() if value.is_quantized or not value.is_floating_point()]
    if whole:
        raise UserError(
            f"'{path}' holds the weights of a quantised network: {len(whole)} tensors are whole numbers "
            f"{_some(whole)}. Save those of the network before it was quantised, with {CONVERSION}."
        )


def _some(names: list[str]) -> str:
    """The first three names in brackets."""
    return f"({', '.join(names[:3])}{', …' if len(names) > 3 else ''})"


def _cure(name: str, missing: list[str], unexpected: list[str]) -> str:
    """What to write where weights do not fit: a changed part of a known network can be built by the user."""
    other = "Set `classifier.model` (and `classifier.width` for own networks) to what the weights were trained with."
    kind, _, model = name.partition(":")
    parts = {key.partition(".")[0] for key in missing}
    if kind not in LIBRARIES or len(parts) != 1 or not unexpected:
        return other
    part = parts.pop()
    return (
        f"Where only '{part}' was changed, build the network in a file of your own, such as my_networks.py, with "
        f"`model = {LIBRARIES[kind].format(model)}; model.{part} = …`, and set "
        f"`classifier.model=callable:my_networks:model`. {other}"
    )


def load_weights(network: nn.Module, state: Mapping[str, Tensor], path: str | Path, name: str) -> None:
    """Copy a state dict into a network.

    Args:
        network: the network, with as many scores as there are classes.
        state: tensors by name, from ``read_state_dict``.
        path: where they come from, for errors.
        name: what ``classifier.model`` says, for errors.

    Raises:
        UserError: if names or shapes differ: how many, and the first of them.
    """
    _refuse_whole_numbers(state, path)
    own = network.state_dict()
    given, (state, renamed) = state, with_own_head(network, without_prefixes(state, own))
    prefixes = best_prefixes(given, set(own))
    missing = [key for key in own if key not in state and not is_auxiliary(key)]
    unexpected = [key for key in state if key not in own and not is_auxiliary(key)]
    if missing:  # what stands beside the weights' common prefix may be what is missed
        unexpected += [key for key in given if not key.startswith(prefixes[0])]
    shapes = [key for key in own if key in state and own[key].shape != state[key].shape]
    found = scores_of_head(network, state)
    if not missing and not unexpected and found is not None:
        raise UserError(
            f"'{path}' is a {name} for {found} classes, but the data has {own[shapes[0]].shape[0]}; give weights "
            "trained on the classes of the data, or choose the data that they were trained on."
        )
    parts = [f"{len(missing)} of its {len(own)} tensors are missing {_some(missing)}"] if missing else []
    parts += [f"{len(unexpected)} are unexpected {_some(unexpected)}"] if unexpected else []
    parts += [f"{len(shapes)} have another shape {_some(shapes)}"] if shapes else []
    if parts:
        raise UserError(
            f"'{path}' does not fit `classifier.model={name}`: {', '.join(parts)}. {_cure(name, missing, unexpected)}"
        )
    if len(prefixes) > 1:
        warnings.warn(
            f"'{path}' holds several sets of weights, under the names {', '.join(f'{item}…' for item in prefixes)}; "
            "the first is used: save another alone to explain it.",
            stacklevel=2,
        )
    if renamed:
        warnings.warn(f"'{path}' has another head than `classifier.model={name}`: {renamed}.", stacklevel=2)
    network.load_state_dict({key: state.get(key, own[key]) for key in own})
