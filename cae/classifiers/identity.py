"""What tells classifiers apart: their weights, their names, and their answers to fixed images."""

from __future__ import annotations

import copy
import hashlib
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

DECIMALS = 3  # of probabilities in a fingerprint, so that another order of additions does not change it


def probe_images(shape: tuple[int, int, int]) -> Tensor:
    """Three fixed images ``(3, C, H, W)`` in [0, 1]: noise, dark noise, and a ramp from left to right."""
    noise = torch.rand(2, *shape, generator=torch.Generator().manual_seed(0))
    noise[1] *= 0.5
    ramp = torch.linspace(0, 1, shape[2]).expand(1, *shape)
    return torch.cat([noise, ramp])


def own_copy(network: Any) -> Any:
    """A copy of a module, so that the user's own stays as it is; functions, and what cannot be copied, as they are."""
    if not isinstance(network, nn.Module):
        return network
    try:
        with torch.no_grad():  # or the weights of a TorchScript module would be no leaves
            return copy.deepcopy(network)
    except Exception as error:  # a module may hold anything, such as weights computed from others
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        warnings.warn(
            f"The network {type(network).__name__} cannot be copied ({reason}): it is frozen and put into evaluation "
            "mode in place.",
            stacklevel=3,
        )
        return network


def state_digest(network: nn.Module) -> str:
    """SHA-256 over names, types, shapes and bytes of a network's state, in the order of the names."""
    return weights_digest(network.state_dict())


def weights_digest(weights: Mapping[str, Tensor]) -> str:
    """The same of a state that is read from a file, without a network."""
    digest = hashlib.sha256()
    for name, tensor in sorted(weights.items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def answers_digest(probabilities: Tensor) -> str:
    """SHA-256 over rounded probabilities ``(B, K)``."""
    rounded = np.rint(probabilities.detach().cpu().double().numpy() * 10**DECIMALS).astype(np.int64)
    return hashlib.sha256(rounded.tobytes()).hexdigest()


def callable_name(function: Callable[..., Any]) -> str:
    """Module and name of a function, or of the class of a callable object."""
    named = function if hasattr(function, "__qualname__") else type(function)
    return f"{named.__module__}.{named.__qualname__}"
