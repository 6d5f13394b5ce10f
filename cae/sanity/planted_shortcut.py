"""Sanity test: a planted marker must be found where the classifier uses it, and spared where it does not."""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor

from cae.classifiers.batched import batched_probabilities
from cae.data import CAEDataModule
from cae.data.lesions import marker_box
from cae.sanity.context import Instances, SanityContext, SanityRecord, example_rows, explain_instances, full_change
from cae.sanity.control_models import (
    ControlModel,
    control_classifier,
    control_model,
    marked_config,
    marker_model,
    sanity_folder,
)
from cae.sanity.criteria import (
    LEAST_MARKER_ENERGY,
    MOST_TIMES_AREA,
    SWAPPED_ACCURACY,
    TIMES_AREA,
    Box,
    Estimate,
    box_energy,
    box_share,
    edits_marker,
    estimate,
    goes_by_marker,
    leaves_marker,
)
from cae.sanity.figures import Cell, sanity_figure
from cae.sanity.relabelled_data import has_marker


def shortcut_test(context: SanityContext) -> SanityRecord:
    """A marker must be found by whoever uses it, where it is and where it is missing, and spared by whoever does not.

    Two classes, markers at random. One classifier goes by the marker alone (`marker_model`), the other by the lesion.
    """
    record, size = SanityRecord(), context.config.data.image_size
    box = marker_box(size)
    area = box_share(box, size, size)
    record.note("area", area)
    follower, plain = marker_model(context.config), marked_config(context.config, "shortcut", "control", 0.0)
    data = CAEDataModule(plain.data)
    models = {"follower": follower, "control": control_model(plain, data, control_classifier(plain, data))}
    drawn = {}
    for name, model in models.items():
        instances = context.instances(model.data)
        results = explain_instances(model, instances)
        changes = [full_change(result) for result in results]
        energies = torch.tensor([box_energy(change, box) for change in changes])
        record.note(f"{name}/found", sum(result.found for result in results) / len(results))
        record.note(f"{name}/energy", estimate(energies, instances.ids))
        if name == "follower":
            _demand_use(record, follower)
            _demand_marker(record, energies, instances, area)
        else:
            _demand_none(record, estimate(energies, instances.ids), area)
        drawn[name] = instances, changes
    _draw(context, record, box, drawn)
    return record


def _demand_use(record: SanityRecord, model: ControlModel) -> None:
    accuracy = _swapped_accuracy(model)
    record.note("follower/swapped_accuracy", accuracy)
    record.demand(
        "shortcut/planted",
        f"the classifier goes by the marker: accuracy below {SWAPPED_ACCURACY:g} where the other class has the markers",
        f"{accuracy:.3f}",
        goes_by_marker(accuracy),
    )


def _demand_marker(record: SanityRecord, energies: Tensor, instances: Instances, area: float) -> None:
    """Both directions: a mean over all images would pass where markers are only ever taken away."""
    marked = has_marker(instances.images)
    for words, name, rows in (("has", "removed", marked), ("lacks", "added", ~marked)):
        energy = estimate(energies[rows], instances.pick(rows.nonzero()[:, 0]).ids)
        record.note(f"follower/{name}", energy)
        record.demand(
            f"shortcut/{name}",
            f"where the classifier goes by the marker and the image {words} it, at least {LEAST_MARKER_ENERGY:g} of "
            f"the change lies in its box, and {TIMES_AREA:g} times the box's share of the area",
            f"{energy}, share of the area {area:.4f}, {energy.count} images",
            edits_marker(energy.value, area),
        )


def _demand_none(record: SanityRecord, energy: Estimate, area: float) -> None:
    record.demand(
        "shortcut/control",
        f"where it does not, at most {MOST_TIMES_AREA:g} times the box's share of the area",
        f"{energy}, share of the area {area:.4f}, {energy.count} images",
        leaves_marker(energy.value, area),
    )


def _swapped_accuracy(model: ControlModel) -> float:
    """Accuracy by the lesion on test images that have the marker where, and only where, they lack the lesion."""
    lesions = model.config.data.lesions
    (other,) = (kind for kind in lesions.classes if kind != lesions.shortcut_class)
    swapped = dataclasses.replace(
        model.config.data, lesions=dataclasses.replace(lesions, shortcut=1.0, shortcut_class=other)
    )
    test = CAEDataModule(swapped).test
    images = torch.stack([test[place].image for place in range(len(test))])
    return float((batched_probabilities(model.classifier, images).argmax(1) == test.labels).float().mean())


def _draw(
    context: SanityContext, record: SanityRecord, box: Box, drawn: dict[str, tuple[Instances, list[Tensor]]]
) -> None:
    rows = []
    for i in example_rows(len(drawn["follower"][1])):
        cells = []
        for instances, changes in drawn.values():
            mask = None if instances.masks is None else instances.masks[i]
            cells += [
                Cell(instances.images[i], "lesion outlined" if mask is not None and mask.any() else "", mask),
                Cell(changes[i], f"in the marker's box: {box_energy(changes[i], box):.2f}"),
            ]
        rows.append(cells)
    columns = (
        "original", "change: classifier uses the marker",
        "original", "change: classifier does not use it",
    )  # fmt: skip
    path = sanity_folder(context.config) / "shortcut.png"
    sanity_figure(path, "Is a planted marker found where it is used?", columns, rows, record.rules)
