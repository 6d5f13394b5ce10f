"""A trained class association embedding as an explainer: what has to change for another prediction."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from cae.classifiers import ClassifierReader, TargetClassifier, readable
from cae.classifiers.identity import state_digest
from cae.config import CounterfactualConfig
from cae.counterfactuals.find import find_counterfactuals, targets_for
from cae.counterfactuals.path_attribution import class_score, path_attribution_finite, path_attribution_gradient
from cae.counterfactuals.result import Counterfactual
from cae.errors import UserError
from cae.manifold.class_manifold import ClassManifold
from cae.models.loading import load_cae
from cae.runs.run_folder import CAE_COMMAND
from explainers.base import Explainer, Instance, InstanceResult
from explainers.option_checks import below, unknown

CHUNK = 16  # images searched together: each holds all images of its path
QUANTITIES = ("evidence", "saliency", "contribution")
REFERENCES = ("prototype", "medoid", "nearest", "diverse")
TOWARDS = ("runner-up", "any")


@dataclass(frozen=True, eq=False)
class TrainedCae:
    """A trained model and the class codes of its training split."""

    cae: Any
    manifold: ClassManifold


class CaeCounterfactual(Explainer):
    """What a path to another class changes in the image, as a map for the class explained.

    If the class explained is the one predicted, the counterfactual leads away from it, and what it changes is evidence
    for the class: positive. If it is another class, the counterfactual leads to it, and what it changes is what speaks
    against the class now: negative. Where no counterfactual is found, the map is 0 everywhere, and ``extras`` say why.

    Args:
        classifier: the classifier to explain, against which the CAE was trained.
        folder: run folder with ``cae.safetensors`` and ``manifold.safetensors``, or a ``TrainedCae``.
        batch_size: images in one forward pass at most.
        quantity: ``evidence``, the energy of the whole change, at the end of the path, as whole regions
            (``cae.metrics.localisation.evidence_map``); ``saliency``, the size of the change at the boundary, which is
            faint; or ``contribution``, each pixel's share in the fall of the class's probability up to the boundary,
            which sums to ``p(image) - p(counterfactual)`` and may have both signs. It follows gradients where the
            classifier has them.
        towards: class to which the prediction is led away: ``runner-up``, ``any`` that is reached first, or a name.
        output: ``residual`` or ``decoded``: images are the original plus the decoder's change, or the decoder's own.
        reference: code at the end of the path: ``prototype``, ``medoid``, ``nearest`` or ``diverse``.
        references: codes tried in turn.
        steps: points of the path.
        margin: by how much the reached class's probability must exceed every other.
        average: counterfactuals towards diverse references whose changes are averaged.

    Extras of every image: ``found`` (bool), ``status``, ``reason`` (words), ``source`` and ``reached`` (numbers of
    classes), ``boundary`` (position on the path in (0, 1]), ``margin``, ``reference_ids``, and where one was found
    ``counterfactual``, ``difference`` and ``reconstruction``, ``(C, H, W)``; None otherwise.

    Reference: Xie et al. 2024, arXiv:2406.07961.
    """

    name = "cae"
    resources = frozenset({"folder"})

    def __init__(
        self,
        classifier: TargetClassifier,
        *,
        folder: str | Path | TrainedCae | None = None,
        batch_size: int = 64,
        quantity: str = "evidence",
        towards: str = "runner-up",
        output: str = "residual",
        reference: str = "prototype",
        references: int = 5,
        steps: int = 21,
        margin: float = 0.05,
        average: int = 1,
    ):
        super().__init__(classifier, batch_size=batch_size)
        self.folder = folder
        self.quantity = quantity
        self.towards = towards
        self.output = output
        self.reference = reference
        self.references = references
        self.steps = steps
        self.margin = margin
        self.average = average
        self._check()
        self._trained = folder if isinstance(folder, TrainedCae) else open_trained(folder, classifier)

    @property
    def fingerprints(self) -> dict[str, str]:
        """Of the CAE."""
        return {"cae": state_digest(self._trained.cae)[:16]}

    def explain_image(self, instance: Instance) -> InstanceResult:
        """Find one counterfactual."""
        return next(self.explain_batch([instance]))

    def explain_batch(self, instances: Sequence[Instance]) -> Iterator[InstanceResult]:
        """Find counterfactuals for several images at once, in order."""
        for start in range(0, len(instances), CHUNK):
            chunk = instances[start : start + CHUNK]
            for instance, outcome in zip(chunk, self._search(chunk), strict=True):
                yield self._result(instance, outcome)

    def _search(self, instances: Sequence[Instance]) -> list[Counterfactual]:
        images = torch.stack([instance.image for instance in instances])
        _check_shape(images, self._trained.cae)
        cae = self._trained.cae.to(self.device)
        predictions = torch.stack([instance.probabilities for instance in instances]).argmax(1).cpu()
        wanted = torch.tensor([instance.target for instance in instances])
        leaving = wanted == predictions
        outcomes: dict[int, Counterfactual] = {}
        for rows, targets in self._groups(instances, leaving, wanted):
            found = find_counterfactuals(
                cae, self.classifier, self._trained.manifold, images[rows], targets=targets, config=self._config()
            )
            outcomes |= zip(rows.tolist(), found, strict=True)
        return [outcomes[row] for row in range(len(instances))]

    def _groups(
        self, instances: Sequence[Instance], leaving: Tensor, wanted: Tensor
    ) -> Iterator[tuple[Tensor, Tensor | None]]:
        """Rows of images and the classes to reach: away from the prediction, and towards the class explained."""
        away, towards = leaving.nonzero()[:, 0], (~leaving).nonzero()[:, 0]
        if len(away):
            probabilities = torch.stack([instances[row].probabilities for row in away.tolist()])
            anything = self.towards == "any" and "any" not in self.classifier.classes
            yield away, None if anything else targets_for(probabilities, self.towards, self.classifier.classes)[0]
        if len(towards):
            yield towards, wanted[towards]

    def _config(self) -> CounterfactualConfig:
        return CounterfactualConfig(
            target=self.towards, reference=self.reference, references=self.references, output=self.output,
            steps=self.steps, margin=self.margin, average=self.average, batch_size=self.batch_size,
        )  # fmt: skip

    def _result(self, instance: Instance, outcome: Counterfactual) -> InstanceResult:
        before = self.classifier.evaluations
        attribution = self._attribution(instance, outcome)
        # the search scored the original once more; the caller counts that
        spent = outcome.classifier_evaluations + self.classifier.evaluations - before
        return InstanceResult(attribution, _extras(outcome), spent)

    def _attribution(self, instance: Instance, outcome: Counterfactual) -> Tensor:
        """The map ``(1, H, W)``; 0 everywhere, ``(H, W)``, where no counterfactual was found."""
        end, saliency, evidence = outcome.counterfactual, outcome.saliency, outcome.evidence
        if end is None or saliency is None or evidence is None:
            return torch.zeros(instance.image.shape[1:])
        if self.quantity == "contribution":
            before = outcome.tau < (outcome.boundary or 0)
            # what the path takes away from the class is what spoke for it
            return -self._contribution(instance.target, torch.cat([outcome.path_images[before], end[None]]))
        sign = 1 if instance.target == outcome.source else -1
        return sign * (evidence if self.quantity == "evidence" else saliency)

    def _contribution(self, target: int, path: Tensor) -> Tensor:
        """Share ``(1, H, W)`` of each pixel in the change of a class's probability along images ``(G, C, H, W)``."""
        attribute = path_attribution_gradient if self.classifier.differentiable else path_attribution_finite
        found = attribute(class_score(self.classifier, target), path.to(self.device), self.batch_size)
        return found.attribution.sum(0, keepdim=True).cpu()

    def _check(self) -> None:
        problems: list[str] = []
        choices = (("quantity", QUANTITIES), ("output", ("residual", "decoded")), ("reference", REFERENCES))
        for option, known in (*choices, ("towards", (*TOWARDS, *self.classifier.classes))):
            problems += unknown(self, option, known)
        problems += below(self, 1, "references", "average") + below(self, 3, "steps")
        if not 0 <= self.margin < 1:
            problems.append(f"`margin` must be in [0, 1), but is {self.margin}.")
        if problems:
            raise UserError(problems)


