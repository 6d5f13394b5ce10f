"""Training of classifier, oracle and CAE: opens the data, respects the run folder, trains, says what was written."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pytorch_lightning.utilities.rank_zero import rank_zero_only

from cae.classifiers import TargetClassifier, load_classifier, readable
from cae.classifiers.gates import (
    DIAGNOSTIC_FIGURES,
    classifier_advice,
    load_oracle,
    null_figures,
    saved_classifier_doubts,
)
from cae.classifiers.saved import is_trained_here
from cae.config import Config
from cae.data import CAEDataModule
from cae.devices import device_of
from cae.diagnostics.cache import cached_diagnostics
from cae.diagnostics.diagnostic_warnings import diagnostic_warnings
from cae.diagnostics.figures import draw_confusion
from cae.errors import UserError
from cae.files import read_json, update_json
from cae.manifold.class_manifold import ClassManifold
from cae.models.cae import CAE
from cae.models.loading import load_cae
from cae.models.published import PublishedCAE
from cae.runs.label_agreement import report_agreement
from cae.runs.run_folder import RunFolder
from cae.runs.training_data import begin_stage, open_training_data
from cae.training.cae import take_over_cae, train_cae
from cae.training.classifier import train_classifier, train_oracle
from cae.training.surrogate import surrogate_for
from cae.training.trainer import say

BY_HEART = 0.10  # by which swaps of training images may do better than those of validation images


def classifier_stage(config: Config) -> None:
    """Train the classifier to be explained."""
    data, run = open_training_data(config, "classifier")
    if begin_stage(run, "classifier", data).finished:
        _draw_missing(run, "classifier")
        return
    metrics = train_classifier(config, data, run.path)
    say(
        f"classifier: balanced accuracy {metrics['classifier/test_balanced_accuracy']:.1%} on the test images "
        f"(accuracy {metrics['classifier/test_accuracy']:.1%}), written to '{run.path}'"
    )
    _draw(run, "classifier")
    for sentence in saved_classifier_doubts(run.path):
        say(f"warning: {sentence}")
    advice = classifier_advice(config.classifier, metrics["classifier/test_balanced_accuracy"], len(data.train))
    if advice is not None:
        say(f"note: {advice}")


def oracle_stage(config: Config) -> None:
    """Train the oracle, a second classifier of another architecture."""
    data, run = open_training_data(config, "oracle")
    classifier = _classifier(config, data, run)
    if begin_stage(run, "oracle", data, classifier).finished:
        _draw_missing(run, "oracle")
        return
    _try_on_labels(config, data, classifier, run)
    _train_oracle(config, data, classifier, run)


def cae_stage(config: Config) -> None:
    """Train the class association embedding, and the oracle before it where the run has none; then measure both."""
    data, run = open_training_data(config, "cae")
    classifier = _classifier(config, data, run)
    start = begin_stage(run, "cae", data, classifier)
    _try_on_labels(config, data, classifier, run)
    if (run.path / "oracle.safetensors").exists():
        _draw_missing(run, "oracle")
    else:
        _train_oracle(config, data, classifier, run)
    oracle, doubt = load_oracle(run.path, classifier)
    if doubt is not None:
        say(f"warning: {doubt}")
    judge, _ = load_oracle(run.path, classifier, "val")  # of the validations, by which the best weights are chosen
    if judge is not None and oracle is None:
        say("On validation images it agrees often enough, so the validations of the training ask it all the same.")
    needed = not start.finished and config.cae.weights is None
    surrogate = surrogate_for(config, data, classifier, run.path, start.checkpoint) if needed else None
    fingerprints = {"oracle": judge, **({"surrogate": surrogate} if needed else {})}
    run.depends_on("cae", {name: "" if model is None else model.fingerprint() for name, model in fingerprints.items()})
    if not start.finished and config.cae.weights is not None:
        cae: CAE | PublishedCAE = take_over_cae(config, data, classifier, run.path)
    elif not start.finished:
        cae = train_cae(config, data, classifier, judge, run.path, start.checkpoint, surrogate)
    elif "cae/reassignment" in read_json(run.path / "metrics.json"):
        return
    else:  # stopped between training and measuring
        cae, _ = load_cae(run.path / "cae.safetensors", lambda _: readable(classifier))
    if oracle is not None:
        oracle.to(device_of(cae))
    update_json(run.path / "metrics.json", null_figures(doubt, DIAGNOSTIC_FIGURES))  # before those that tell the end
    _measure(config, data, cae, classifier, oracle, run)


def _classifier(config: Config, data: CAEDataModule, run: RunFolder) -> TargetClassifier:
    classifier = load_classifier(config.classifier, data.classes, data.image_shape, run.path)
    if config.cae.preset == "default" and not config.cae.black_box and not classifier.differentiable:
        raise UserError(
            "this classifier gives no gradients, which the training uses: set cae.black_box=true, which learns to "
            "imitate its answers instead."
        )
    return classifier


def _try_on_labels(config: Config, data: CAEDataModule, classifier: TargetClassifier, run: RunFolder) -> None:
    """How many labelled images a classifier of the user is right on; that of one trained here is known.

    What is wrong with either is told.
    """
    if is_trained_here(config.classifier):
        for sentence in saved_classifier_doubts(run.path):
            say(f"warning: {sentence}")
        return
    found = report_agreement(classifier, data, "test", config.classifier, run.path)
    if found is not None:
        update_json(run.path / "metrics.json", found.metrics())


def _train_oracle(config: Config, data: CAEDataModule, classifier: TargetClassifier, run: RunFolder) -> None:
    metrics = train_oracle(config, data, classifier, run.path)
    say(
        f"oracle: agrees with the classifier on {metrics['oracle/agreement']:.1%} of the test images "
        f"({metrics['oracle/balanced_agreement']:.1%}, balanced over its predictions)"
    )
    _draw(run, "oracle")


def _draw_missing(run: RunFolder, name: str) -> None:
    """The picture of a classifier whose training was stopped at its very end."""
    needed = {"confusion", "classes"} | ({"agreement"} if name == "oracle" else set())
    if not (run.path / f"{name}_confusion.png").exists() and needed <= read_json(run.path / f"{name}.json").keys():
        _draw(run, name)


@rank_zero_only
def _draw(run: RunFolder, name: str) -> None:
    """A picture of what a classifier makes of the test images: ``<name>_confusion.png``."""
    described = read_json(run.path / f"{name}.json")
    matrices = [("class of the image", f"class by the {name}", described["confusion"])]
    if name == "oracle":
        matrices.append(("class by the classifier", "class by the oracle", described["agreement"]))
    draw_confusion(matrices, described["classes"], run.path / f"{name}_confusion.png")


@rank_zero_only
def _measure(
    config: Config,
    data: CAEDataModule,
    cae: CAE | PublishedCAE,
    classifier: TargetClassifier,
    oracle: TargetClassifier | None,
    run: RunFolder,
) -> None:
    manifold = ClassManifold.load(run.path / "manifold.safetensors")
    metrics = cached_diagnostics(cae, classifier, oracle, manifold, data, config, run.path)
    _report(metrics, data.classes)
    _report_validations(read_json(run.path / "metrics.json"))
    print(f"cae: written to '{run.path}'; pictures of the training in '{run.path / 'samples'}'")


def _report(metrics: dict[str, float], classes: tuple[str, ...]) -> None:
    for name, words in (
        ("cae/reassignment", "swaps that take the donor's class, by the classifier"),
        ("cae/reassignment_oracle", "the same by the oracle"),
        ("cae/reconstruction_mae", "mean absolute reconstruction error"),
        ("cae/reconstruction_consistency", "reconstructions that keep the class"),
        ("cae/participation_ratio", "dimensions that the class codes fill"),
    ):
        if name in metrics:
            print(f"  {metrics[name]:8.3f}  {words}")
    for sentence in diagnostic_warnings(metrics, classes):
        print(f"warning: {sentence}")


def _report_validations(metrics: Mapping[str, Any]) -> None:
    """What the curve of the training says: whether the set was learnt by heart."""
    last, training = metrics.get("cae/validation_last"), metrics.get("cae/training_last")
    if last is None or training is None:
        return
    print(f"  {last:8.3f}  swaps of validation images at the end of the training, by the lower of both")
    print(f"  {training:8.3f}  the same of training images")
    if training - last > BY_HEART:
        print(
            f"warning: swaps of training images follow by {training - last:.2f} more often than those of validation "
            "images: the training images are learnt by heart. More images help most, then cae.augment=true and "
            "data.flip=true where left and right mean the same."
        )
