"""A study of one class: the classifier is asked once, then any number of masks is scored and compared."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from cae.classifiers import TargetClassifier
from cae.errors import UserError
from cae.metrics.statistics import percentile_interval, permutation_p_value, resample_counts
from explainers.caes.causation import LEAST_IMAGES, Causation, causation_of, coefficients
from explainers.caes.classifier_responses import ClassifierResponses
from explainers.caes.masks import blob_masks, check_masks, rolled_masks
from explainers.caes.ncc import NeuralCausation
from explainers.caes.result import CausalScores, Difference, Readout
from explainers.caes.score_terms import (
    OF_NCC,
    READOUTS,
    Answers,
    Terms,
    averages,
    feature_ratios,
    known_direction,
    reaction,
    readouts,
)
from explainers.infills import Fill, build_fill, without

LEAST_IMAGES_FOR_RATIOS = 20
SMALLEST_FEATURE = 1e-8  # sum over the images below which a feature counts as absent
DRAWS_AT_ONCE = 500
# what the option `fill` calls in-fills, each with its name in `explainers.infills`
FILLS = {"black": "black", "mean": "image_mean", "masked_blur": "masked_blur"}


@dataclass(frozen=True)
class ScoreSettings:
    """How a class is studied; see ``causal_scores`` for the meaning of each."""

    fill: str | Fill = "black"
    top: float = 0.01
    rolls: int = 20
    blobs: int = 0
    n_boot: int = 2000
    n_perm: int = 9999
    link_permutations: int = 199
    all_points: bool = False
    boot_ncc: bool = False
    batch_size: int = 128
    seed: int = 0


@dataclass(frozen=True, eq=False)
class RemovalEffects:
    """How the classifier reacts to the removal of one set of masks, and of their controls.

    ``versions`` holds the terms of the masks themselves, with their ``gain`` over the displaced copies, then those of
    the copies; ``areas (N,)`` are shares of the image.
    """

    masks: Tensor
    versions: Sequence[Terms]
    blobs: Sequence[Terms]
    complement: Terms
    areas: Tensor


class ClassStudy:
    """Images of one class under one classifier.

    Args:
        classifier: the classifier whose features are studied.
        images: ``(N, C, H, W)`` in [0, 1], all of one class.
        target: number of that class.
        plan: settings.
        ncc: networks of the causation coefficient; None to leave its readouts out.
        groups: patient (or other unit) of each image, which the bootstrap keeps together.

    Raises:
        UserError: for fewer than 20 images, or features that never vary.
    """

    def __init__(
        self,
        classifier: TargetClassifier,
        images: Tensor,
        target: int,
        plan: ScoreSettings,
        ncc: NeuralCausation | None = None,
        groups: Sequence[int] | None = None,
    ):
        if len(images) < LEAST_IMAGES_FOR_RATIOS:
            raise UserError(
                f"causal scores need at least {LEAST_IMAGES_FOR_RATIOS} images of a class, but there are {len(images)}."
            )
        if not 0 <= target < len(classifier.classes):
            raise UserError(f"`target` must be in [0, {len(classifier.classes)}), but got {target}.")
        self.classifier, self.images, self.target = classifier, images.detach(), target
        self.plan, self.ncc, self.groups = plan, ncc, groups
        self.fill = build_fill(plan.fill, FILLS)
        self.witness = ClassifierResponses(classifier, target, images, plan.batch_size)
        self.base = self.witness(self.images)
        everything = torch.ones_like(self.images[:, :1], dtype=torch.bool)
        self.blank = self.witness(without(self.images, everything, self.fill))
        features = self.base.features
        self.kept = (features.abs().sum(0) >= SMALLEST_FEATURE) & (features.std(0) > SMALLEST_FEATURE)
        if not bool(self.kept.any()):
            raise UserError("no feature of the classifier varies over these images: there is nothing to score.")

    @cached_property
    def causation(self) -> Causation | None:
        """Coefficients of the kept features; None without networks, or for too few images or constant evidence."""
        if self.ncc is None or len(self.images) < LEAST_IMAGES or float(self.base.evidence.std()) == 0:
            return None
        plan = self.plan
        features, evidence = self.base.features[:, self.kept], self.base.evidence
        return causation_of(features, evidence, self.ncc, plan.link_permutations, plan.seed, plan.all_points)

    @cached_property
    def resamples(self) -> Tensor:
        """Bootstrap counts ``(n_boot, N)``, the same for all masks, so that differences are paired."""
        groups = range(len(self.images)) if self.groups is None else self.groups
        unique, member = np.unique(np.asarray(groups), return_inverse=True)
        counts = resample_counts(len(unique), self.plan.n_boot, np.random.default_rng([self.plan.seed, 1]))
        return torch.from_numpy(counts[:, member]).float()

    def react(self, masks: Tensor) -> RemovalEffects:
        """Ask the classifier about the images without the masks' area and about that area alone, and the controls.

        Two forward passes for each image and version: ``2 N (1 + rolls + blobs)`` in all.

        Raises:
            UserError: for masks that do not fit, or that are empty or full.
        """
        masks = check_masks(masks, self.images).to(self.images.device)
        generator = self._generator(2)
        rolled = [rolled_masks(masks, generator) for _ in range(self.plan.rolls)]
        blobs = [blob_masks(masks, generator) for _ in range(self.plan.blobs)]
        removed, alone = self._edited(masks)
        own, copies = self._terms(removed, alone), [self._terms(*self._edited(copy)) for copy in rolled]
        if copies:
            own["gain"] = own["necessity"] - torch.stack([terms["necessity"] for terms in copies]).mean(0)
        return RemovalEffects(
            masks=masks,
            versions=[own, *copies],
            blobs=[self._terms(*self._edited(blob)) for blob in blobs],
            complement=self._terms(alone, removed),
            areas=masks.flatten(1).float().mean(1).cpu(),
        )

    def score(self, found: RemovalEffects, other: RemovalEffects | None = None, **facts: Any) -> CausalScores:
        """Every readout with its controls and tests, and the difference to the masks of ``other``."""
        a = None if self.causation is None else self.causation.anticausal
        means = averages(found.versions[0])
        values = readouts(means, a, self.plan.top)
        if self.causation is not None and self.witness.head is not None:
            contrast = self.witness.head.contrast(self.target)[self.kept]
            direction = known_direction(self.base.features[:, self.kept], self.causation.anticausal, contrast)
            values["ncc_known_direction"] = torch.tensor([direction])
        controls, tests, intervals = self._controls(found, a), self._tests(found, values, means), self._intervals(found)
        rows = [self._row(name, values, controls, tests, intervals) for name in READOUTS]
        return CausalScores(
            readouts=tuple(rows),
            differences=() if other is None else tuple(self.differences(found, other)),
            arrays=self._arrays(means),
            facts={**self._facts(found), **facts},
        )

    def differences(self, found: RemovalEffects, other: RemovalEffects) -> list[Difference]:
        """Each readout of ``found`` minus that of ``other``: interval from the same resamples, and the swap test."""
        a = None if self.causation is None else self.causation.anticausal
        pair = [found.versions[0], other.versions[0]]
        one, two = (readouts(averages(terms), a, self.plan.top) for terms in pair)
        boot_one, boot_two = (readouts(averages(terms, self.resamples), a, self.plan.top) for terms in pair)
        choice = torch.randint(2, (self.plan.n_perm, len(self.images)), generator=self._generator(3))
        null_one, null_two = self._drawn(pair, choice, a), self._drawn(pair, 1 - choice, a)
        rows = []
        for name in one:
            observed, null = one[name] - two[name], null_one[name] - null_two[name]
            low, high = percentile_interval(boot_one[name] - boot_two[name])
            p = float(permutation_p_value(observed[0], null, two_sided=True))
            rows.append(Difference(name, float(observed), low, high, p))
        return rows

    def _edited(self, masks: Tensor) -> tuple[Answers, Answers]:
        removed = self.witness(without(self.images, masks, self.fill))
        return removed, self.witness(without(self.images, ~masks, self.fill))

    def _terms(self, removed: Answers, alone: Answers) -> Terms:
        terms = reaction(self.base, removed, alone, self.blank.evidence, self.witness.head, self.target)
        per_feature = ("object", "context", "scale", "do")
        return {name: values[:, self.kept] if name in per_feature else values for name, values in terms.items()}

    def _controls(self, found: RemovalEffects, a: Tensor | None) -> dict[str, Any]:
        def of(terms: Terms) -> Terms:
            return readouts(averages(terms), a, self.plan.top)

        return {
            "rolled": [of(terms) for terms in found.versions[1:]],
            "blobs": [of(terms) for terms in found.blobs],
            "complement": of(found.complement),
            "empty": of(self._terms(self.base, self.blank)),
            "full": of(self._terms(self.blank, self.base)),
        }

    def _tests(self, found: RemovalEffects, values: Terms, means: Terms) -> dict[str, dict[str, float]]:
        """P-values by test and readout."""
        tests: dict[str, dict[str, float]] = {"roll": {}, "link": {}, "features": {}}
        a = None if self.causation is None else self.causation.anticausal
        if len(found.versions) > 1:
            shape = (self.plan.n_perm, len(self.images))
            choice = torch.randint(len(found.versions), shape, generator=self._generator(4))
            null = self._drawn(found.versions, choice, a)
            tests["roll"] = {name: float(permutation_p_value(values[name][0], null[name])) for name in null}
        if self.causation is not None and len(self.causation.link_null):
            observed = readouts(means, self.causation.link_observed, self.plan.top)
            null = readouts(means, self.causation.link_null, self.plan.top)
            tests["link"] = {
                name: float(permutation_p_value(observed[name][0], null[name])) for name in OF_NCC if name in null
            }
        if a is not None:
            order = torch.rand(self.plan.n_perm, len(a), generator=self._generator(5)).argsort(1)
            null = readouts(means, a[order], self.plan.top) if bool(a.isfinite().all()) else {}
            if null:
                tests["features"]["caes_rank"] = float(permutation_p_value(values["caes_rank"][0], null["caes_rank"]))
        return tests

    def _drawn(self, versions: Sequence[Terms], choice: Tensor, a: Tensor | None) -> Terms:
        """Readouts ``(draws,)`` where ``choice (draws, N)`` picks a version of the mask for each image."""
        count = len(self.images)
        shared = [name for name in versions[0] if all(name in terms for terms in versions)]
        flat = {name: torch.cat([terms[name] for terms in versions]) for name in shared}
        parts = []
        for picked in choice.split(DRAWS_AT_ONCE):
            places = picked * count + torch.arange(count)
            means = {name: F.embedding_bag(places, values, mode="mean") for name, values in flat.items()}
            parts.append(readouts(means, a, self.plan.top))
        return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}

    def _intervals(self, found: RemovalEffects) -> dict[str, tuple[float, float]]:
        if self.causation is None:
            replicates = readouts(averages(found.versions[0], self.resamples), None, self.plan.top)
        else:
            a = self._resampled_causation if self.plan.boot_ncc else self.causation.anticausal
            counts = self.resamples[: len(a)] if a.ndim > 1 else self.resamples
            replicates = readouts(averages(found.versions[0], counts), a, self.plan.top)
        return {name: percentile_interval(drawn) for name, drawn in replicates.items()}

    @cached_property
    def _resampled_causation(self) -> Tensor:
        """Coefficients ``(200, F)`` computed anew for resamples of the images."""
        if self.ncc is None:
            raise UserError("`boot_ncc` needs the networks of the causation coefficient: give `ncc`.")
        features, drawn = self.base.features[:, self.kept], []
        for counts in self.resamples[:200]:
            rows = torch.arange(len(counts)).repeat_interleave(counts.long())
            drawn.append(coefficients(features[rows], self.base.evidence[rows], self.ncc).mean(0))
        return torch.stack(drawn)

    def _row(self, name: str, values: Terms, controls: dict[str, Any], tests: dict[str, dict[str, float]],
             intervals: dict[str, tuple[float, float]]) -> Readout:  # fmt: skip
        if name not in values or not bool(values[name].isfinite()):
            return Readout(name, None, reason=self._why_not(name))
        value, (low, high) = float(values[name]), intervals.get(name, (None, None))
        rolled = torch.tensor([float(copy[name]) for copy in controls["rolled"] if name in copy])
        blobs = [float(blob[name]) for blob in controls["blobs"] if name in blob]
        deviation = float(rolled.std()) if len(rolled) > 1 else 0.0
        return Readout(
            name, value, low, high, conditional=name in OF_NCC and not self.plan.boot_ncc,
            rolled=float(rolled.mean()) if len(rolled) else None,
            excess=(value - float(rolled.mean())) / deviation if deviation > 0 else None,
            blobs=sum(blobs) / len(blobs) if blobs else None,
            complement=_number(controls["complement"], name),
            empty=_number(controls["empty"], name),
            full=_number(controls["full"], name),
            p_roll=tests["roll"].get(name), p_link=tests["link"].get(name), p_features=tests["features"].get(name),
        )  # fmt: skip

    def _why_not(self, name: str) -> str:
        if name == "necessity_gain":
            return "no displaced copies were asked for"
        if name in ("caes_do", "ncc_known_direction") and self.witness.head is None:
            return "the classifier has no linear head on its features"
        if name in OF_NCC and self.ncc is None:
            return "no networks of the causation coefficient were given"
        if name in OF_NCC and len(self.images) < LEAST_IMAGES:
            return f"{len(self.images)} images, fewer than {LEAST_IMAGES}"
        return "undefined here: a quantity that it compares does not vary"

    def _arrays(self, means: Terms) -> dict[str, Tensor]:
        s_o, s_c = feature_ratios(means)
        full = feature_ratios(averages(self._terms(self.blank, self.base)))[0]
        found = {
            "feature": self.kept.nonzero().flatten(),
            "s_o": s_o[0],
            "s_c": s_c[0],
            "s_o_norm": torch.where(full > 0, s_o / full, torch.nan)[0],
            "zeros": (self.base.features[:, self.kept] == 0).float().mean(0),
        }
        if "do" in means:
            found["do_effect"] = means["do"][0]
        if self.causation is not None:
            found |= {"anticausal": self.causation.anticausal, "anticausal_spread": self.causation.spread}
        return found

    def _facts(self, found: RemovalEffects) -> dict[str, Any]:
        plan, causation = self.plan, self.causation
        flags = []
        if causation is not None and causation.unstable:
            flags.append("unstable: the networks of the causation coefficient disagree on the order of the features")
        if self.witness.head is None:
            flags.append("no linear head was found: caes_do is left out")
        return {
            "class": self.classifier.classes[self.target],
            "images": len(self.images),
            "area_mean": float(found.areas.mean()),
            "area_sd": float(found.areas.std()),
            "features": int(self.kept.sum()),
            "features_dropped": int((~self.kept).sum()),
            "zeros_mean": float((self.base.features[:, self.kept] == 0).float().mean()),
            "fill": plan.fill if isinstance(plan.fill, str) else getattr(plan.fill, "__name__", "function"),
            "top": plan.top, "rolls": plan.rolls, "blobs": plan.blobs, "seed": plan.seed,
            "interval": "bootstrap over images" if self.groups is None else "bootstrap over groups",
            "ncc_networks": 0 if self.ncc is None else len(self.ncc.networks),
            "ncc_agreement": None if causation is None or math.isnan(causation.agreement) else causation.agreement,
            "ncc_accuracy": None if self.ncc is None else self.ncc.header.get("accuracy"),
            "flags": flags,
        }  # fmt: skip

    def _generator(self, salt: int) -> torch.Generator:
        return torch.Generator().manual_seed(self.plan.seed * 100 + salt)


def _number(values: Terms, name: str) -> float | None:
    """A control's readout; None where it is undefined, such as a rank correlation of ratios that are all zero."""
    value = float(values[name]) if name in values else math.nan
    return value if math.isfinite(value) else None
