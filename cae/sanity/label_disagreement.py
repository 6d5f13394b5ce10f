"""Sanity test: where classifier and label disagree, a swap must follow the classifier."""

from __future__ import annotations

import torch
from torch import Tensor

from cae.classifiers.batched import batched_probabilities
from cae.models.editing import ResidualEdit
from cae.sanity.context import Instances, SanityContext, SanityRecord, example_rows, swap_predictions
from cae.sanity.control_models import ControlModel, control_oracle, marker_model, sanity_folder
from cae.sanity.criteria import LEAST_FOLLOWING, LEAST_LEAD, disagreeing_pairs, estimate, follows_classifier
from cae.sanity.figures import Cell, sanity_figure


def label_disagreement_test(context: SanityContext) -> SanityRecord:
    """Where classifier and label disagree, edits must follow the classifier.

    The classifier is trained on labels of which half are flipped: those of images whose random marker says otherwise
    (`marker_model`). What it goes by and what the label goes by then lie in different places, so that a swap can follow
    one alone.
    """
    record, model = SanityRecord(), marker_model(context.config)
    config, truth, classifier = model.config, model.data, model.classifier
    oracle = control_oracle(config, truth, classifier)
    instances = context.instances(truth)
    predictions = batched_probabilities(classifier, instances.images).argmax(1)
    pairs = disagreeing_pairs(predictions, instances.labels, config.cae.validation_pairs, config.seed)
    swapped = swap_predictions(model, {"classifier": classifier, "oracle": oracle}, instances, pairs)
    groups = [instances.ids[row] for row in pairs[0].tolist()]
    by_classifier = estimate((swapped["classifier"] == predictions[pairs[1]]).float(), groups)
    by_labels = estimate((swapped["oracle"] == instances.labels[pairs[1]]).float(), groups)
    right = batched_probabilities(oracle, instances.images).argmax(1) == instances.labels
    record.note("disagreement", (predictions != instances.labels).float().mean().item())
    record.note("oracle_accuracy", right.float().mean().item())
    record.note("classifier", by_classifier)
    record.note("oracle", by_labels)
    record.demand(
        "labels/follows",
        f"where a donor's prediction and label differ, swaps take its prediction in at least {LEAST_FOLLOWING:g} of "
        f"cases, {LEAST_LEAD:g} more than its label",
        f"prediction {by_classifier}, label (by an oracle trained on the labels) {by_labels}, {by_labels.count} swaps",
        follows_classifier(by_classifier.value, by_labels.value),
    )
    _draw(context, record, model, instances, predictions, pairs, swapped)
    return record


def _draw(
    context: SanityContext,
    record: SanityRecord,
    model: ControlModel,
    instances: Instances,
    predictions: Tensor,
    pairs: tuple[Tensor, Tensor],
    swapped: dict[str, Tensor],
) -> None:
    names, rows = model.data.classes, []
    for i in example_rows(len(pairs[0])):
        recipient, donor = int(pairs[0][i]), int(pairs[1][i])
        swap = _swap_image(model, instances.images[[recipient]], instances.images[[donor]])
        cells = [
            Cell(instances.images[row], f"predicted {names[predictions[row]]}, label {names[instances.labels[row]]}")
            for row in (recipient, donor)
        ]
        said = f"predicted {names[swapped['classifier'][i]]}, oracle {names[swapped['oracle'][i]]}"
        change = (swap - instances.images[recipient]).abs().sum(0)
        rows.append([*cells, Cell(swap, said), Cell(change, f"largest change {float(change.max()):.2f}")])
    path, columns = sanity_folder(context.config) / "labels.png", ("recipient", "donor", "swap", "change")
    sanity_figure(path, "Does a swap follow the classifier or the label?", columns, rows, record.rules)


@torch.no_grad()
def _swap_image(model: ControlModel, recipient: Tensor, donor: Tensor) -> Tensor:
    """The recipient ``(1, C, H, W)`` with the donor's class code, ``(C, H, W)`` in [0, 1]."""
    device = next(model.cae.parameters()).device
    edit, code = ResidualEdit(model.cae, recipient.to(device)), model.cae.encode(donor.to(device)).class_code
    row = torch.zeros(1, dtype=torch.int64, device=device)
    draw = edit.onto if model.config.counterfactual.output == "residual" else edit.decoded
    return draw(row, code)[0].clamp(0, 1).cpu()
