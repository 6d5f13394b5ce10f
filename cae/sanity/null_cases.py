"""Sanity test: nothing is shown where there is nothing to show."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from cae.classifiers import TargetClassifier
from cae.counterfactuals.find import find_counterfactuals
from cae.models.editing import ResidualEdit
from cae.sanity.context import Instances, SanityContext, SanityRecord, explain_instances
from cae.sanity.control_models import ControlModel


class Constant(nn.Module):
    """Gives every image the same logits ``(K,)``."""

    def __init__(self, logits: Sequence[float]):
        super().__init__()
        self.register_buffer("scores", torch.tensor(list(logits)))

    def forward(self, images: Tensor) -> Tensor:
        """Logits ``(B, K)``."""
        return self.get_buffer("scores").expand(len(images), -1)


def null_case_test(context: SanityContext) -> SanityRecord:
    """Nothing is shown where there is nothing: a classifier without evidence, a path that leads nowhere."""
    record, model, instances = SanityRecord(), context.retrained_model(0), context.instances(context.data)
    names = model.classifier.classes
    blind = TargetClassifier(Constant(range(len(names))), names, image_shape=context.data.image_shape, scores="logits")
    silent = explain_instances(dataclasses.replace(model, classifier=blind.to(context.device)), instances)
    missing = sum(result.status == "not_found" and result.saliency is None for result in silent)
    record.note("constant/not_found", missing / len(silent))
    record.demand(
        "guards/constant",
        "a classifier that scores every image alike has no counterfactual, and no map",
        f"{missing} of {len(silent)} images: not found, no map",
        missing == len(silent),
    )
    largest = _change_by_own_code(context, model, instances)
    record.note("self/largest_change", largest)
    record.demand(
        "guards/self",
        "an image led to its own class code does not change",
        f"largest change {largest:g}",
        largest == 0,
    )
    return record


def _change_by_own_code(context: SanityContext, model: ControlModel, instances: Instances) -> float:
    """Largest change of a pixel along paths from each image's class code to that code itself."""
    options = dataclasses.replace(
        model.config.counterfactual, target="runner-up", reference="image", output="residual", average=1
    )
    with torch.no_grad():
        codes = ResidualEdit(model.cae, instances.images.to(context.device), options.batch_size).codes.class_code.cpu()
    results = find_counterfactuals(
        model.cae, model.classifier, model.manifold, instances.images, config=options, ids=instances.ids,
        reference_codes=codes, reference_ids=instances.ids,
    )  # fmt: skip
    changes = [(result.path_images - result.path_images[:1]).abs().max() for result in results]
    return float(torch.stack(changes).max())
