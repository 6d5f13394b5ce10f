"""How smoothly a path leads from one class to another: pure functions of what was seen at its points."""

from __future__ import annotations

import torch
from torch import Tensor


def monotone_share(probabilities: Tensor, tolerance: float = 1e-3) -> Tensor:
    """Share of steps ``(...)``, in [0, 1], in which the target's probability ``(..., G)`` does not fall.

    Args:
        probabilities: probability of the target class at the G points of the path.
        tolerance: a fall of at most this is no fall.
    """
    return (probabilities.diff(dim=-1) >= -tolerance).float().mean(-1)


def largest_jump(probabilities: Tensor) -> Tensor:
    """Largest change ``(...)`` of the probability ``(..., G)`` between neighbouring points; 1 is a switch."""
    return probabilities.diff(dim=-1).abs().amax(-1)


def backtracking(probabilities: Tensor) -> Tensor:
    """How far ``(...)`` the probability ``(..., G)`` moves beyond its change from start to end; 0 if monotone."""
    return probabilities.diff(dim=-1).abs().sum(-1) - (probabilities[..., -1] - probabilities[..., 0]).abs()


def lipschitz(images: Tensor, codes: Tensor) -> float:
    """Largest ``|dx| / |dc|`` from one point to the next: how far the image moves when the code moves by one.

    Args:
        images: ``(G, ...)`` images along the path.
        codes: ``(G, D)`` class codes along the path. Steps that do not move the code are left out; 0 if none does.
    """
    image_steps = images.double().flatten(1).diff(dim=0).norm(dim=1)
    code_steps = codes.double().diff(dim=0).norm(dim=1)
    moved = code_steps > 0
    return float((image_steps[moved] / code_steps[moved]).amax()) if torch.any(moved) else 0.0
