"""What a trained class association embedding is worth: ``diagnose`` measures it on test images."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from tqdm.auto import tqdm

from cae.config import Config
from cae.data.selection import spread_over_classes
from cae.data.types import ImageSet, collate
from cae.devices import device_of
from cae.diagnostics.embedding import (
    Coherency,
    baseline_codes,
    coherency,
    coverage,
    edit_coherency,
    participation_ratio,
    peak_signal_to_noise,
)
from cae.diagnostics.probes import balanced_accuracy, channel_statistics, conv_probe, knn_probe, logistic_probe, pooled
from cae.diagnostics.reassignment import (
    SwapJudgement,
    judge_swaps,
    matrices,
    measure_reassignment,
    reassignment_interval,
    reassignment_matrix,
    reassignment_rate,
    retention,
    sample_pairs,
    soft_reassignment_matrix,
)
from cae.diagnostics.warnings import warnings
from cae.errors import UserError
from cae.manifold.class_manifold import CONFIDENT, ClassManifold
from cae.metrics.smoothness import backtracking, largest_jump, lipschitz, monotone_share
from cae.metrics.statistics import interval

__all__ = [
    "Coherency",
    "SwapJudgement",
    "balanced_accuracy",
    "baseline_codes",
    "coherency",
    "coverage",
    "diagnose",
    "edit_coherency",
    "judge_swaps",
    "matrix_of",
    "measure_reassignment",
    "participation_ratio",
    "reassignment_interval",
    "reassignment_matrix",
    "reassignment_rate",
    "retention",
    "sample_pairs",
    "soft_reassignment_matrix",
    "warnings",
]

MOST_IMAGES = 1000  # of each split; more would only narrow the intervals
DONORS = RECIPIENTS = 24  # of the full matrix of swaps behind coherency
PATHS, POINTS = 48, 21  # of the paths behind smoothness


@dataclass(frozen=True, eq=False)
class _Setting:
    """What every measurement needs: models, the manifold of training codes, the encoded test images, options."""

    cae: Any
    classifier: Any
    oracle: Any | None
    manifold: ClassManifold
    data: Any
    config: Config
    test: _Encoded

    @property
    def verdicts(self) -> Tensor:
        return self.test.probabilities.argmax(1)

    @property
    def batch_size(self) -> int:
        return self.config.counterfactual.batch_size

    @property
    def judges(self) -> dict[str, Any]:
        return {"target": self.classifier} | ({"oracle": self.oracle} if self.oracle is not None else {})


@dataclass(frozen=True, eq=False)
class _Encoded:
    """N images with their codes: class code ``(N, D)``, individual code pooled and as channel statistics, answers."""

    images: Tensor
    class_code: Tensor
    individual_code: Tensor
    statistics: Tensor
    probabilities: Tensor


@torch.no_grad()
def diagnose(
    cae: Any,
    classifier: Any,
    oracle: Any | None,
    manifold: ClassManifold,
    data: Any,
    config: Config,
    progress: bool = False,
) -> dict[str, float]:
    """All diagnostics of a trained embedding, measured on test images that training never saw.

    Args:
        cae: the trained model.
        classifier: the target classifier.
        oracle: a classifier that no training followed, or None; without it the figures named ``oracle`` are left out.
        manifold: codes of the training split.
        data: ``.train`` and ``.test`` image sets (at most 1000 images of each are used, drawn by the seed).
        config: all options; ``manifold.pairs`` swaps are judged, ``counterfactual.batch_size`` images at once.
        progress: show a progress bar.

    Returns:
        name to number, as in ``metrics.json``. What cannot be measured (a class without images) is left out.
    """
    encoded = _encode(cae, classifier, _images(data.test, config.seed), config.counterfactual.batch_size)
    setting = _Setting(cae, classifier, oracle, manifold, data, config, encoded)
    steps: list[Callable[[_Setting], dict[str, float]]] = [
        _reconstruction, _reassignment, _baselines, _coherency, _probes, _codes, _smote, _smoothness,
    ]  # fmt: skip
    metrics: dict[str, float] = {"cae/test_images": len(encoded.images), "cae/class_dim": manifold.codes.shape[1]}
    for step in tqdm(steps, desc="diagnostics", disable=not progress):
        metrics |= step(setting)
    return {name: float(value) for name, value in metrics.items() if math.isfinite(value)}


def _images(split: ImageSet, seed: int) -> Tensor:
    order = torch.randperm(len(split), generator=torch.Generator().manual_seed(seed))[:MOST_IMAGES]
    if not len(order):
        raise UserError("the diagnostics need training and test images, but a split is empty; see data.test_share.")
    return torch.cat([collate([split[i] for i in rows.tolist()]).images for rows in order.sort().values.split(256)])


def _encode(cae: Any, classifier: Any, images: Tensor, batch_size: int) -> _Encoded:
    parts = []
    for batch in images.split(batch_size):
        codes = cae.encode(batch.to(device_of(cae)))
        answers = classifier.probabilities(batch.to(device_of(classifier)))
        individual = codes.individual_code
        parts.append((codes.class_code, pooled(individual), channel_statistics(individual), answers))
    return _Encoded(images, *(torch.cat(column).float().cpu() for column in zip(*parts, strict=True)))


def _reconstruction(setting: _Setting) -> dict[str, float]:
    """Reconstructions beside their images, and whether the classifier still says the same."""
    absolute, squared, same = [], [], []
    device = device_of(setting.cae)
    for rows in torch.arange(len(setting.verdicts)).split(setting.batch_size):
        images = setting.test.images[rows].to(device)
        codes = setting.cae.encode(images)
        decoded = setting.cae.decode(codes.class_code, codes.individual_code)
        difference = (decoded - images).flatten(1)
        absolute.append(difference.abs().mean(1).cpu())
        squared.append(difference.square().mean(1).cpu())
        same.append(setting.classifier.probabilities(decoded).argmax(1).cpu() == setting.verdicts[rows])
    return {
        "cae/reconstruction_mae": float(torch.cat(absolute).mean()),
        "cae/reconstruction_psnr": float(peak_signal_to_noise(torch.cat(squared)).mean()),
        "cae/reconstruction_consistency": float(torch.cat(same).double().mean()),
    }


def _reassignment(setting: _Setting) -> dict[str, float]:
    """Swaps of all ordered pairs of classes, decoded and residual, under the target and under the oracle."""
    verdicts, names = setting.verdicts, list(setting.manifold.classes)
    count, seed = setting.config.manifold.pairs, setting.config.seed
    pairs = sample_pairs(verdicts, count, len(names), seed, same_class=True)
    judged = judge_swaps(setting.cae, setting.judges, setting.test.images, pairs, setting.batch_size, residual=True)
    rows, columns = verdicts[judged.recipients], verdicts[judged.donors]
    metrics = {"cae/swap_change": float(judged.change[rows != columns].mean())}
    for key, matrix in matrices(judged, verdicts).items():
        judge, _, output = key.partition("/")
        name = "cae/reassignment" + (f"_{output}" if output else "") + ("_oracle" if judge == "oracle" else "")
        scores = (judged.residual if output else judged.decoded)[judge]
        metrics[name] = reassignment_rate(matrix)
        low, high = reassignment_interval(*pairs, verdicts, scores.argmax(1) == columns, seed)
        metrics |= {f"{name}_low": low, f"{name}_high": high}
        if not output:
            metrics |= {
                f"{name}/{a}->{b}": float(matrix[i, j]) for i, a in enumerate(names) for j, b in enumerate(names)
            }
            suffix = "_oracle" if judge == "oracle" else ""
            metrics[f"cae/retention{suffix}"] = retention(matrix)
            metrics[f"cae/reassignment_soft{suffix}"] = reassignment_rate(
                soft_reassignment_matrix(rows, columns, scores, len(names))
            )
    return metrics


def _baselines(setting: _Setting) -> dict[str, float]:
    """Reassignment by class codes that carry no class: the rate that must be beaten."""
    verdicts, classes = setting.verdicts, len(setting.manifold.classes)
    if len(verdicts.unique()) < 2:
        return {}
    pairs = sample_pairs(verdicts, max(2, setting.config.manifold.pairs // 4), classes, setting.config.seed)
    target, metrics = {"target": setting.classifier}, {}
    for name, codes in baseline_codes(setting.manifold.codes, len(pairs[0]), setting.config.seed).items():
        judged = judge_swaps(setting.cae, target, setting.test.images, pairs, setting.batch_size, class_codes=codes)
        metrics[f"cae/reassignment_{name}"] = reassignment_rate(matrices(judged, verdicts)["target"])
    return metrics


def _coherency(setting: _Setting) -> dict[str, float]:
    """All swaps of some donors with some recipients: one answer per donor, and how many kinds of edit there are."""
    chosen = spread_over_classes(setting.verdicts, DONORS + RECIPIENTS, setting.config.seed)
    donors, recipients = chosen.chunk(2) if len(chosen) > 3 else (chosen, chosen)
    device = device_of(setting.cae)
    codes = setting.cae.encode(setting.test.images[recipients].to(device))
    own = setting.cae.decode(codes.class_code, codes.individual_code)
    before, answers, edits = setting.classifier.features(own), [], []
    for donor in donors.tolist():
        code = setting.test.class_code[donor].to(device).expand(len(recipients), -1)
        swaps = setting.cae.decode(code, codes.individual_code)
        answers.append(setting.classifier.probabilities(swaps).cpu())
        edits.append((setting.classifier.features(swaps) - before).cpu())
    split, cloud = coherency(setting.test.probabilities[donors], torch.stack(answers)), torch.stack(edits)
    cloud[cloud.abs() < 1e-5 * before.abs().max().cpu()] = 0  # rounding of the networks is no edit, but has directions
    return {
        "cae/coherency": float(split.agreement.mean()),
        "cae/coherency_bias": float(split.bias.mean()),
        "cae/modal_agreement": float(split.modal_agreement.mean()),
        "cae/participation_ratio_edits": participation_ratio(cloud.flatten(0, 1)),
        "cae/edit_coherency": edit_coherency(cloud) if len(recipients) > 1 else math.nan,
    }


def _probes(setting: _Setting) -> dict[str, float]:
    """Is the verdict read from the class code (it should be), and from the individual code (it should not be)?"""
    seed, test, manifold = setting.config.seed, setting.test, setting.manifold
    train = _encode(setting.cae, setting.classifier, _images(setting.data.train, seed), setting.batch_size)
    truth, known = setting.verdicts, train.probabilities.argmax(1)
    if min(len(truth.unique()), len(known.unique())) < 2:
        return {}
    knn = knn_probe(manifold.codes, manifold.verdicts, test.class_code, truth)
    logistic = logistic_probe(manifold.codes, manifold.verdicts, test.class_code, truth)
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


def _codes(setting: _Setting) -> dict[str, float]:
    """The cloud of class codes: how many dimensions it fills, and whether test codes lie where training codes do."""
    manifold = setting.manifold
    std = manifold.codes.double().std(0, correction=0)
    train = manifold.standardised(manifold.codes[manifold.subset])
    return {
        "cae/participation_ratio": participation_ratio(manifold.codes),
        "cae/smallest_std_share": float(std.min() / std.max()) if std.max() > 0 else 0.0,
        "cae/coverage": coverage(train, manifold.standardised(setting.test.class_code)) if len(train) > 1 else math.nan,
    }


def _smote(setting: _Setting) -> dict[str, float]:
    """Codes made between neighbours of one verdict, given to test images of other verdicts."""
    generator, seed = torch.Generator().manual_seed(setting.config.seed), setting.config.seed
    made = setting.manifold.smote(max(2, setting.config.manifold.pairs // 4), generator=generator)
    recipients = torch.randint(len(setting.verdicts), (len(made.codes),), generator=generator)
    other = setting.verdicts[recipients] != made.predictions
    if not other.any():
        return {}
    recipients, verdicts = recipients[other], made.predictions[other]
    judged = judge_swaps(
        setting.cae, setting.judges, setting.test.images, (recipients, recipients), setting.batch_size,
        residual=True, class_codes=made.codes[other],
    )  # fmt: skip
    metrics: dict[str, float] = {}
    images = [str(row) for row in recipients.tolist()]
    for output, scored in (("", judged.decoded), ("_residual", judged.residual)):
        for judge, scores in scored.items():
            name = f"cae/smote_reassignment{output}" + ("_oracle" if judge == "oracle" else "")
            metrics |= _figure(name, (scores.argmax(1) == verdicts).double(), images, seed)
    return metrics


def _smoothness(setting: _Setting) -> dict[str, float]:
    """Straight paths from test codes to training codes of the runner-up class, and to codes made between such."""
    rows = spread_over_classes(setting.verdicts, PATHS, setting.config.seed)
    targets = setting.test.probabilities[rows].topk(2).indices[:, 1]
    between = _made_between_confident(setting)
    metrics: dict[str, float] = {}
    for kind in ("smoothness", "smote_smoothness"):
        curves, slopes, images = [], [], []
        for row, target in zip(rows.tolist(), targets.tolist(), strict=True):
            code = setting.test.class_code[row]
            real = kind == "smoothness"
            ends = setting.manifold.references(code, target).codes if real else _nearest(setting, code, between[target])
            if len(ends):
                curve, slope = _walk(setting, row, ends[0], target)
                curves.append(curve)
                slopes.append(slope)
                images.append(str(row))
        if curves:
            metrics |= _curve_figures(f"cae/{kind}", torch.stack(curves), images, setting.config.seed)
            metrics[f"cae/{kind}_lipschitz"] = max(slopes)
    return metrics


def _made_between_confident(setting: _Setting) -> list[Tensor]:
    """For each class, codes made between two training codes that the classifier is as sure of as of references."""
    manifold = setting.manifold
    made = manifold.smote(2 * MOST_IMAGES, generator=torch.Generator().manual_seed(setting.config.seed))
    sure = manifold.probabilities.amax(1) >= CONFIDENT
    kept = sure[made.first] & sure[made.second]
    return [made.codes[kept & (made.predictions == k)] for k in range(len(manifold.classes))]


def _nearest(setting: _Setting, code: Tensor, codes: Tensor) -> Tensor:
    distance = (setting.manifold.standardised(codes) - setting.manifold.standardised(code)).norm(dim=1)
    return codes[distance.argsort(stable=True)[:1]]


def _walk(setting: _Setting, row: int, end: Tensor, target: int) -> tuple[Tensor, float]:
    """The target's probability ``(G,)`` on the decoded images of a straight path, and their Lipschitz estimate."""
    device = device_of(setting.cae)
    path = setting.manifold.path(setting.test.class_code[row], end, steps=POINTS).to(device)
    individual = setting.cae.encode(setting.test.images[row : row + 1].to(device)).individual_code
    parts = [(part, individual.expand(len(part), *individual.shape[1:])) for part in path.split(setting.batch_size)]
    decoded = [setting.cae.decode(*part) for part in parts]
    answers = torch.cat([setting.classifier.probabilities(part)[:, target].cpu() for part in decoded])
    return answers, lipschitz(torch.cat(decoded).cpu(), path.cpu())


