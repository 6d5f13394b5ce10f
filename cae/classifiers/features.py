"""Penultimate features of foreign networks: where they are found, and how they are read."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

SOURCES = ("timm", "method", "linear")


def find_features(network: Any, inputs: Tensor) -> str | None:
    """Which of the known ways to penultimate features works on this network; None where none does."""
    for source in SOURCES:
        with torch.no_grad():
            try:
                found = features_from(source, network, inputs.clone())
            except Exception:  # foreign networks may have anything under these names
                continue
        if isinstance(found, Tensor) and found.ndim == 2:
            return source
    return None


def features_from(source: str, network: Any, inputs: Tensor) -> Tensor:
    """Features ``(B, F)`` of preprocessed images, by one of ``SOURCES``."""
    if source == "timm":
        return network.forward_head(network.forward_features(inputs), pre_logits=True)
    if source == "method":
        return network.features(inputs)
    return _input_of_last_linear(network, inputs)


def last_linear(network: nn.Module) -> nn.Linear | None:
    """The last ``nn.Linear`` of a network, in the order of its modules; None where it has none."""
    found = [part for part in network.modules() if isinstance(part, nn.Linear)]
    return found[-1] if found else None


def head_of(network: nn.Module) -> nn.Linear:
    """The last ``nn.Linear`` of a network that has one.

    Raises:
        ValueError: if it has none.
    """
    head = last_linear(network)
    if head is None:
        raise ValueError("The network has no linear layer.")
    return head


def _input_of_last_linear(network: nn.Module, inputs: Tensor) -> Tensor:
    """What the last ``nn.Linear`` of a network is given."""
    seen: list[Tensor] = []
    handle = head_of(network).register_forward_pre_hook(lambda _, arguments: seen.append(arguments[0]))
    try:
        network(inputs)
    finally:
        handle.remove()
    return seen[-1]
