"""Counterfactuals: the class code is moved along a path until the classifier's decision changes, and not further."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import torch
from torch import Tensor

from cae.classifiers import TargetClassifier
from cae.config import CounterfactualConfig
from cae.counterfactuals.path_search import BoundaryPoint, CandidateDecoder, PathTrace, TargetCriterion
from cae.counterfactuals.references import ReferenceSearch, find_references, trace_to_references
from cae.counterfactuals.regions import change_regions, region_effects
from cae.counterfactuals.result import Counterfactual
from cae.errors import UserError, did_you_mean
from cae.manifold.class_manifold import ClassManifold
from cae.metrics.counterfactual import diversity
from cae.models.cae import CAE
from cae.models.published import PublishedCAE

WORDS = ("runner-up", "any", "all")


def targets_for(probabilities: Tensor, option: str, classes: Sequence[str]) -> list[Tensor]:
    """Which class each image is to reach, as ``(B,)`` indices, once for every round of explanations.

    Args:
        probabilities: ``(B, K)`` of the classifier.
        option: a class name, ``runner-up`` (the most probable class but the predicted one), or ``all``.
        classes: names of the K classes.

    Returns:
        One tensor; with ``all``, K - 1 of them: first every image's runner-up, at last its least probable class.

    Raises:
        UserError: if ``option`` is none of these.
    """
    if option in classes:
        return [torch.full((len(probabilities),), list(classes).index(option), dtype=torch.int64)]
    ranked = probabilities.detach().cpu().argsort(dim=1, descending=True, stable=True)
    if option == "runner-up":
        return [ranked[:, 1]]
    if option == "all":
        return list(ranked[:, 1:].unbind(1))
    known = [*classes, *WORDS]
    raise UserError(
        f"counterfactual.target must be a class name, runner-up, any or all, but got {option!r}"
        f"{did_you_mean(option, known)}; the classes are {', '.join(classes)}."
    )


def find_counterfactuals(
    cae: CAE | PublishedCAE,
    classifier: TargetClassifier,
    manifold: ClassManifold,
    images: Tensor,
    *,
    targets: Tensor | None = None,
    config: CounterfactualConfig | None = None,
    ids: Sequence[str] | None = None,
    seed: int = 0,
    reference_codes: Tensor | None = None,
    reference_ids: Sequence[str] | None = None,
    quantise: bool = True,
) -> list[Counterfactual]:
    """Explain every image by the smallest step towards another class that changes the classifier's decision.

    The class code moves from the image's own to a code of the target class; the first point of the path whose image
    reaches the target with the margin asked for is refined by bisection. References are tried in turn until one
    succeeds, or, with ``config.average`` above 1, a path leads to each of them and their differences are averaged.

    Args:
        cae: the trained model, in evaluation mode.
        classifier: the target classifier.
        manifold: class codes of the training split.
        images: ``(B, C, H, W)`` in [0, 1]. Best of 256 levels, as files hold them: images are classified and
            returned with 256 levels, so that another original adds its own rounding, at most 1/510, to the difference.
        targets: ``(B,)`` class to reach for each image, instead of ``config.target``.
        config: options of the search.
        ids: one per image, by default their numbers.
        seed: of the random search that ``reference=optimise`` makes for a black box.
        reference_codes: with ``reference=image``, class codes ``(B, D)`` or one ``(D,)`` for all.
        reference_ids: their ids.
        quantise: round images to 8 bits before they are classified and returned.

    Returns:
        One result per image, in order; the same whatever ``config.batch_size``, up to rounding of the networks. Each
        holds all images of its path, so a large data set is best explained in parts.

    Reference: Xie et al. 2024, arXiv:2406.07961, whose path stops at the first of six points with another prediction.
    """
    started = time.perf_counter()
    config = config or CounterfactualConfig()
    _check(images, targets, config, reference_codes, ids, manifold)
    # not inference mode, even if the caller is in it: an optimised reference needs gradients of the codes
    with torch.inference_mode(False), torch.no_grad():
        decoder = CandidateDecoder(
            cae, classifier, images, output=config.output, batch_size=config.batch_size, quantise=quantise
        )
        criterion = _criterion(decoder.probabilities, targets, config, manifold.classes)
        names = [str(number) for number in range(len(images))] if ids is None else list(ids)
        searches = [ReferenceSearch(name) for name in names]
        _mark_without_search(searches, decoder, criterion)
        given = None if reference_codes is None else reference_codes.detach().float().cpu()
        find_references(searches, decoder, criterion, manifold, config, seed, given, reference_ids)
        trace_to_references(searches, decoder, criterion, manifold, config)
        regions = [_regions(row, search.trace, decoder, criterion) for row, search in enumerate(searches)]
    share = (time.perf_counter() - started) / max(len(images), 1)
    fingerprint = _fingerprint(config, manifold, quantise)
    report = _Report(decoder, criterion, config, manifold.classes, share, seed, fingerprint)
    return [
        report.result(row, search, *judged) for row, (search, judged) in enumerate(zip(searches, regions, strict=True))
    ]


def _criterion(
    probabilities: Tensor, targets: Tensor | None, config: CounterfactualConfig, classes: Sequence[str]
) -> TargetCriterion:
    sources = probabilities.argmax(1)
    if targets is None and config.target == "any" and "any" not in classes:
        return TargetCriterion(sources, None, config.margin)
    if targets is None:
        (targets,) = targets_for(probabilities, config.target, classes)
    return TargetCriterion(sources, targets.detach().cpu().long(), config.margin)


def _mark_without_search(
    searches: list[ReferenceSearch], decoder: CandidateDecoder, criterion: TargetCriterion
) -> None:
    """Note the status of images that need no search, or allow none."""
    starts = decoder.start_probabilities.argmax(1)
    for row, search in enumerate(searches):
        if criterion.targets is not None and criterion.targets[row] == criterion.sources[row]:
            search.status = "already_target"
        elif starts[row] != criterion.sources[row]:
            search.status = "reconstruction_flip"


def _regions(
    row: int, trace: PathTrace | None, decoder: CandidateDecoder, criterion: TargetCriterion
) -> tuple[Tensor | None, Tensor | None]:
    """The regions of the change at the end of a path, and what each does alone; None without a path."""
    if trace is None:
        return None, None
    start, end, rows = trace.images[0], trace.images[-1], torch.tensor([row])

    def margins(images: Tensor) -> Tensor:
        probabilities = decoder.classify(rows.expand(len(images)), images)
        return criterion.margins(probabilities[None], rows)[0]

    cells = change_regions(end - start)
    return cells, region_effects(start, end, cells, margins, (float(trace.margins[0]), float(trace.margins[-1])))


@dataclass(frozen=True, eq=False)
class _Report:
    """Turns what a search found into its result."""

    decoder: CandidateDecoder
    criterion: TargetCriterion
    config: CounterfactualConfig
    classes: tuple[str, ...]
    seconds: float
    seed: int
    fingerprint: str

    def result(
        self, row: int, search: ReferenceSearch, regions: Tensor | None, effects: Tensor | None
    ) -> Counterfactual:
        """The result for image ``row``, whose change has these regions with these effects."""
        boundary, trace = search.boundary, search.trace or self._start_alone(row)
        status = "found" if boundary else search.status
        tried = search.trace is not None
        margin = boundary.margin if boundary else float(trace.margins[trace.best]) if tried else None
        asked = self.config.margin
        target = self._target(row, boundary, trace)
        several = torch.stack(search.differences) if search.differences else None
        return Counterfactual(
            id=search.id,
            classes=self.classes,
            source=int(self.criterion.sources[row]),
            target=target,
            status=status,
            reason=self._reason(row, status, target, search, margin),
            output=self.config.output,
            original=self.decoder.images[row].cpu().clone(),
            reconstruction=self.decoder.rounded(self.decoder.reconstructions[row]).cpu(),
            counterfactual=boundary.image.clone() if boundary else None,
            closest=trace.images[trace.best].clone() if tried and not boundary else None,
            tau=trace.tau,
            path_codes=trace.codes.clone(),
            path_images=trace.images.clone(),  # a view would keep the whole batch in memory
            path_probabilities=trace.probabilities.clone(),
            boundary=boundary.tau if boundary else None,
            boundary_probabilities=boundary.probabilities.clone() if boundary else None,
            margin=margin,
            overshoot=boundary.margin - asked if boundary else None,
            overshoot_without_bisection=boundary.margin_on_grid - asked if boundary else None,
            sign_changes=trace.sign_changes,
            difference=several.mean(0) if several is not None else None,
            difference_std=several.std(0, correction=0) if several is not None and len(several) > 1 else None,
            averaged=len(search.differences),
            diversity=diversity(several) if several is not None and len(several) > 1 else None,
            reference_ids=tuple(search.found_ids) if boundary else (search.trace_reference,) if tried else (),
            classifier_evaluations=int(self.decoder.classifier_evaluations[row]),
            decoder_evaluations=int(self.decoder.decoder_evaluations[row]),
            seconds=self.seconds,
            seed=self.seed,
            fingerprint=self.fingerprint,
            regions=regions,
            region_effects=effects,
        )

    def _start_alone(self, row: int) -> PathTrace:
        """A path of one point, for an image that needs no path or has no reference."""
        rows = torch.tensor([row])
        probabilities = self.decoder.start_probabilities[rows]
        margins = self.criterion.margins(probabilities[:, None], rows)[0]
        reached = self.criterion.reached(probabilities[:, None], rows)[0]
        tau, images = torch.zeros(1, dtype=torch.float64), self.decoder.start_images[rows]
        return PathTrace(tau, self.decoder.class_codes[rows], images, probabilities, margins, reached)

    def _target(self, row: int, boundary: BoundaryPoint | None, trace: PathTrace) -> int:
        if self.criterion.targets is not None:
            return int(self.criterion.targets[row])
        probabilities = (boundary.probabilities if boundary else trace.probabilities[trace.best]).clone()
        probabilities[self.criterion.sources[row]] = -torch.inf
        return int(probabilities.argmax())

    def _reason(self, row: int, status: str, target: int, search: ReferenceSearch, margin: float | None) -> str:
        source, wanted = self.classes[int(self.criterion.sources[row])], self.classes[target]
        if status == "found" and search.boundary:
            return f"the decision changes from {source} to {wanted} at {search.boundary.tau:.0%} of the path"
        if status == "already_target":
            return f"the classifier says {wanted} already"
        if status == "reconstruction_flip":
            predicted = self.classes[int(self.decoder.start_probabilities[row].argmax())]
            return f"the reconstruction alone is classified as {predicted}, so a change would prove nothing"
        if margin is None:
            return f"the classifier sees {wanted} in no training image, so there is no code to move towards"
        paths, asked = "1 path" if search.tried == 1 else f"{search.tried} paths", self.config.margin
        return f"{wanted} is not reached along {paths}: its margin comes to {margin:+.3f} at best, not to {asked:g}"


def _fingerprint(config: CounterfactualConfig, manifold: ClassManifold, quantise: bool) -> str:
    words = json.dumps([asdict(config), manifold.fingerprints, quantise], sort_keys=True)
    return hashlib.sha256(words.encode()).hexdigest()[:16]


def _check(
    images: Tensor,
    targets: Tensor | None,
    config: CounterfactualConfig,
    codes: Tensor | None,
    ids: Sequence[str] | None,
    manifold: ClassManifold,
) -> None:
    """Raise one UserError with everything that is wrong with the call."""
    problems, count, classes = [], len(images), len(manifold.classes)
    if images.ndim != 4 or not images.is_floating_point() or not count:
        found = f"{images.dtype} {tuple(images.shape)}"
        problems.append(f"`images` must be a float tensor (B, C, H, W) with at least one image, but is {found}.")
    if targets is not None and (targets.shape != (count,) or targets.min() < 0 or targets.max() >= classes):
        problems.append(f"`targets` must be ({count},) indices in [0, {classes}), but is {targets.tolist()}.")
    if targets is None and config.target == "all" and "all" not in manifold.classes:
        problems.append(
            "counterfactual.target=all gives each image several targets: pass those of targets_for() in turn."
        )
    if ids is not None and len(ids) != count:
        problems.append(f"`ids` must name each of the {count} images, but has {len(ids)} entries.")
    width = manifold.codes.shape[1]
    if config.reference == "image" and (codes is None or codes.shape not in ((width,), (1, width), (count, width))):
        shape = None if codes is None else tuple(codes.shape)
        wanted = f"`reference_codes` ({count}, {width}) or ({width},)"
        problems.append(f"counterfactual.reference=image needs {wanted}, but got {shape}.")
    if config.average > 1 and config.reference in ("image", "optimise"):
        problems.append(
            f"counterfactual.average={config.average} averages over diverse training images, which excludes "
            f"counterfactual.reference={config.reference}: use average=1 or another reference."
        )
    if problems:
        raise UserError(problems)
