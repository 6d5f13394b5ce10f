"""Diagnostics of decoded images: reconstruction, reassignment by swaps, coherency of the edits."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from cae.data.selection import spread_over_classes
from cae.devices import device_of
from cae.diagnostics.context import DiagnosticContext, mean_with_interval
from cae.diagnostics.embedding import (
    baseline_codes,
    coherency,
    edit_coherency,
    participation_ratio,
    peak_signal_to_noise,
)
from cae.diagnostics.reassignment import (
    reassignment_interval,
    reassignment_matrices,
    reassignment_rate,
    retention,
    soft_reassignment_matrix,
)
from cae.diagnostics.swaps import ClassifiedSwaps, classify_swaps, sample_pairs

DONORS = RECIPIENTS = 24  # of the full matrix of swaps behind coherency


def reconstruction(context: DiagnosticContext) -> dict[str, float]:
    """Reconstructions beside their images, and whether the classifier still says the same."""
    absolute, squared, same = [], [], []
    device = device_of(context.cae)
    for rows in torch.arange(len(context.predictions)).split(context.batch_size):
        images = context.test.images[rows].to(device)
        codes = context.cae.encode(images)
        decoded = context.cae.decode(codes.class_code, codes.individual_code)
        difference = (decoded - images).flatten(1)
        absolute.append(difference.abs().mean(1).cpu())
        squared.append(difference.square().mean(1).cpu())
        same.append(context.classifier.probabilities(decoded).argmax(1).cpu() == context.predictions[rows])
    return {
        "cae/reconstruction_mae": float(torch.cat(absolute).mean()),
        "cae/reconstruction_psnr": float(peak_signal_to_noise(torch.cat(squared)).mean()),
        "cae/reconstruction_consistency": float(torch.cat(same).double().mean()),
    }


def reassignment(context: DiagnosticContext) -> dict[str, float]:
    """Swaps of all ordered pairs of classes, decoded and residual, under the target and under the oracle."""
    predictions, classes = context.predictions, len(context.manifold.classes)
    seed, batch_size = context.config.seed, context.batch_size
    pairs = sample_pairs(predictions, context.config.manifold.pairs, classes, seed, same_class=True)
    swaps = classify_swaps(context.cae, context.classifiers, context.test.images, pairs, batch_size, residual=True)
    across = predictions[swaps.recipients] != predictions[swaps.donors]
    metrics = {"cae/swap_change": float(swaps.change[across].mean())}
    for key, matrix in reassignment_matrices(swaps, predictions).items():
        classifier, _, output = key.partition("/")
        scores = (swaps.residual if output else swaps.decoded)[classifier]
        name = "cae/reassignment" + (f"_{output}" if output else "") + _suffix(classifier)
        metrics[name] = reassignment_rate(matrix)
        low, high = reassignment_interval(*pairs, predictions, scores.argmax(1) == predictions[swaps.donors], seed)
        metrics |= {f"{name}_low": low, f"{name}_high": high}
        if not output:
            metrics |= _cells(context, swaps, matrix, scores, _suffix(classifier))
    return metrics


def _cells(
    context: DiagnosticContext, swaps: ClassifiedSwaps, matrix: Tensor, scores: Tensor, suffix: str
) -> dict[str, float]:
    """The matrix cell by cell, and what else is said of decoded swaps."""
    names = context.manifold.classes
    metrics = {
        f"cae/reassignment{suffix}/{a}->{b}": float(matrix[i, j])
        for i, a in enumerate(names)
        for j, b in enumerate(names)
    }
    rows, columns = context.predictions[swaps.recipients], context.predictions[swaps.donors]
    soft = soft_reassignment_matrix(rows, columns, scores, len(names))
    return metrics | {
        f"cae/retention{suffix}": retention(matrix),
        f"cae/reassignment_soft{suffix}": reassignment_rate(soft),
    }


def _suffix(classifier: str) -> str:
    return "_oracle" if classifier == "oracle" else ""


def baseline_reassignment(context: DiagnosticContext) -> dict[str, float]:
    """Reassignment by class codes that carry no class: the rate that must be beaten."""
    predictions, classes = context.predictions, len(context.manifold.classes)
    if len(predictions.unique()) < 2:
        return {}
    pairs = sample_pairs(predictions, max(2, context.config.manifold.pairs // 4), classes, context.config.seed)
    target, metrics = {"target": context.classifier}, {}
    for name, codes in baseline_codes(context.manifold.codes, len(pairs[0]), context.config.seed).items():
        swaps = classify_swaps(context.cae, target, context.test.images, pairs, context.batch_size, class_codes=codes)
        metrics[f"cae/reassignment_{name}"] = reassignment_rate(reassignment_matrices(swaps, predictions)["target"])
    return metrics


def swap_coherency(context: DiagnosticContext) -> dict[str, float]:
    """All swaps of some donors with some recipients: one class per donor, and how many kinds of edit there are."""
    chosen = spread_over_classes(context.predictions, DONORS + RECIPIENTS, context.config.seed)
    donors, recipients = chosen.chunk(2) if len(chosen) > 3 else (chosen, chosen)
    device = device_of(context.cae)
    codes = context.cae.encode(context.test.images[recipients].to(device))
    own = context.cae.decode(codes.class_code, codes.individual_code)
    before, probabilities, edits = context.classifier.features(own), [], []
    for donor in donors.tolist():
        code = context.test.class_code[donor].to(device).expand(len(recipients), -1)
        swaps = context.cae.decode(code, codes.individual_code)
        probabilities.append(context.classifier.probabilities(swaps).cpu())
        edits.append((context.classifier.features(swaps) - before).cpu())
    split, cloud = coherency(context.test.probabilities[donors], torch.stack(probabilities)), torch.stack(edits)
    cloud[cloud.abs() < 1e-5 * before.abs().max().cpu()] = 0  # rounding of the networks is no edit, but has directions
    return {
        "cae/coherency": float(split.agreement.mean()),
        "cae/coherency_bias": float(split.bias.mean()),
        "cae/modal_agreement": float(split.modal_agreement.mean()),
        "cae/participation_ratio_edits": participation_ratio(cloud.flatten(0, 1)),
        "cae/edit_coherency": edit_coherency(cloud) if len(recipients) > 1 else math.nan,
    }


def smote_reassignment(context: DiagnosticContext) -> dict[str, float]:
    """Codes made between neighbours of one class, given to test images of other classes."""
    generator, seed = torch.Generator().manual_seed(context.config.seed), context.config.seed
    made = context.manifold.smote(max(2, context.config.manifold.pairs // 4), generator=generator)
    recipients = torch.randint(len(context.predictions), (len(made.codes),), generator=generator)
    other = context.predictions[recipients] != made.predictions
    if not other.any():
        return {}
    recipients, predictions = recipients[other], made.predictions[other]
    swaps = classify_swaps(
        context.cae, context.classifiers, context.test.images, (recipients, recipients), context.batch_size,
        residual=True, class_codes=made.codes[other],
    )  # fmt: skip
    metrics: dict[str, float] = {}
    images = [str(row) for row in recipients.tolist()]
    for output, scored in (("", swaps.decoded), ("_residual", swaps.residual)):
        for classifier, scores in scored.items():
            name = f"cae/smote_reassignment{output}" + _suffix(classifier)
            metrics |= mean_with_interval(name, (scores.argmax(1) == predictions).double(), images, seed)
    return metrics
