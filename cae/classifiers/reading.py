"""Logits, penultimate features and feature maps of a frozen classifier, all read in one pass."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from cae.classifiers.features import last_linear
from cae.classifiers.target import TargetClassifier

SMALLEST_MAP = 2  # pixels a side; what is smaller tells no places


@dataclass(frozen=True)
class Reading:
    """What a classifier makes of B images.

    Attributes:
        logits: ``(B, K)``.
        features: ``(B, F)`` that the last linear layer sees.
        maps: ``(B, C, h, w)`` the last of each size, fine to coarse.
    """

    logits: Tensor
    features: Tensor
    maps: tuple[Tensor, ...] = ()


class ClassifierReader:
    """Reads a classifier from within, by hooks that are removed after every pass.

    A map is what a module gives, the last of those whose maps are of one size. Of transformers it is made of the tokens
    of the patches. A copy of a reader reads the same classifier: it is frozen.

    Args:
        classifier: with gradients, and with a linear layer at its end.

    Attributes:
        feature_size: F.
        map_shapes: ``(C, h, w)`` of each map, fine to coarse.

    Raises:
        ValueError: if it cannot be read (see ``readable``).
    """

    def __init__(self, classifier: TargetClassifier):
        self.classifier = classifier
        linear = last_linear(classifier.network) if isinstance(classifier.network, nn.Module) else None
        if linear is None or not classifier.differentiable:
            raise ValueError("The classifier has no linear layer whose input could be read.")
        self._linear = linear
        self._sources = self._find_maps()
        blank = self._blank()
        reading = self(blank)
        self.feature_size = reading.features.shape[1]
        self.map_shapes = tuple((shape[1], shape[2], shape[3]) for shape in (level.shape for level in reading.maps))

    def __deepcopy__(self, memo: dict[int, Any]) -> ClassifierReader:
        return self

    def __call__(self, images: Tensor, maps: bool = True) -> Reading:
        """Read images ``(B, C, H, W)`` in [0, 1]; without ``maps`` features and logits alone."""
        features: list[Tensor] = []
        found: dict[tuple[int, int], Tensor] = {}

        def keep_input(_: nn.Module, arguments: tuple[Any, ...]) -> None:
            features.append(arguments[0])

        def keep_map(size: tuple[int, int]) -> Callable[[nn.Module, Any, Any], None]:
            def keep(_: nn.Module, __: Any, output: Any) -> None:
                grid = as_map(output)
                if grid is not None and tuple(grid.shape[-2:]) == size:
                    found[size] = grid  # a module may be used several times: the last counts

            return keep

        with ExitStack() as hooks:
            hooks.callback(self._linear.register_forward_pre_hook(keep_input).remove)
            if maps:
                for size, module in self._sources.items():
                    hooks.callback(module.register_forward_hook(keep_map(size)).remove)
            logits = self.classifier.logits(images, by_module=True)
        read = features[-1]
        if read.ndim != 2:
            raise ValueError("The last linear layer of the classifier does not see one vector for each image.")
        return Reading(logits.float(), read.float(), tuple(found[size].float() for size in self._sources if maps))

    @torch.no_grad()
    def _find_maps(self) -> dict[tuple[int, int], nn.Module]:
        """The module that gives the last map of each size, fine to coarse."""
        network: nn.Module = self.classifier.network
        last: dict[tuple[int, int], nn.Module] = {}
        height, width = self.classifier.image_shape[1:]

        def look(module: nn.Module, _: Any, output: Any) -> None:
            grid = as_map(output)
            if grid is not None and min(grid.shape[-2:]) >= SMALLEST_MAP:
                last[(grid.shape[-2], grid.shape[-1])] = module

        with ExitStack() as hooks:
            for module in network.modules():
                if module is not network:
                    hooks.callback(module.register_forward_hook(look).remove)
            self.classifier.logits(self._blank(), by_module=True)
        small = {size: module for size, module in last.items() if size[0] <= height / 2 or size[1] <= width / 2}
        return dict(sorted((small or last).items(), reverse=True))

    def _blank(self) -> Tensor:
        weights = next(iter(self.classifier.parameters()), torch.zeros(()))
        return torch.full((1, *self.classifier.image_shape), 0.5, device=weights.device)


def readable(classifier: TargetClassifier) -> ClassifierReader | None:
    """A reader of the classifier, or None for one that shows neither features nor any map."""
    if not classifier.differentiable or isinstance(classifier.network, torch.jit.ScriptModule):
        return None
    try:
        reader = ClassifierReader(classifier)
    except (ValueError, KeyError, IndexError):
        return None
    return reader if reader.map_shapes else None


def as_map(output: Any) -> Tensor | None:
    """What a module gives as a map ``(B, C, h, w)``, or None if it is none.

    Maps with their channels last, and the tokens of square grids of patches (with or without one for the class), are
    brought into this order.
    """
    if not isinstance(output, Tensor) or not output.is_floating_point():
        return None
    if output.ndim == 4:
        channels_last = output.shape[1] == output.shape[2] != output.shape[3]
        return output.permute(0, 3, 1, 2) if channels_last else output
    if output.ndim != 3:
        return None
    for extra in (0, 1):
        side = math.isqrt(max(output.shape[1] - extra, 0))
        if side >= 4 and side * side == output.shape[1] - extra:
            return output[:, extra:].transpose(1, 2).unflatten(2, (side, side))
    return None
