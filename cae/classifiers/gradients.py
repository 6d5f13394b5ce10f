"""Whether the gradients of a classifier are there, and say anything."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import torch
from torch import Tensor

from cae.errors import UserError


def check_gradients(logits: Callable[[Tensor], Tensor], image: Tensor, name: str) -> None:
    """Ask once for the gradient of the logits of an image ``(1, C, H, W)``; ``name`` is the classifier's.

    Raises:
        UserError: if the network computes without gradients.
    """
    with torch.enable_grad():
        images = image.detach().clone().requires_grad_()
        scores = logits(images)
        gradient = None
        if scores.requires_grad:
            # the plain sum of log-probabilities may have no slope where each of them has one
            weights = torch.linspace(1, 2, scores.shape[1], device=scores.device)
            (gradient,) = torch.autograd.grad((scores * weights).sum(), images, allow_unused=True)
    if gradient is None:
        raise UserError(
            f"The classifier {name} gives no gradients with respect to its input, as it computes inside "
            "torch.no_grad() or inference_mode(), or detaches what it is given: take that out of its forward method, "
            "or use a method that only asks for scores, such as occlusion or rise."
        )
    if not bool(gradient.any()):
        warnings.warn(
            f"The gradients of the classifier {name} were zero everywhere for an image of noise, as of one that rounds "
            "its input: maps made of them show nothing; use a method that only asks for scores, such as occlusion.",
            stacklevel=3,
        )
