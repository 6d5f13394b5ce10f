"""Explainers that follow gradients: Integrated Gradients, SmoothGrad and Grad-CAM, computed by captum.

What is explained is by default the log-odds of the class, ``log p / (1 - p)``: a logit alone has no meaning (adding
one number to all of them changes no probability), and the probability itself is flat where the classifier is sure.
``output="logit"`` follows the publications to the letter.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable

import torch
from torch import Tensor, nn

from cae.classifiers import TargetClassifier
from cae.errors import UserError
from cae.metrics.log_odds import log_odds
from explainers.base import Explainer, Instance, InstanceResult
from explainers.baselines.layers import FeatureLayer, feature_layer
from explainers.option_checks import below, unknown

BASELINES = {"black": 0.0, "grey": 0.5, "white": 1.0}


OUTPUTS: dict[str, Callable[[Tensor, int], Tensor]] = {
    "log_odds": log_odds,
    "logit": lambda logits, target: logits[:, target],
    "probability": lambda logits, target: logits.softmax(1)[:, target],
}


class GradientExplainer(Explainer):
    """What these methods share: the output for the class, and gradients with respect to the image alone.

    Args:
        classifier: the classifier to explain.
        batch_size: images in one forward pass at most.
        output: what is differentiated: ``log_odds``, ``logit`` or ``probability`` of the class.
    """

    needs_gradients = True

    def __init__(self, classifier: TargetClassifier, *, batch_size: int = 64, output: str = "log_odds"):
        super().__init__(classifier, batch_size=batch_size)
        self.output = output
        _refuse(unknown(self, "output", OUTPUTS))

    def explain_image(self, instance: Instance) -> InstanceResult:
        """Differentiate the output for the target."""
        # a copy that autograd may follow, even where the caller is in inference mode
        with torch.inference_mode(False), torch.enable_grad():
            found = self.attribution(instance.image.clone()[None], instance)
        return InstanceResult(found.detach())

    @abstractmethod
    def attribution(self, image: Tensor, instance: Instance) -> Tensor:
        """The map ``(1, H, W)`` of an image ``(1, C, H, W)``."""

    def output_of(self, target: int) -> Callable[[Tensor], Tensor]:
        """The function of images ``(B, C, H, W)`` that is differentiated, with values ``(B,)``."""
        return lambda images: OUTPUTS[self.output](self.classifier.logits(images), target)


class IntegratedGradients(GradientExplainer):
    """Gradients along the straight line from a plain image to the given one, times the difference of the two.

    The map sums to the difference of the output between the image and the plain one, up to the error of ``steps``
    points of Gauss-Legendre quadrature; channels are summed.

    Args:
        classifier: the classifier to explain.
        batch_size: images in one forward pass at most.
        output: what is differentiated: ``log_odds``, ``logit`` or ``probability`` of the class.
        steps: points on the line.
        baseline: the plain image: ``black``, ``grey`` or ``white``. Pixels of its colour get no attribution.

    Reference: Sundararajan et al. 2017, arXiv:1703.01365, eq. 1.
    """

    name = "integrated_gradients"

    def __init__(
        self,
        classifier: TargetClassifier,
        *,
        batch_size: int = 64,
        output: str = "log_odds",
        steps: int = 50,
        baseline: str = "black",
    ):
        super().__init__(classifier, batch_size=batch_size, output=output)
        self.steps = steps
        self.baseline = baseline
        _refuse(below(self, 1, "steps") + unknown(self, "baseline", BASELINES))

    def attribution(self, image: Tensor, instance: Instance) -> Tensor:
        """Integrate the gradient along the line."""
        # with matplotlib, which a list of methods should not wait for
        from captum.attr import IntegratedGradients as CaptumIntegratedGradients

        method = CaptumIntegratedGradients(self.output_of(instance.target))
        found = method.attribute(
            image, BASELINES[self.baseline], n_steps=self.steps, internal_batch_size=self.batch_size
        )
        return found.sum(1)


class SmoothGrad(GradientExplainer):
    """Mean gradient over noisy copies of the image, signed; channels are summed.

    Args:
        classifier: the classifier to explain.
        batch_size: images in one forward pass at most.
        output: what is differentiated: ``log_odds``, ``logit`` or ``probability`` of the class.
        samples: noisy copies.
        noise: standard deviation of the noise, as a share of the image's range from its darkest to its lightest value.

    Reference: Smilkov et al. 2017, arXiv:1706.03825, section 3.
    """

    name = "smoothgrad"

    def __init__(
        self,
        classifier: TargetClassifier,
        *,
        batch_size: int = 64,
        output: str = "log_odds",
        samples: int = 50,
        noise: float = 0.15,
    ):
        super().__init__(classifier, batch_size=batch_size, output=output)
        self.samples = samples
        self.noise = noise
        negative = [f"`noise` must not be negative, but is {noise}."] if noise < 0 else []
        _refuse(below(self, 1, "samples") + negative)

    def attribution(self, image: Tensor, instance: Instance) -> Tensor:
        """Average the gradients."""
        from captum.attr import Saliency  # with matplotlib, which a list of methods should not wait for

        # captum's NoiseTunnel (0.9.0) draws from the global random state, and other noise for other batches
        saliency = Saliency(self.output_of(instance.target))
        generator = instance.generator()
        scale = self.noise * float(image.max() - image.min())
        total = torch.zeros_like(image[0])
        for start in range(0, self.samples, self.batch_size):
            count = min(self.batch_size, self.samples - start)
            noise = torch.stack([torch.randn(image.shape[1:], generator=generator) for _ in range(count)])
            copies = (image + scale * noise.to(image)).requires_grad_()
            total += saliency.attribute(copies, abs=False).sum(0)
        return (total / self.samples).sum(0, keepdim=True)


class GradCam(GradientExplainer):
    """Feature maps of a late layer, weighted by the mean gradient of the output in each, upsampled bilinearly.

    The map is signed, as before the rectification of the publication, whose map is its positive part. Its unit is
    that of the output, not shared out over pixels: the map shows where, on the scale of the layer's cells.

    Args:
        classifier: the classifier to explain.
        batch_size: images in one forward pass at most.
        output: what is differentiated: ``log_odds``, ``logit`` or ``probability`` of the class.
        layer_name: name of the layer, as ``named_modules`` of the network spells it; by default the last one with
            feature maps, before they are pooled.

    Reference: Selvaraju et al. 2017, arXiv:1610.02391, eqs. 1 and 2.
    """

    name = "gradcam"

    def __init__(
        self,
        classifier: TargetClassifier,
        *,
        batch_size: int = 64,
        output: str = "log_odds",
        layer_name: str | None = None,
    ):
        super().__init__(classifier, batch_size=batch_size, output=output)
        self.layer_name = layer_name
        self._layer: FeatureLayer = feature_layer(classifier, layer_name)

    def attribution(self, image: Tensor, instance: Instance) -> Tensor:
        """Weight the feature maps and enlarge the sum."""
        # with matplotlib, which a list of methods should not wait for
        from captum.attr import LayerAttribution, LayerGradCam

        method = LayerGradCam(self.output_of(instance.target), self._layer.module)
        # with frozen weights, the layer has a gradient only if the image asks for one
        image = image.requires_grad_()
        if self._layer.channels_last:
            coarse = _channels_last_map(self.output_of(instance.target), self._layer.module, image)
        else:
            coarse = method.attribute(image, attribute_to_layer_input=self._layer.input)
        return LayerAttribution.interpolate(coarse, tuple(image.shape[2:]), interpolate_mode="bilinear")[0]


def _channels_last_map(output: Callable[[Tensor], Tensor], layer: nn.Module, image: Tensor) -> Tensor:
    """Grad-CAM ``(1, 1, h, w)`` of a layer that gives ``(1, h, w, F)``, which captum would read as ``(1, F, h, w)``."""
    seen: list[Tensor] = []
    handle = layer.register_forward_hook(lambda _, __, maps: seen.append(maps))
    try:
        score = output(image).sum()
    finally:
        handle.remove()
    (gradient,) = torch.autograd.grad(score, seen[-1])
    return (gradient.mean((1, 2), keepdim=True) * seen[-1]).sum(3)[:, None].detach()


def _refuse(problems: list[str]) -> None:
    if problems:
        raise UserError(problems)
