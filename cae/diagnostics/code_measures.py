"""Diagnostics of codes and of the paths between them: probes, spread, coverage, smoothness."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from cae.data.selection import spread_over_classes
from cae.devices import device_of
from cae.diagnostics.context import MOST_IMAGES, DiagnosticContext, encode_images, mean_with_interval, sampled_images
from cae.diagnostics.embedding import coverage, participation_ratio
from cae.diagnostics.probes import conv_probe, knn_probe, logistic_probe
from cae.manifold.class_manifold import CONFIDENT
from cae.metrics.smoothness import backtracking, largest_jump, lipschitz, monotone_share

PATHS, POINTS = 48, 21  # of the paths behind smoothness


def class_probes(context: DiagnosticContext) -> dict[str, float]:
    """Can the predicted class be read from the class code (it should), and from the individual code (it should not)?"""
    seed, test, manifold = context.config.seed, context.test, context.manifold
    images = sampled_images(context.data.train, seed)
    train = encode_images(context.cae, context.classifier, images, context.batch_size)
    truth, known = context.predictions, train.probabilities.argmax(1)
    if min(len(truth.unique()), len(known.unique())) < 2:
        return {}
    knn = knn_probe(manifold.codes, manifold.predictions, test.class_code, truth)
    logistic = logistic_probe(manifold.codes, manifold.predictions, test.class_code, truth)
    channels = logistic_probe(train.statistics, known, test.statistics, truth)
    convolutional = conv_probe(train.individual_code, known, test.individual_code, truth, seed)
    return {
        "cae/class_probe": max(knn, logistic),
        "cae/class_probe_knn": knn,
        "cae/class_probe_logistic": logistic,
        "cae/individual_probe": max(channels, convolutional),
        "cae/individual_probe_chance": 1 / len(truth.unique()),
        "cae/individual_probe_channels": channels,
        "cae/individual_probe_conv": convolutional,
    }


def code_spread(context: DiagnosticContext) -> dict[str, float]:
    """The cloud of class codes: how many dimensions it fills, and whether test codes lie where training codes do."""
    manifold = context.manifold
    std = manifold.codes.double().std(0, correction=0)
    train = manifold.standardised(manifold.codes[manifold.subset])
    return {
        "cae/participation_ratio": participation_ratio(manifold.codes),
        "cae/smallest_std_share": float(std.min() / std.max()) if std.max() > 0 else 0.0,
        "cae/coverage": coverage(train, manifold.standardised(context.test.class_code)) if len(train) > 1 else math.nan,
    }


def path_smoothness(context: DiagnosticContext) -> dict[str, float]:
    """Straight paths from test codes to training codes of the runner-up class, and to codes made between such."""
    rows = spread_over_classes(context.predictions, PATHS, context.config.seed)
    targets = context.test.probabilities[rows].topk(2).indices[:, 1]
    between = _made_between_confident(context)
    metrics: dict[str, float] = {}
    for kind in ("smoothness", "smote_smoothness"):
        curves, slopes, images = [], [], []
        for row, target in zip(rows.tolist(), targets.tolist(), strict=True):
            code = context.test.class_code[row]
            real = kind == "smoothness"
            ends = context.manifold.references(code, target).codes if real else _nearest(context, code, between[target])
            if len(ends):
                curve, slope = _probability_along(context, row, ends[0], target)
                curves.append(curve)
                slopes.append(slope)
                images.append(str(row))
        if curves:
            metrics |= _curve_metrics(f"cae/{kind}", torch.stack(curves), images, context.config.seed)
            metrics[f"cae/{kind}_lipschitz"] = max(slopes)
    return metrics


def _made_between_confident(context: DiagnosticContext) -> list[Tensor]:
    """For each class, codes made between two training codes that the classifier is as sure of as of references."""
    manifold = context.manifold
    made = manifold.smote(2 * MOST_IMAGES, generator=torch.Generator().manual_seed(context.config.seed))
    sure = manifold.probabilities.amax(1) >= CONFIDENT
    kept = sure[made.first] & sure[made.second]
    return [made.codes[kept & (made.predictions == k)] for k in range(len(manifold.classes))]


def _nearest(context: DiagnosticContext, code: Tensor, codes: Tensor) -> Tensor:
    distance = (context.manifold.standardised(codes) - context.manifold.standardised(code)).norm(dim=1)
    return codes[distance.argsort(stable=True)[:1]]


def _probability_along(context: DiagnosticContext, row: int, end: Tensor, target: int) -> tuple[Tensor, float]:
    """The target's probability ``(G,)`` on the decoded images of a straight path, and their Lipschitz estimate."""
    device = device_of(context.cae)
    path = context.manifold.path(context.test.class_code[row], end, steps=POINTS).to(device)
    individual = context.cae.encode(context.test.images[row : row + 1].to(device)).individual_code
    parts = [(part, individual.expand(len(part), *individual.shape[1:])) for part in path.split(context.batch_size)]
    decoded = [context.cae.decode(*part) for part in parts]
    probabilities = torch.cat([context.classifier.probabilities(part)[:, target].cpu() for part in decoded])
    return probabilities, lipschitz(torch.cat(decoded).cpu(), path.cpu())


def _curve_metrics(name: str, curves: Tensor, images: list[str], seed: int) -> dict[str, float]:
    return {
        **mean_with_interval(f"{name}_monotone", monotone_share(curves), images, seed),
        **mean_with_interval(f"{name}_largest_jump", largest_jump(curves), images, seed),
        **mean_with_interval(f"{name}_backtracking", backtracking(curves), images, seed),
    }
