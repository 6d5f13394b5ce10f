"""Maps that know nothing of the classifier: what every table of explainers must be read against."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from explainers.base import Explainer, Instance, InstanceResult


class RandomMap(Explainer):
    """Independent uniform noise in every pixel."""

    name = "random"
    class_specific = False

    def explain_image(self, instance: Instance) -> InstanceResult:
        """Draw the map."""
        return InstanceResult(torch.rand(instance.image.shape[1:], generator=instance.generator()))


class CentreMap(Explainer):
    """A Gaussian bump at the centre, of a quarter of the image's size as standard deviation."""

    name = "centre"
    class_specific = False

    def explain_image(self, instance: Instance) -> InstanceResult:
        """Draw the bump."""
        height, width = instance.image.shape[1:]
        y = torch.linspace(-2, 2, height)[:, None]
        x = torch.linspace(-2, 2, width)[None]
        return InstanceResult(torch.exp(-(y**2 + x**2) / 2))


class EdgeMap(Explainer):
    """Magnitude of the image's Sobel gradient, the mean over channels."""

    name = "edges"
    class_specific = False

    def explain_image(self, instance: Instance) -> InstanceResult:
        """Filter the image."""
        return InstanceResult(sobel_magnitude(instance.image[None])[0])


class ConstantMap(Explainer):
    """One in every pixel."""

    name = "constant"
    class_specific = False

    def explain_image(self, instance: Instance) -> InstanceResult:
        """Fill the map."""
        return InstanceResult(torch.ones(instance.image.shape[1:]))


def sobel_magnitude(images: Tensor) -> Tensor:
    """Magnitude of the Sobel gradient ``(B, 1, H, W)`` of the channel mean of images ``(B, C, H, W)``, per pixel."""
    kernel = images.new_tensor([[1.0, 2.0, 1.0], [0.0, 0.0, 0.0], [-1.0, -2.0, -1.0]]) / 8
    grey = F.pad(images.mean(1, keepdim=True), (1, 1, 1, 1), mode="replicate")
    return F.conv2d(grey, torch.stack([kernel, kernel.T])[:, None]).norm(dim=1, keepdim=True)
