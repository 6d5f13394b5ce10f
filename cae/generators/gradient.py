"""Gradient descent in pixels, the adversarial floor: what convinces a classifier when nothing keeps images real."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from cae.generators.base import Generated, Generator

STEPS = 200
RATE = 1 / 255  # of Adam, whose steps are about as large: one grey level a step
NEAR = 10.0  # weight of the mean absolute change


def total_variation(images: Tensor) -> Tensor:
    """Mean absolute difference ``(B,)`` of neighbouring pixels of ``(B, C, H, W)``, down and to the right, added.

    Reference: Rudin, Osher and Fatemi 1992, Physica D 60, in its anisotropic form.
    """
    down = (images[..., 1:, :] - images[..., :-1, :]).abs().flatten(1).mean(1)
    right = (images[..., 1:] - images[..., :-1]).abs().flatten(1).mean(1)
    return down + right


def pixel_loss(logits: Tensor, targets: Tensor, change: Tensor) -> Tensor:
    """``KL(e_t || f(x')) + 10 mean |x' - x| + TV(x' - x)`` of each image, ``(B,)``.

    Args:
        logits: ``(B, K)`` for the changed images.
        targets: ``(B,)``.
        change: ``(B, C, H, W)``, changed images minus originals.
    """
    near = change.abs().flatten(1).mean(1)
    return F.cross_entropy(logits, targets, reduction="none") + NEAR * near + total_variation(change)


def descend(
    logits: Callable[[Tensor], Tensor],
    reached: Callable[[Tensor, Tensor], Tensor],
    images: Tensor,
    targets: Tensor,
    steps: int = STEPS,
    rate: float = RATE,
) -> Tensor:
    """Images ``(B, C, H, W)`` changed by Adam until they reach their targets, the first that does; else the last.

    Args:
        logits: differentiable, of images ``(n, C, H, W)``.
        reached: whether images ``(n, C, H, W)`` are as wanted, for their targets ``(n,)``; no gradient.
        images: in [0, 1].
        targets: ``(B,)``.
        steps: at most.
        rate: learning rate.
    """
    change = torch.zeros_like(images, requires_grad=True)
    optimiser = torch.optim.Adam([change], lr=rate)
    found, left = images.clone(), torch.arange(len(images), device=images.device)
    for _ in range(steps):
        optimiser.zero_grad()
        with torch.enable_grad():
            changed = (images[left] + change[left]).clamp(0, 1)
            # as a sum, so that no image's gradient depends on how many others there are
            pixel_loss(logits(changed), targets[left], change[left]).sum().backward()
        optimiser.step()
        found[left] = (images[left] + change.detach()[left]).clamp(0, 1)
        left = left[~reached(found[left], targets[left])]
        if not len(left):
            break
    return found


class PixelGradient(Generator):
    """Adam on the pixels against the classifier's answer, the mean absolute change and its total variation.

    It knows no images: what it finds tells how little a classifier needs to be convinced, not what a class looks like.

    Reference: Szegedy et al. 2014, arXiv:1312.6199; Wachter et al. 2017, arXiv:1711.00399, eq. 2.
    """

    words = "gradient descent in pixels, the adversarial floor"
    needs_gradients = True

    @property
    def parameters(self) -> dict[str, Any]:
        """Steps, learning rate and weight."""
        return {"steps": STEPS, "rate": RATE, "near": NEAR}

    def generate(self, images: Tensor, targets: Tensor) -> Generated:
        """The first image of each descent that reaches the margin, else the last."""
        return Generated(descend(self.run.classifier.logits, self.reached, images, targets))
