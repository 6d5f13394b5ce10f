"""Occlusion: how much the class loses when a grey window hides a part of the image, computed by captum."""

from __future__ import annotations

import torch

from cae.classifiers import TargetClassifier
from cae.errors import UserError
from explainers.base import Explainer, Instance, InstanceResult
from explainers.infills.windows import default_window


class Occlusion(Explainer):
    """Loss of the class's probability by each window, the mean over the windows that cover a pixel, in [-1, 1].

    Args:
        classifier: the classifier to explain.
        batch_size: images in one forward pass at most.
        window: side of the square window in pixels; by default the power of two nearest to a seventh of the image.
        stride: pixels between windows; by default half a window (at 224 pixels: 169 windows of 32, 170 evaluations).
        fill: grey value of the window, in [0, 1].

    Reference: Zeiler and Fergus 2014, arXiv:1311.2901, section 4.2.
    """

    name = "occlusion"

    def __init__(
        self,
        classifier: TargetClassifier,
        *,
        batch_size: int = 64,
        window: int | None = None,
        stride: int | None = None,
        fill: float = 0.5,
    ):
        super().__init__(classifier, batch_size=batch_size)
        if not 0 <= fill <= 1:
            raise UserError(f"`fill` must be a grey value in [0, 1], but is {fill}.")
        self.window = window
        self.stride = stride
        self.fill = fill

    def explain_image(self, instance: Instance) -> InstanceResult:
        """Slide the window over the image."""
        # with matplotlib, which a list of methods should not wait for
        from captum.attr import Occlusion as CaptumOcclusion

        channels, height, width = instance.image.shape
        window, stride = self._geometry(height, width)
        method = CaptumOcclusion(lambda images: self.score(images)[:, instance.target])
        with torch.no_grad():
            found = method.attribute(
                instance.image[None],
                sliding_window_shapes=(channels, window, window),
                strides=(channels, stride, stride),
                baselines=self.fill,
                perturbations_per_eval=self.batch_size,
            )
        # the window covers all channels, and captum gives each of them its whole effect
        return InstanceResult(found[0, :1])

    def _geometry(self, height: int, width: int) -> tuple[int, int]:
        window = self.window if self.window is not None else default_window((height, width))
        if not 1 <= window <= min(height, width):
            raise UserError(f"`window` must be in [1, {min(height, width)}], the image's side, but is {window}.")
        stride = self.stride if self.stride is not None else max(window // 2, 1)
        if not 1 <= stride <= window:
            raise UserError(f"`stride` must be in [1, {window}], the window's side, but is {stride}.")
        return window, stride
