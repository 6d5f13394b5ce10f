"""A study of one class: the classifier is asked once, then any number of masks is scored and compared."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from cae.classifiers import TargetClassifier
from cae.errors import UserError
from cae.metrics.statistics import percentile_interval, resample_counts
from explainers.caes.causation import LEAST_IMAGES, Causation, causation_of, coefficients
from explainers.caes.classifier_responses import ClassifierResponses
from explainers.caes.masks import blob_masks, check_masks, rolled_masks
from explainers.caes.ncc import NeuralCausation
from explainers.caes.result import CausalScores, Difference, ScoreTerm
from explainers.caes.score_terms import (
    OF_NCC,
    SCORE_TERMS,
    Contributions,
    Responses,
    TermValues,
    averages,
    contributions,
    feature_ratios,
    known_direction,
    score_terms,
)
from explainers.caes.significance import feature_test, link_test, roll_test, swap_test
from explainers.caes.term_rows import Controls, TermTests, term_row, why_undefined
from explainers.infills import Fill, build_fill, without

LEAST_IMAGES_FOR_RATIOS = 20
SMALLEST_FEATURE = 1e-8  # sum over the images below which a feature counts as absent
CAUSATION_RESAMPLES = 200  # for which the coefficients are computed anew, which is slow
# what the option `fill` calls in-fills, each with its name in `explainers.infills`
FILLS = {"black": "black", "mean": "image_mean", "masked_blur": "masked_blur"}
PER_FEATURE = ("object", "context", "scale", "do")


@dataclass(frozen=True)
class ScoreSettings:
    """How a class is scored; see ``causal_scores`` for the meaning of each."""

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
    """How the classifier responds to the removal of one set of masks, and of their controls.

    ``versions`` holds the contributions under the masks themselves, with their ``gain`` over the displaced copies, then
    those under the copies; ``areas (N,)`` are shares of the image.
    """

    masks: Tensor
    versions: Sequence[Contributions]
    blobs: Sequence[Contributions]
    complement: Contributions
    areas: Tensor


class ClassStudy:
    """Images of one class under one classifier.

    Args:
        classifier: the classifier whose features are looked at.
        images: ``(N, C, H, W)`` in [0, 1], all of one class.
        target: number of that class.
        settings: of the scores.
        ncc: networks of the causation coefficient; None to leave its terms out.
        groups: patient (or other unit) of each image, which the bootstrap keeps together.

    Raises:
        UserError: for fewer than 20 images, or features that never vary.
    """

    def __init__(
        self,
        classifier: TargetClassifier,
        images: Tensor,
        target: int,
        settings: ScoreSettings,
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
        self.settings, self.ncc, self.groups = settings, ncc, groups
        self.fill = build_fill(settings.fill, FILLS)
        self.responses = ClassifierResponses(classifier, target, images, settings.batch_size)
        self.base = self.responses(self.images)
        everything = torch.ones_like(self.images[:, :1], dtype=torch.bool)
        self.blank = self.responses(without(self.images, everything, self.fill))
        features = self.base.features
        self.kept = (features.abs().sum(0) >= SMALLEST_FEATURE) & (features.std(0) > SMALLEST_FEATURE)
        if not bool(self.kept.any()):
            raise UserError("no feature of the classifier varies over these images: there is nothing to score.")

    @cached_property
    def causation(self) -> Causation | None:
        """Coefficients of the kept features; None without networks, or for too few images or constant evidence."""
        if self.ncc is None or len(self.images) < LEAST_IMAGES or float(self.base.evidence.std()) == 0:
            return None
        settings, features = self.settings, self.base.features[:, self.kept]
        return causation_of(
            features, self.base.evidence, self.ncc, settings.link_permutations, settings.seed, settings.all_points
        )

    @property
    def anticausal(self) -> Tensor | None:
        """Anticausal scores ``(F,)`` of the kept features, where they could be had."""
        return None if self.causation is None else self.causation.anticausal

    @cached_property
    def resamples(self) -> Tensor:
        """Bootstrap counts ``(n_boot, N)``, the same for all masks, so that differences are paired."""
        groups = range(len(self.images)) if self.groups is None else self.groups
        unique, member = np.unique(np.asarray(groups), return_inverse=True)
        counts = resample_counts(len(unique), self.settings.n_boot, np.random.default_rng([self.settings.seed, 1]))
        return torch.from_numpy(counts[:, member]).float()

    def removal_effects(self, masks: Tensor) -> RemovalEffects:
        """Ask the classifier about the images without the masks' area and about that area alone, and the controls.

        Two forward passes for each image and version: ``2 N (1 + rolls + blobs)`` in all.

        Raises:
            UserError: for masks that do not fit, or that are empty or full.
        """
        masks = check_masks(masks, self.images).to(self.images.device)
        generator = self._generator(2)
        rolled = [rolled_masks(masks, generator) for _ in range(self.settings.rolls)]
        blobs = [blob_masks(masks, generator) for _ in range(self.settings.blobs)]
        removed, alone = self._edited(masks)
        own = self._contributions(removed, alone)
        copies = [self._contributions(*self._edited(copy)) for copy in rolled]
        if copies:
            own["gain"] = own["necessity"] - torch.stack([copy["necessity"] for copy in copies]).mean(0)
        return RemovalEffects(
            masks=masks,
            versions=[own, *copies],
            blobs=[self._contributions(*self._edited(blob)) for blob in blobs],
            complement=self._contributions(alone, removed),
            areas=masks.flatten(1).float().mean(1).cpu(),
        )

    def score(self, effects: RemovalEffects, other: RemovalEffects | None = None, **facts: Any) -> CausalScores:
        """Every term with its controls and tests, and the difference to the masks of ``other``."""
        means = averages(effects.versions[0])
        values = self._terms(means)
        if self.causation is not None and self.responses.head is not None:
            contrast = self.responses.head.contrast(self.target)[self.kept]
            direction = known_direction(self.base.features[:, self.kept], self.causation.anticausal, contrast)
            values["ncc_known_direction"] = torch.tensor([direction])
        return CausalScores(
            terms=self._rows(effects, values, means),
            differences=() if other is None else tuple(self.differences(effects, other)),
            arrays=self._arrays(means),
            facts={**self._facts(effects), **facts},
        )

    def differences(self, effects: RemovalEffects, other: RemovalEffects) -> list[Difference]:
        """Each term of ``effects`` minus that of ``other``: interval from the same resamples, and the swap test."""
        pair, settings = (effects.versions[0], other.versions[0]), self.settings
        one, two = (self._terms(averages(each)) for each in pair)
        boot_one, boot_two = (self._terms(averages(each, self.resamples)) for each in pair)
        p = swap_test(*pair, self.anticausal, settings.top, settings.n_perm, self._generator(3))
        return [
            Difference(
                name, float(one[name] - two[name]), *percentile_interval(boot_one[name] - boot_two[name]), p[name]
            )
            for name in one
        ]

    def _edited(self, masks: Tensor) -> tuple[Responses, Responses]:
        """Responses without the masks' area, and to that area alone."""
        removed = self.responses(without(self.images, masks, self.fill))
        return removed, self.responses(without(self.images, ~masks, self.fill))

    def _contributions(self, removed: Responses, alone: Responses) -> Contributions:
        found = contributions(self.base, removed, alone, self.blank.evidence, self.responses.head, self.target)
        return {name: values[:, self.kept] if name in PER_FEATURE else values for name, values in found.items()}

    def _terms(self, means: Contributions) -> TermValues:
        return score_terms(means, self.anticausal, self.settings.top)

    def _rows(self, effects: RemovalEffects, values: TermValues, means: Contributions) -> tuple[ScoreTerm, ...]:
        controls, tests, intervals = self._controls(effects), self._tests(effects, values, means), self._ends(effects)
        rows = []
        for name in SCORE_TERMS:
            if name not in values or not bool(values[name].isfinite()):
                has = self.responses.head is not None, self.ncc is not None
                rows.append(ScoreTerm(name, None, reason=why_undefined(name, len(self.images), *has)))
                continue
            conditional = name in OF_NCC and not self.settings.boot_ncc
            ends = intervals.get(name, (None, None))
            rows.append(term_row(name, float(values[name]), ends, controls, tests, conditional))
        return tuple(rows)

    def _controls(self, effects: RemovalEffects) -> Controls:
        return Controls(
            rolled=[self._terms(averages(each)) for each in effects.versions[1:]],
            blobs=[self._terms(averages(each)) for each in effects.blobs],
            complement=self._terms(averages(effects.complement)),
            empty=self._terms(averages(self._contributions(self.base, self.blank))),
            full=self._terms(averages(self._contributions(self.blank, self.base))),
        )

    def _tests(self, effects: RemovalEffects, values: TermValues, means: Contributions) -> TermTests:
        a, top, draws = self.anticausal, self.settings.top, self.settings.n_perm
        versions, causation = effects.versions, self.causation
        return TermTests(
            roll=roll_test(versions, values, a, top, draws, self._generator(4)) if len(versions) > 1 else {},
            link=link_test(means, causation, top) if causation is not None and len(causation.link_null) else {},
            features={} if a is None else feature_test(means, values, a, top, draws, self._generator(5)),
        )

    def _ends(self, effects: RemovalEffects) -> dict[str, tuple[float, float]]:
        """Bootstrap interval of each term."""
        a, counts = self.anticausal, self.resamples
        if a is not None and self.settings.boot_ncc:
            a, counts = self._resampled_anticausal, self.resamples[:CAUSATION_RESAMPLES]
        replicates = score_terms(averages(effects.versions[0], counts), a, self.settings.top)
        return {name: percentile_interval(drawn) for name, drawn in replicates.items()}

    @cached_property
    def _resampled_anticausal(self) -> Tensor:
        """Coefficients ``(B, F)`` computed anew for resamples of the images."""
        if self.ncc is None:
            raise UserError("`boot_ncc` needs the networks of the causation coefficient: give `ncc`.")
        features, drawn = self.base.features[:, self.kept], []
        for counts in self.resamples[:CAUSATION_RESAMPLES]:
            rows = torch.arange(len(counts)).repeat_interleave(counts.long())
            drawn.append(coefficients(features[rows], self.base.evidence[rows], self.ncc).mean(0))
        return torch.stack(drawn)

    def _arrays(self, means: Contributions) -> dict[str, Tensor]:
        s_o, s_c = feature_ratios(means)
        full = feature_ratios(averages(self._contributions(self.blank, self.base)))[0]
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

    def _facts(self, effects: RemovalEffects) -> dict[str, Any]:
        settings, causation = self.settings, self.causation
        flags = []
        if causation is not None and causation.unstable:
            flags.append("unstable: the networks of the causation coefficient disagree on the order of the features")
        if self.responses.head is None:
            flags.append("no linear head was found: caes_do is left out")
        return {
            "class": self.classifier.classes[self.target],
            "images": len(self.images),
            "area_mean": float(effects.areas.mean()),
            "area_sd": float(effects.areas.std()),
            "features": int(self.kept.sum()),
            "features_dropped": int((~self.kept).sum()),
            "zeros_mean": float((self.base.features[:, self.kept] == 0).float().mean()),
            "fill": settings.fill if isinstance(settings.fill, str) else getattr(settings.fill, "__name__", "function"),
            "top": settings.top, "rolls": settings.rolls, "blobs": settings.blobs, "seed": settings.seed,
            "interval": "bootstrap over images" if self.groups is None else "bootstrap over groups",
            "ncc_networks": 0 if self.ncc is None else len(self.ncc.networks),
            "ncc_agreement": None if causation is None or math.isnan(causation.agreement) else causation.agreement,
            "ncc_accuracy": None if self.ncc is None else self.ncc.header.get("accuracy"),
            "flags": flags,
        }  # fmt: skip

    def _generator(self, salt: int) -> torch.Generator:
        return torch.Generator().manual_seed(self.settings.seed * 100 + salt)
