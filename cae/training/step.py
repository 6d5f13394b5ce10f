"""What training steps share: a seed of their own, and the running average of the weights."""

from __future__ import annotations

import torch
from torch import nn


def step_seed(seed: int, step: int, rank: int) -> int:
    """A seed that follows from that of the run, the step and the process, so that a resumed run draws the same."""
    return ((seed * 1_000_003 + step) * 4096 + rank) % 2**63


@torch.no_grad()
def average_weights(average: nn.Module, current: nn.Module, steps: int, decay: float) -> None:
    """Move the averaged weights towards the current ones, in place; buffers are copied.

    Args:
        average: of the same structure as ``current``.
        current: the network that is trained.
        steps: optimiser steps so far, at least 1; early on the memory is shorter.
        decay: share that the average keeps.
    """
    decay = min(decay, steps / (9 + steps))
    # all tensors in one call each: a loop over them launches a kernel for every one
    torch._foreach_lerp_(list(average.parameters()), list(current.parameters()), 1 - decay)
    buffers = list(average.buffers())
    if buffers:
        torch._foreach_copy_(buffers, list(current.buffers()))
