"""What a training remembers of the codes of earlier steps: their scale, and the newest class codes."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from cae.training.losses import full_precision
from cae.training.synchronisation import gather_over_processes


class RunningScale(nn.Module):
    """sigma: running mean of the batch's mean absolute deviation of a code; 1 before the first update."""

    scale: Tensor
    updates: Tensor

    def __init__(self, decay: float = 0.99):
        super().__init__()
        self.decay = decay
        self.register_buffer("scale", torch.ones(()))
        self.register_buffer("updates", torch.zeros((), dtype=torch.int64))

    @torch.no_grad()
    def forward(self, codes: Tensor) -> Tensor:
        """Take in codes ``(B, ...)`` of every process and return sigma, a scalar without gradient.

        The first batch sets it.
        A single code has no deviation and leaves sigma as it is.
        """
        codes = gather_over_processes(full_precision(codes))
        if len(codes) > 1:
            deviation = (codes - codes.mean(0)).abs().mean().to(self.scale)
            running = self.decay * self.scale + (1 - self.decay) * deviation
            self.scale.copy_(torch.where(self.updates == 0, deviation, running))
            self.updates += 1
        return self.sigma

    @property
    def sigma(self) -> Tensor:
        """The present scale, a copy: later updates must not touch a graph that holds it."""
        return self.scale.clone()


class CodeQueue(nn.Module):
    """The newest ``size`` class codes, detached: variances and covariances need more of them than one batch has."""

    codes: Tensor
    filled: Tensor

    def __init__(self, size: int, class_dim: int):
        super().__init__()
        self.register_buffer("codes", torch.zeros(size, class_dim))
        self.register_buffer("filled", torch.zeros((), dtype=torch.int64))
        self._count: int | None = 0
        self.register_load_state_dict_post_hook(_forget_count)

    @property
    def count(self) -> int:
        """How many codes it holds."""
        # kept beside the buffer, so that a training step does not wait for the device
        if self._count is None:
            self._count = int(self.filled)
        return self._count

    @torch.no_grad()
    def push(self, codes: Tensor) -> None:
        """Put ``(B, d)`` codes in front; the oldest fall out."""
        size = len(self.codes)
        count = min(self.count + len(codes), size)
        self.codes.copy_(torch.cat([codes.to(self.codes), self.codes])[:size])
        self.filled.fill_(count)
        self._count = count

    def view(self) -> Tensor:
        """A copy of what the queue holds, newest first: ``(n, d)`` codes, n <= size."""
        return self.codes[: self.count].clone()


def _forget_count(queue: nn.Module, _: object) -> None:
    queue._count = None  # type: ignore[assignment]
