"""Sanity test: a classifier that has learnt something else, by heart, or nothing, must give other maps."""

from __future__ import annotations

import torch
from torch import Tensor

from cae.classifiers.batched import batched_probabilities
from cae.diagnostics.swaps import sample_pairs
from cae.sanity.context import (
    Instances,
    SanityContext,
    SanityRecord,
    evidence,
    example_rows,
    explain_instances,
    swap_predictions,
)
from cae.sanity.control_models import (
    ControlModel,
    control_classifier,
    control_config,
    control_model,
    random_classifier,
    sanity_folder,
    standardised_classifier,
)
from cae.sanity.criteria import (
    LEAST_FOUND,
    Estimate,
    estimate,
    flips_by_chance,
    map_correlations,
    maps_differ,
    shared_targets,
)
from cae.sanity.figures import Cell, sanity_figure
from cae.sanity.relabelled_data import RelabelledData, brightness_labels, permuted_labels

OTHERS = {
    "brightness": "trained to tell dark from bright images",
    "permuted": "trained on permuted labels",
    "random": "with random weights",
}
NO_AUGMENTATION = {
    f"classifier__{option}": 0 for option in ("noise", "shift", "rotation", "scale", "grey_levels")
}  # fmt: skip
SHORT = {"brightness": "brightness", "permuted": "permuted labels", "random": "random weights"}


def randomisation_test(context: SanityContext) -> SanityRecord:
    """Another classifier must give other maps: of brightness, of permuted labels, of random weights.

    What the last two respond to may be nothing that an image could show, so that few counterfactuals are found for
    them. For the first they must be found, or other maps would only say that the method fails on other classifiers.

    Reference: Adebayo et al. 2018, arXiv:1810.03292, data and parameter randomisation.
    """
    record, instances = SanityRecord(), context.instances(context.data)
    retrained = context.retrained_model(0), context.retrained_model(1)
    rows: list[list[Cell]] = []
    for name in OTHERS:
        other = _other(context, name)
        rows += _compare(context, record, name, instances, retrained, other)
    sanity_figure(
        sanity_folder(context.config) / "randomised.png", "Does another classifier give other maps?",
        ("original", "evidence under f, first training", "evidence under f, second training",
         "evidence under another f': correlation"), rows, record.rules,
    )  # fmt: skip
    return record


def _other(context: SanityContext, name: str) -> ControlModel:
    """A CAE against a classifier that has learnt nothing of the classes; logits of one that has learnt nothing at all
    are standardised, so that its predictions spread over the classes as those of the run's classifier do."""
    config = control_config(context.config, "randomised", name)
    if name == "random":
        return control_model(config, context.data, random_classifier(config, context.data))
    if name == "brightness":
        config = control_config(context.config, "randomised", name, classifier__grey_levels=0.0)
        data = RelabelledData(config.data, brightness_labels)
        return control_model(config, context.data, control_classifier(config, data))
    # without augmentation, and validated on training images: it can only learn by heart
    learning = control_config(context.config, "randomised", "permuted_raw", **NO_AUGMENTATION)
    data = RelabelledData(learning.data, permuted_labels(learning.seed), val_from_train=True)
    raw = control_classifier(learning, data)
    classifier = standardised_classifier(config, context.data, raw.get_submodule("network"))
    return control_model(config, context.data, classifier)