def open_trained(folder: str | Path | None, classifier: TargetClassifier) -> TrainedCae:
    """The CAE and the class manifold of a run folder.

    Raises:
        UserError: if one is missing, or they belong to another classifier.
    """
    if folder is None:
        raise UserError(f"the explainer cae needs a run folder with a trained CAE: train one with `{CAE_COMMAND}`.")
    weights, codes = Path(folder) / "cae.safetensors", Path(folder) / "manifold.safetensors"
    for path in (weights, codes):
        if not path.is_file():
            raise UserError(f"the explainer cae needs '{path}': train it with `{CAE_COMMAND}`.")
    manifold = ClassManifold.load(codes)
    cae, header = load_cae(weights, lambda header: _reader(header, classifier, weights))
    _check_classifier(header, classifier, weights)
    if tuple(manifold.classes) != tuple(classifier.classes):
        raise UserError(
            f"'{codes}' knows the classes {', '.join(manifold.classes)}, but the classifier has "
            f"{', '.join(classifier.classes)}: train the CAE anew with `{CAE_COMMAND} overwrite=true`."
        )
    return TrainedCae(cae.eval().requires_grad_(False), manifold)


def _reader(header: dict[str, Any], classifier: TargetClassifier, path: Path) -> ClassifierReader | None:
    """What reads the classifier, for a CAE that is built on its features; those of another may be of other sizes."""
    _check_classifier(header, classifier, path)
    return readable(classifier)


def _check_classifier(header: dict[str, Any], classifier: TargetClassifier, path: Path) -> None:
    trained, present = header.get("classifier"), classifier.fingerprint()
    if trained not in (None, present):
        raise UserError(
            f"'{path}' was trained against another classifier (fingerprint {trained}) than the one to explain "
            f"({present}): train the CAE anew with `{CAE_COMMAND} overwrite=true`, or explain the former one."
        )


def _check_shape(images: Tensor, cae: Any) -> None:
    if tuple(images.shape[1:]) != tuple(cae.image_shape):
        raise UserError(
            f"the CAE was trained on images (C, H, W) = {tuple(cae.image_shape)}, but these are "
            f"{tuple(images.shape[1:])}."
        )


def _extras(outcome: Counterfactual) -> dict[str, Any]:
    return {
        "found": outcome.found,
        "status": outcome.status,
        "reason": outcome.reason,
        "source": outcome.source,
        "reached": outcome.target,
        "boundary": outcome.boundary,
        "margin": outcome.margin,
        "reference_ids": list(outcome.reference_ids),
        "counterfactual": outcome.counterfactual,
        "difference": outcome.difference,
        "reconstruction": outcome.reconstruction if outcome.found else None,
    }
