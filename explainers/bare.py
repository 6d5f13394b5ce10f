"""An explainer of a bare network or function: its classifier is made for the first images that it is given."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor

from cae.classifiers import TargetClassifier
from cae.classifiers.bare import wrap_model
from cae.classifiers.target import input_channels
from cae.errors import UserError
from explainers.base import Explainer, Inputs, Instance, InstanceResult, Target
from explainers.explanation import Explanation
from explainers.inputs import as_images

MODEL_OPTIONS = ("classes", "mean", "std")  # of the classifier, not of the method


class BareModelExplainer(Explainer):
    """An explainer that waits for images before it wraps the user's model, as their size is the model's.

    Args:
        make: from the classifier to the explainer.
        model: an ``nn.Module`` or any callable; it is copied, not changed.
        settings: ``classes``, ``mean`` and ``std`` of the model.

    Raises:
        UserError: if the model can be no classifier.
    """

    def __init__(self, make: Callable[[TargetClassifier], Explainer], model: Any, settings: dict[str, Any]):
        if not callable(model):
            raise UserError(
                f"The classifier must be a TargetClassifier, a PyTorch module or a function of images, but is a "
                f"{type(model).__name__}."
            )
        self._make, self._model, self._settings = make, model, settings
        self._made: dict[tuple[int, ...], Explainer] = {}

    def __call__(self, images: Any, target: Target = None, seed: int = 0, progress: bool = False) -> Explanation:
        """Explain images, as ``Explainer`` does."""
        images = as_images(images, input_channels(self._model) or 3)
        return self.for_images(images)(images, target, seed, progress)

    def attribute(self, inputs: Inputs, target: Target = None, seed: int = 0) -> Inputs:
        """The map alone, as ``Explainer`` gives it."""
        return self.for_images(inputs[0] if isinstance(inputs, tuple) else inputs).attribute(inputs, target, seed)

    def explain_image(self, instance: Instance) -> InstanceResult:
        """Explain one image."""
        return self.for_images(instance.image[None]).explain_image(instance)

    @property
    def parameters(self) -> dict[str, Any]:
        """The hyper-parameters, known when the first images were explained."""
        return next(iter(self._made.values())).parameters if self._made else {}

    def for_images(self, images: Tensor) -> Explainer:
        """The explainer of the wrapped model for images ``(B, C, H, W)`` of this shape."""
        if images.ndim != 4:
            raise UserError(f"Images must be (B, C, H, W), but are {tuple(images.shape)}.")
        channels, height, width = images.shape[1:]
        if (channels, height, width) not in self._made:
            classifier = wrap_model(self._model, (channels, height, width), **self._settings)
            self._made[channels, height, width] = self._make(classifier)
        found = self._made[channels, height, width]
        self.classifier, self.batch_size = found.classifier, found.batch_size
        return found
