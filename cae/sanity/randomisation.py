"""Sanity test: a classifier that has learnt something else, by heart, or nothing, must give other maps."""

from __future__ import annotations

import torch
from torch import Tensor

from cae.diagnostics.reassignment import sample_pairs
from cae.sanity.context import Instances, SanityContext, SanityRecord, answers, evidence, examples, explain, swaps
from cae.sanity.control_models import (
    ControlModel,
    RelabelledData,
    arm_config,
    brightness_labels,
    cae_arm,
    classifier_arm,
    permuted_labels,
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

OTHERS = {
    "brightness": "trained to tell dark from bright images",
    "permuted": "trained on permuted labels",
    "random": "with random weights",
}
SHORT = {"brightness": "brightness", "permuted": "permuted labels", "random": "random weights"}


def randomised(bench: SanityContext) -> SanityRecord:
    """Another classifier must give other maps: of brightness, of permuted labels, of random weights.

    What the last two respond to may be nothing that an image could show, so that few counterfactuals are found for
    them. For the first they must be found, or other maps would only say that the method fails on other classifiers.

    Reference: Adebayo et al. 2018, arXiv:1810.03292, data and parameter randomisation.
    """
    record, subjects = SanityRecord(), bench.subjects(bench.data)
    twins = bench.twin(0), bench.twin(1)
    rows: list[list[Cell]] = []
    for name in OTHERS:
        other = _other(bench, name)
        rows += _compare(bench, record, name, subjects, twins, other)
    sanity_figure(
        sanity_folder(bench.config) / "randomised.png", "Does another classifier give other maps?",
        ("original", "evidence under f, first training", "evidence under f, second training",
         "evidence under another f': correlation"), rows, record.rules,
    )  # fmt: skip
    return record


def _other(bench: SanityContext, name: str) -> ControlModel:
    """A CAE against a classifier that has learnt nothing of the classes; logits of one that has learnt nothing at all
    are standardised, so that its verdicts spread over the classes as those of the run's classifier do."""
    config = arm_config(bench.config, "randomised", name)
    if name == "random":
        return cae_arm(config, bench.data, random_classifier(config, bench.data))
    if name == "brightness":
        data = RelabelledData(config.data, brightness_labels)
        return cae_arm(config, bench.data, classifier_arm(config, data))
    # without augmentation, and judged on training images: it can only learn by heart
    learning = arm_config(bench.config, "randomised", "permuted_raw", classifier__noise=0.0, classifier__shift=0)
    data = RelabelledData(learning.data, permuted_labels(learning.seed), val_from_train=True)
    raw = classifier_arm(learning, data)
    return cae_arm(config, bench.data, standardised_classifier(config, bench.data, raw.get_submodule("network")))


def _compare(
    bench: SanityContext,
    record: SanityRecord,
    name: str,
    subjects: Instances,
    twins: tuple[ControlModel, ControlModel],
    other: ControlModel,
) -> list[list[Cell]]:
    """Judge maps and swaps of ``other`` beside those of two trainings for the run's classifier; rows of the figure."""
    own = answers(bench.classifier, subjects.images)
    wanted = shared_targets(own, answers(other.classifier, subjects.images).argmax(1))
    chosen, targets = subjects.pick((wanted >= 0).nonzero()[:, 0]), wanted[wanted >= 0]
    results = [explain(arm, chosen, targets) for arm in (*twins, other)]
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
    _demand_no_flips(bench, record, name, subjects, own.argmax(1), twins[0], other)
    return [
        [
            Cell(chosen.images[i], f"wanted: {bench.data.classes[int(targets[i])]}"),
            Cell(first[i], f"largest energy {float(first[i].max()):.2g}"),
            Cell(second[i], f"correlation {alike[i]:.2f}"),
            Cell(third[i], f"{SHORT[name]}: {unlike[i]:.2f}"),
        ]
        for i in examples(len(targets))[:2]
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
    bench: SanityContext,
    record: SanityRecord,
    name: str,
    subjects: Instances,
    verdicts: Tensor,
    twin: ControlModel,
    other: ControlModel,
) -> None:
    """Swaps of the other CAE must not carry the classes of the run's classifier, beyond what any code does."""
    config, count = bench.config, len(subjects.images)
    recipients, donors = sample_pairs(verdicts, config.cae.validation_pairs, len(bench.data.classes), config.seed)
    anyone = torch.randint(count, (len(donors),), generator=torch.Generator().manual_seed(config.seed))
    taken = {
        words: (swaps(arm, {"f": bench.classifier}, subjects, (recipients, source))["f"] == verdicts[donors]).float()
        for words, arm, source in (("own", twin, donors), ("other", other, donors), ("random", other, anyone))
    }
    groups = [subjects.ids[row] for row in recipients.tolist()]
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
