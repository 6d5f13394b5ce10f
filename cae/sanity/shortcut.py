"""Sanity test: a planted marker must be found where the classifier uses it, and spared where it does not."""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor

from cae.config import Config
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

    Two classes. The classifier that goes by the marker has learnt from images in which lesion and marker always come
    together; both classifiers are explained on images with markers at random, where either can change alone.
    """
    record, size = Record(), bench.config.data.image_size
    box = marker_box(size)
    area = box_share(box, size, size)
    record.note("area", area)
    drawn = {}
    for name, strength in (("follower", 1.0), ("control", 0.0)):
        learnt = marked_config(bench.config, "shortcut", name, strength)
        arm = _marked_arm(bench, learnt)
        if name == "follower":
            _demand_use(record, arm, learnt)
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


def _demand_use(record: Record, arm: Arm, learnt: Config) -> None:
    accuracy = _swapped_accuracy(arm, learnt)
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


def _marked_arm(bench: Bench, learnt: Config) -> Arm:
    """A classifier trained with the options ``learnt``, and a CAE for it on images with markers at random."""
    classifier = classifier_arm(learnt, CAEDataModule(learnt.data))
    config = marked_config(bench.config, "shortcut", f"{learnt.name}_explained", 0.0)
    return cae_arm(config, CAEDataModule(config.data), classifier)


def _swapped_accuracy(arm: Arm, learnt: Config) -> float:
    """Accuracy on the test images with each marker where it never was in training: with the other class."""
    lesions = learnt.data.lesions
    (other,) = (kind for kind in lesions.classes if kind != lesions.shortcut_class)
    swapped = dataclasses.replace(learnt.data, lesions=dataclasses.replace(lesions, shortcut_class=other))
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
        "original", "change: classifier uses the marker",
        "original", "change: classifier does not use it",
    )  # fmt: skip
    path = sanity_folder(bench.config) / "shortcut.png"
    sanity_figure(path, "Is a planted marker found where it is used?", columns, rows, record.rules)