def _compare(
    context: SanityContext,
    record: SanityRecord,
    name: str,
    instances: Instances,
    retrained: tuple[ControlModel, ControlModel],
    other: ControlModel,
) -> list[list[Cell]]:
    """Compare maps and swaps of ``other`` with those of two trainings for the run's classifier; rows of the figure."""
    own = batched_probabilities(context.classifier, instances.images)
    wanted = shared_targets(own, batched_probabilities(other.classifier, instances.images).argmax(1))
    chosen, targets = instances.pick((wanted >= 0).nonzero()[:, 0]), wanted[wanted >= 0]
    results = [explain_instances(model, chosen, targets) for model in (*retrained, other)]
    first, second, third = ([evidence(one) for one in found] for found in results)
    seeds = [map_correlations(a, b) for a, b in zip(first, second, strict=True)]
    others = [map_correlations(a, c) for a, c in zip(first, third, strict=True)]
    for words, pairs in (("of_seeds", seeds), ("of_others", others)):
        record.note(f"{name}/rank_correlation_{words}", estimate([by_rank for _, by_rank in pairs], chosen.ids))
    alike = [linear for linear, _ in seeds]
    unlike = [(linear + map_correlations(b, c)[0]) / 2 for (linear, _), b, c in zip(others, second, third, strict=True)]
    for words, found in (("found", results[0]), ("found_other", results[2])):
        record.note(f"{name}/{words}", sum(one.found for one in found) / max(len(found), 1))
    if name == "brightness":
        _demand_found(record, name, len(targets))
    _demand_other_maps(record, name, estimate(alike, chosen.ids), estimate(unlike, chosen.ids))
    _demand_no_flips(context, record, name, instances, own.argmax(1), retrained[0], other)
    return [
        [
            Cell(chosen.images[i], f"wanted: {context.data.classes[int(targets[i])]}"),
            Cell(first[i], f"largest energy {float(first[i].max()):.2g}"),
            Cell(second[i], f"correlation {alike[i]:.2f}"),
            Cell(third[i], f"{SHORT[name]}: {unlike[i]:.2f}"),
        ]
        for i in example_rows(len(targets))[:2]
    ]


def _demand_found(record: SanityRecord, name: str, count: int) -> None:
    shares = [record.numbers[f"{name}/{words}"] for words in ("found", "found_other")]
    record.demand(
        f"randomised/{name}_found",
        f"counterfactuals are found for {LEAST_FOUND} of the images, for the classifier and for one {OTHERS[name]}",
        f"{shares[0]:.2f} and {shares[1]:.2f} of {count} images",
        count > 0 and min(shares) >= LEAST_FOUND,
    )


def _demand_other_maps(record: SanityRecord, name: str, seeds: Estimate, others: Estimate) -> None:
    record.note(f"{name}/correlation_of_seeds", seeds)
    record.note(f"{name}/correlation", others)
    record.demand(
        f"randomised/{name}_maps",
        f"maps for a classifier {OTHERS[name]} are less alike than those of two trainings for one, intervals apart",
        f"correlation of evidence {others}, of two trainings {seeds}, {others.count} images; counterfactuals found for "
        f"{record.numbers[f'{name}/found_other']:.2f} of them, under the classifier itself "
        f"{record.numbers[f'{name}/found']:.2f}",
        maps_differ(others, seeds),
    )


def _demand_no_flips(
    context: SanityContext,
    record: SanityRecord,
    name: str,
    instances: Instances,
    predictions: Tensor,
    own: ControlModel,
    other: ControlModel,
) -> None:
    """Swaps of the other CAE must not carry the classes of the run's classifier, beyond what any code does."""
    config, count, f = context.config, len(instances.images), {"f": context.classifier}
    recipients, donors = sample_pairs(predictions, config.cae.validation_pairs, len(context.data.classes), config.seed)
    anyone = torch.randint(count, (len(donors),), generator=torch.Generator().manual_seed(config.seed))
    taken = {
        words: (swap_predictions(model, f, instances, (recipients, source))["f"] == predictions[donors]).float()
        for words, model, source in (("own", own, donors), ("other", other, donors), ("random", other, anyone))
    }
    groups = [instances.ids[row] for row in recipients.tolist()]
    excess = estimate(taken["other"] - taken["random"], groups)
    rates = {words: estimate(values, groups) for words, values in taken.items()}
    for words, rate in rates.items():
        record.note(f"{name}/flips_{words}", rate)
    record.note(f"{name}/flips_excess", excess)
    record.demand(
        f"randomised/{name}_flips",
        f"swaps for a classifier {OTHERS[name]} take their donor's class no more often than with a random image's code",
        f"{rates['other']}, random code {rates['random']}, excess {excess}; swaps for the classifier itself "
        f"{rates['own']}; {excess.count} swaps",
        flips_by_chance(excess),
    )
