"""Statistics over the batches of all processes, so that several with small batches train as one with a large one."""

from __future__ import annotations

from typing import Any

import torch
from pytorch_lightning.plugins.layer_sync import LayerSync
from torch import Tensor, distributed, nn

from cae.training.losses import full_precision


def processes() -> int:
    """How many processes train together."""
    return distributed.get_world_size() if distributed.is_available() and distributed.is_initialized() else 1


class _SumOverProcesses(torch.autograd.Function):
    """All-reduce whose gradient is the all-reduced gradient; PyTorch 2.15 gives its own up."""

    @staticmethod
    def forward(ctx: Any, tensor: Tensor) -> Tensor:
        total = tensor.clone(memory_format=torch.contiguous_format)
        distributed.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:  # applied, so that it can be differentiated again
        return _SumOverProcesses.apply(gradients[0])


def sum_over_processes(tensor: Tensor) -> Tensor:
    """The sum of a tensor over all processes, with gradients to each of them; alone, the tensor itself."""
    return tensor if processes() == 1 else _SumOverProcesses.apply(tensor)


def gather_over_processes(rows: Tensor) -> Tensor:
    """Rows ``(B, …)`` of all processes, ``(N B, …)`` in their order, with gradients to each of them.

    Every process must have as many.
    """
    count = processes()
    if count == 1:
        return rows
    places = rows.new_zeros((count, *rows.shape))
    return sum_over_processes(places.index_copy(0, _rank(rows), rows[None])).flatten(0, 1)


def _rank(like: Tensor) -> Tensor:
    return torch.tensor([distributed.get_rank()], device=like.device)


def batch_moments(inputs: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Mean ``(C,)``, biased variance ``(C,)`` and number of values per channel, of the batches of all processes.

    Args:
        inputs: ``(B, C, …)``; B may differ between processes.
    """
    values = full_precision(inputs).transpose(0, 1).flatten(1)
    count = values.new_full((1,), float(values.shape[1]))
    total = sum_over_processes(torch.cat([values.sum(1), count]))
    mean, count = total[:-1] / total[-1], total[-1]
    # a second sum: the difference of two large ones would lose digits
    variance = sum_over_processes((values - mean[:, None]).square().sum(1)) / count
    return mean, variance, count


class _Synchronised(nn.modules.batchnorm._BatchNorm):
    """Batch norm whose statistics in training are those of all processes."""

    def forward(self, inputs: Tensor) -> Tensor:
        if processes() == 1 or not self.training:
            return super().forward(inputs)
        mean, variance, count = batch_moments(inputs)
        self._remember(mean.detach(), variance.detach() * count / (count - 1).clamp_min(1))
        shape = (1, -1, *(1 for _ in inputs.shape[2:]))
        normalised = (full_precision(inputs) - mean.view(shape)) * (variance + self.eps).rsqrt().view(shape)
        if self.affine:
            normalised = normalised * self.weight.view(shape) + self.bias.view(shape)
        return normalised.to(inputs.dtype)

    @torch.no_grad()
    def _remember(self, mean: Tensor, variance: Tensor) -> None:
        if self.running_mean is None or self.running_var is None or self.num_batches_tracked is None:
            return
        self.num_batches_tracked.add_(1)
        share = 1 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean, share)
        self.running_var.lerp_(variance, share)


class _Synchronised1d(_Synchronised, nn.BatchNorm1d):
    """Of vectors and sequences."""


class _Synchronised2d(_Synchronised, nn.BatchNorm2d):
    """Of images."""


_KINDS: dict[type[nn.Module], type[nn.Module]] = {nn.BatchNorm1d: _Synchronised1d, nn.BatchNorm2d: _Synchronised2d}


class SynchronisedBatchNorm(LayerSync):
    """What makes batch norm count over all processes while a strategy of several trains, on any device.

    Lightning's own (2.6) needs CUDA, and its gradient cannot be differentiated again, as a gradient penalty must.
    Layers stay the same objects: only their class changes.
    """

    def apply(self, model: nn.Module) -> nn.Module:
        """Make the batch norms of a model synchronised ones."""
        return _with_classes(model, _KINDS)

    def revert(self, model: nn.Module) -> nn.Module:
        """Make them plain ones again."""
        return _with_classes(model, {synchronised: plain for plain, synchronised in _KINDS.items()})


def _with_classes(model: nn.Module, classes: dict[type[nn.Module], type[nn.Module]]) -> nn.Module:
    for layer in model.modules():
        layer.__class__ = classes.get(type(layer), type(layer))
    return model
