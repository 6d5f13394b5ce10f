"""Our explainers in the words of other libraries: as a captum ``Attribution``, and as Quantus' ``explain_func``."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from captum.attr import Attribution
from captum.log import log_usage
from torch import nn

from cae.classifiers import TargetClassifier
from cae.classifiers.identity import state_digest
from cae.errors import UserError
from explainers.bare import BareModelExplainer
from explainers.base import Explainer, Inputs, Target

ExplainFunction = Callable[..., np.ndarray]


def as_captum(explainer: Explainer) -> Attribution:
    """An explainer as a captum method, for ``NoiseTunnel`` and the like.

    ``attribute(inputs, target)`` gives maps of the inputs' shape, shared out equally over the channels. Inputs are
    clipped to [0, 1]. For ``captum.metrics``, the explainer's own ``attribute`` is enough.
    """
    return _CaptumAttribution(explainer)


class _CaptumAttribution(Attribution):
    def __init__(self, explainer: Explainer):
        # the classifier of a bare network is there only when images have come
        super().__init__(lambda images: explainer.classifier.probabilities(images))
        self.explainer = explainer

    # captum 0.9.0: NoiseTunnel calls what its own decorator has wrapped, and fails on a plain method
    @log_usage()
    def attribute(self, inputs: Inputs, target: Target = None, seed: int = 0) -> Inputs:
        return self.explainer.attribute(inputs, target, seed)


def as_quantus(explainer: Explainer, seed: int = 0) -> ExplainFunction:
    """An explainer as Quantus' ``explain_func(model, inputs, targets, **settings)``, with maps ``(B, 1, H, W)``.

    Give Quantus the explainer's ``TargetClassifier`` as the model. Where a metric hands over a changed copy of it, as
    those with randomised weights do, the copy is explained.

    Raises:
        UserError: when called with a model that is neither.
    """

    def explain(model: Any, inputs: Any, targets: Any, **_: Any) -> np.ndarray:
        images = torch.as_tensor(np.asarray(inputs), dtype=torch.float32).clamp(0, 1)
        classes = [int(target) for target in np.asarray(targets).reshape(-1)]
        known = explainer.for_images(images) if isinstance(explainer, BareModelExplainer) else explainer
        return _explaining(known, model)(images, classes, seed).attribution.cpu().numpy()

    return explain


def _explaining(explainer: Explainer, model: Any) -> Explainer:
    """The explainer for the classifier that Quantus hands over."""
    own = explainer.classifier.network
    if model is explainer.classifier or model is own:
        return explainer
    if isinstance(model, type(own)) and isinstance(own, nn.Module) and state_digest(model) == state_digest(own):
        return explainer  # the user's own network, of which the classifier holds a copy
    if not isinstance(model, TargetClassifier):
        raise UserError(
            f"Quantus must be given the explainer's TargetClassifier as its model, but was given a "
            f"{type(model).__name__}, which may be another classifier than the one that is explained."
        )
    names = [
        name for name in inspect.signature(type(explainer).__init__).parameters if name not in ("self", "classifier")
    ]
    again = type(explainer)(model, **{name: getattr(explainer, name) for name in names})
    again.name = explainer.name
    return again
