"""An explainer in one file, as a contributor would write it: how bright a pixel is, whatever the classifier."""

from __future__ import annotations

from cae.classifiers import TargetClassifier
from explainers.base import Explainer, Instance, InstanceResult


class Brightness(Explainer):
    """Mean over the channels, to a power.

    Args:
        classifier: asked for the class alone.
        batch_size: images in one forward pass at most.
        power: exponent of the brightness.
    """

    name = "brightness"
    class_specific = False

    def __init__(self, classifier: TargetClassifier, *, batch_size: int = 64, power: float = 1.0):
        super().__init__(classifier, batch_size=batch_size)
        self.power = power

    def explain_image(self, subject: Instance) -> InstanceResult:
        """The map ``(1, H, W)`` of one image."""
        return InstanceResult(subject.image.mean(0, keepdim=True) ** self.power)
