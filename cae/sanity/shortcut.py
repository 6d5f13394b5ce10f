"""Sanity test: a planted marker must be found where the classifier uses it, and spared where it does not."""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor

from cae.data import CAEDataModule
from cae.data.lesions import marker_box
from cae.sanity.bench import Bench, Record, Subjects, answers, examples, explain, full_change
from cae.sanity.figures import Cell, sanity_figure
from cae.sanity.models import (
    Arm,
    cae_arm,
    classifier_arm,
    marked_config,
    sanity_folder,
)
from cae.sanity.rules import (
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


def shortcut(bench: Bench) -> Record:
    """A marker that goes with the class must be found by whoever uses it, and spared by whoever does not.

    Two classes, each CAE trained on the images of its classifier: for the one that goes by the marker, lesion and
    marker always come together, so that nothing but the classifier tells which of them matters.
    """
    record, size = Record(), bench.config.data.image_size
    box = marker_box(size)
    area = box_share(box, size, size)
    record.note("area", area)
    drawn = {}
    for name, strength in (("follower", 1.0), ("control", 0.0)):
        arm = _marked_arm(bench, name, strength)
        if name == "follower":
            _demand_use(record, arm)
        subjects = bench.subjects(arm.data)
        results = explain(arm, subjects)
        changes = [full_change(result) for result in results]
        energy = estimate([box_energy(change, box) for change in changes], subjects.ids)
        record.note(f"{name}/energy", energy)
        record.note(f"{name}/found", sum(result.found for result in results) / len(results))
        _demand_energy(record, name, energy, area)
        drawn[name] = subjects, changes
    _draw(bench, record, box, drawn)
    return record


def _demand_use(record: Record, arm: Arm) -> None:
    accuracy = _swapped_accuracy(arm)
    record.note("follower/swapped_accuracy", accuracy)
    record.demand(
        "shortcut/planted",
        f"the classifier goes by the marker: accuracy below {SWAPPED_ACCURACY:g} once markers are swapped",
        f"{accuracy:.3f}",
        goes_by_marker(accuracy),
    )


def _demand_energy(record: Record, name: str, energy: Estimate, area: float) -> None:
    found = f"{energy}, share of the area {area:.4f}, {energy.count} images"
    if name == "follower":
        record.demand(
            "shortcut/follower",
            f"where the classifier goes by the marker, at least {LEAST_MARKER_ENERGY:g} of the change lies in its box, "
            f"and {TIMES_AREA:g} times the box's share of the area",
            found,
            edits_marker(energy.value, area),
        )
    else:
        record.demand(
            "shortcut/control",
            f"where it does not, at most {MOST_TIMES_AREA:g} times the box's share of the area",
            found,
            leaves_marker(energy.value, area),
        )


def _marked_arm(bench: Bench, name: str, strength: float) -> Arm:
    config = marked_config(bench.config, "shortcut", name, strength)
    data = CAEDataModule(config.data)
    return cae_arm(config, data, classifier_arm(config, data))


def _swapped_accuracy(arm: Arm) -> float:
    """Accuracy on the test images with each marker where it never was: with the other class."""
    lesions = arm.config.data.lesions
    (other,) = (kind for kind in lesions.classes if kind != lesions.shortcut_class)
    swapped = dataclasses.replace(arm.config.data, lesions=dataclasses.replace(lesions, shortcut_class=other))
    test = CAEDataModule(swapped).test
    images = torch.stack([test[place].image for place in range(len(test))])
    return float((answers(arm.classifier, images).argmax(1) == test.labels).float().mean())


def _draw(bench: Bench, record: Record, box: Box, drawn: dict[str, tuple[Subjects, list[Tensor]]]) -> None:
    rows = []
    for i in examples(len(drawn["follower"][1])):
        cells = []
        for subjects, changes in drawn.values():
            mask = None if subjects.masks is None else subjects.masks[i]
            cells += [
                Cell(subjects.images[i], "lesion outlined" if mask is not None and mask.any() else "", mask),
                Cell(changes[i], f"in the marker's box: {box_energy(changes[i], box):.2f}"),
            ]
        rows.append(cells)
    columns = (
        "original, marker goes with the class", "change: classifier uses the marker",
        "original, marker at random", "change: classifier does not use it",
    )  # fmt: skip
    path = sanity_folder(bench.config) / "shortcut.png"
    sanity_figure(path, "Is a planted marker found where it is used?", columns, rows, record.rules)
