"""Finding the layer of a network whose feature maps Grad-CAM weights."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from cae.classifiers import TargetClassifier
from cae.classifiers.preprocessing import Preprocessing
from cae.errors import UserError, did_you_mean


@dataclass(frozen=True, eq=False)
class FeatureLayer:
    """A module whose output, or ``input``, is feature maps ``(B, F, h, w)``; ``name`` as ``named_modules`` has it.

    With ``channels_last``, the maps are ``(B, h, w, F)``.
    """

    name: str
    module: nn.Module
    input: bool
    channels_last: bool = False


@dataclass(frozen=True)
class _Passage:
    """A tensor that went into or came out of a module."""

    name: str
    input: bool
    shape: tuple[int, ...]


def feature_layer(classifier: TargetClassifier, name: str | None = None) -> FeatureLayer:
    """The layer of a name, or the last that holds feature maps of the image's proportions, before they are pooled.

    Args:
        classifier: with a PyTorch network.
        name: of a module of the network.

    Raises:
        UserError: if there is no such layer, or none can be found.
    """
    network = classifier.network
    if isinstance(network, torch.jit.ScriptModule) or not isinstance(network, nn.Module):
        kind = "a TorchScript file" if isinstance(network, torch.jit.ScriptModule) else "a black box"
        raise UserError(
            f"gradcam needs to look into the network, which {kind} does not allow: use another method, or give the "
            "classifier as a PyTorch network."
        )
    passages = _passages(network, classifier.preprocess)
    modules = dict(network.named_modules())
    if name is not None:
        return _named(name, modules, passages, classifier.preprocess.size)
    calls = Counter(passage.name for passage in passages if not passage.input)
    size = classifier.preprocess.size
    # a module that runs several times, such as a shared activation, stands for no one layer
    places = [k for k, passage in enumerate(passages) if calls[passage.name] == 1 and _is_map(passage.shape, size)]
    if not places or _tokens_follow(passages[places[-1] :]):
        usable = [
            passage.name
            for passage in passages
            if not passage.input
            and calls[passage.name] == 1
            and (_is_map(passage.shape, size) or _is_map(_channels_first(passage.shape), size))
        ]
        advice = (
            f"name one with `layer_name`, such as {', '.join(map(repr, usable[-4:]))}"
            if usable
            else ("none of its layers gives any, so use another method")
        )
        raise UserError(
            f"gradcam found no layer of feature maps before the head of {type(network).__name__}; {advice}."
        )
    found = passages[places[-1]]
    return FeatureLayer(found.name, modules[found.name], found.input)


def _named(name: str, modules: dict[str, nn.Module], passages: list[_Passage], size: tuple[int, int]) -> FeatureLayer:
    if name not in modules:
        raise UserError(
            f"`layer_name` {name!r} is no layer of the network{did_you_mean(name, modules)}; the last ones are "
            f"{', '.join(list(modules)[-6:])}."
        )
    shapes = [passage.shape for passage in passages if passage.name == name and not passage.input]
    if len(shapes) != 1 or len(shapes[0]) != 4:
        given = " and ".join(map(str, shapes)) or "nothing"
        raise UserError(f"`layer_name` {name!r} must give feature maps (B, F, h, w), once, but gives {given}.")
    turned = _channels_first(shapes[0])
    nearer = not _is_map(shapes[0], size) or _skew(turned, size) < _skew(shapes[0], size)
    last = _is_map(turned, size) and nearer
    return FeatureLayer(name, modules[name], False, last)


def _passages(network: nn.Module, preprocess: Preprocessing) -> list[_Passage]:
    """Shapes of all tensors that go in and out of the network's modules for a blank image, in order."""
    passages: list[_Passage] = []

    def note(name: str, input: bool) -> Callable[..., None]:
        def hook(_: nn.Module, arguments: tuple, output: Any = None) -> None:
            value = arguments[0] if input and arguments else output
            if isinstance(value, Tensor):
                passages.append(_Passage(name, input, tuple(value.shape)))

        return hook

    weight = next(network.parameters(), torch.zeros(()))
    blank = torch.zeros(1, preprocess.channels, *preprocess.size).to(weight)
    with ExitStack() as hooks, torch.no_grad():
        for name, module in network.named_modules():
            if name:
                hooks.enter_context(_removed(module.register_forward_pre_hook(note(name, True))))
                hooks.enter_context(_removed(module.register_forward_hook(note(name, False))))
        network(blank)
    return passages


class _removed:
    """A hook that is taken off at the end of a block."""

    def __init__(self, handle: Any):
        self.handle = handle

    def __enter__(self) -> None: ...

    def __exit__(self, *_: object) -> None:
        self.handle.remove()


def _channels_first(shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape of the same tensor with the last axis moved behind the batch."""
    return (*shape[:1], *shape[-1:], *shape[1:-1])


def _is_map(shape: tuple[int, ...], size: tuple[int, int]) -> bool:
    """Whether a tensor is channels first, with more than one cell, of about the proportions of the image."""
    if len(shape) != 4 or shape[2] * shape[3] < 4:
        return False
    height, width = shape[2] / size[0], shape[3] / size[1]
    return max(height, width) <= 1 and _skew(shape, size) <= 2 / min(size) + 0.05 * max(height, width)


def _skew(shape: tuple[int, ...], size: tuple[int, int]) -> float:
    """How far the proportions of maps, channels first, are from those of the image."""
    return abs(shape[2] / size[0] - shape[3] / size[1])


def _tokens_follow(passages: list[_Passage]) -> bool:
    """Whether a transformer works on after the last feature map, which then says little about the prediction."""
    return any(len(passage.shape) == 3 and passage.shape[1] > 1 for passage in passages)