def _curve_figures(name: str, curves: Tensor, images: Sequence[str], seed: int) -> dict[str, float]:
    return {
        **_figure(f"{name}_monotone", monotone_share(curves), images, seed),
        **_figure(f"{name}_largest_jump", largest_jump(curves), images, seed),
        **_figure(f"{name}_backtracking", backtracking(curves), images, seed),
    }


def _figure(name: str, values: Tensor, images: Sequence[str], seed: int) -> dict[str, float]:
    """A mean with its interval."""
    low, high = interval(values.double().numpy(), images, seed=seed)
    return {name: float(values.double().mean()), f"{name}_low": low, f"{name}_high": high}


def matrix_of(metrics: Mapping[str, float], classes: Sequence[str], name: str = "cae/reassignment") -> Tensor:
    """The reassignment matrix ``(K, K)`` that ``diagnose`` wrote cell by cell, e.g. for ``draw_reassignment``.

    Args:
        metrics: of ``diagnose``, or read from ``metrics.json``.
        classes: K names.
        name: ``cae/reassignment`` (target) or ``cae/reassignment_oracle``.

    Returns:
        NaN where nothing was measured.
    """
    return torch.tensor(
        [[metrics.get(f"{name}/{a}->{b}", math.nan) for b in classes] for a in classes], dtype=torch.float64
    )
