"""Training of classifier, oracle and CAE: opens the data, respects the run folder, trains, says what was written."""

from __future__ import annotations

from typing import Any

from pytorch_lightning.utilities.rank_zero import rank_zero_only

from cae.classifiers import TargetClassifier, load_classifier
from cae.classifiers.saved import load_oracle
from cae.config import Config
from cae.data import CAEDataModule
from cae.data.fingerprint import data_fingerprint, same_data
from cae.devices import device_of
from cae.diagnostics.cache import cached_diagnostics
from cae.diagnostics.diagnostic_warnings import diagnostic_warnings
from cae.errors import UserError
from cae.files import read_json
from cae.manifold.class_manifold import ClassManifold
from cae.models.cae import CAE
from cae.models.loading import load_cae
from cae.models.published import PublishedCAE
from cae.runs.run_folder import RunFolder
from cae.training.cae import take_over_cae, train_cae
from cae.training.classifier import train_classifier, train_oracle
from cae.training.trainer import say

SAME = {"data": same_data}  # how fingerprints are compared that may differ a little


def classifier_stage(config: Config) -> None:
    """Train the classifier to be explained."""
    data, run = _open(config)
    if run.prepare("classifier", _fingerprints(data), SAME).finished:
        return
    metrics = train_classifier(config, data, run.path)
    say(f"classifier: test accuracy {metrics['classifier/test_accuracy']:.1%}, written to '{run.path}'")


def oracle_stage(config: Config) -> None:
    """Train the oracle, a second classifier of another architecture."""
    data, run = _open(config)
    classifier = _classifier(config, data, run)
    if not run.prepare("oracle", _fingerprints(data, classifier), SAME).finished:
        _train_oracle(config, data, classifier, run)


def cae_stage(config: Config) -> None:
    """Train the class association embedding, and the oracle before it where the run has none; then measure both."""
    data, run = _open(config)
    classifier = _classifier(config, data, run)
    start = run.prepare("cae", _fingerprints(data, classifier), SAME)
    if not (run.path / "oracle.safetensors").exists():
        _train_oracle(config, data, classifier, run)
    oracle = load_oracle(run.path, classifier)
    run.depends_on("cae", {"oracle": oracle.fingerprint()})
    if not start.finished and config.cae.weights is not None:
        cae: CAE | PublishedCAE = take_over_cae(config, data, classifier, run.path)
        oracle.to(device_of(cae))
    elif not start.finished:
        cae = train_cae(config, data, classifier, oracle, run.path, start.checkpoint)
    elif "cae/reassignment" in read_json(run.path / "metrics.json"):
        return
    else:  # stopped between training and measuring
        cae, _ = load_cae(run.path / "cae.safetensors")
    _measure(config, data, cae, classifier, oracle, run)


def _fingerprints(data: CAEDataModule, classifier: TargetClassifier | None = None) -> dict[str, Any]:
    """What a training depends on beside its options."""
    models = {} if classifier is None else {"classifier": classifier.fingerprint()}
    return {"data": data_fingerprint(data.splits), **models}


def _open(config: Config) -> tuple[CAEDataModule, RunFolder]:
    data = CAEDataModule(config.data)
    data.setup()
    say(data.describe())
    return data, RunFolder(config)


def _classifier(config: Config, data: CAEDataModule, run: RunFolder) -> TargetClassifier:
    classifier = load_classifier(config.classifier, data.classes, data.image_shape, run.path)
    if config.cae.preset == "default" and not config.cae.black_box and not classifier.differentiable:
        raise UserError(
            "this classifier gives no gradients, which the training uses: set cae.black_box=true, which learns to "
            "imitate its answers instead."
        )
    return classifier


def _train_oracle(config: Config, data: CAEDataModule, classifier: TargetClassifier, run: RunFolder) -> None:
    metrics = train_oracle(config, data, classifier, run.path)
    say(f"oracle: agrees with the classifier on {metrics['oracle/agreement']:.1%} of the test images")


@rank_zero_only
def _measure(
    config: Config,
    data: CAEDataModule,
    cae: CAE | PublishedCAE,
    classifier: TargetClassifier,
    oracle: TargetClassifier,
    run: RunFolder,
) -> None:
    manifold = ClassManifold.load(run.path / "manifold.safetensors")
    metrics = cached_diagnostics(cae, classifier, oracle, manifold, data, config, run.path)
    _report(metrics, data.classes)
    print(f"cae: written to '{run.path}'; pictures of the training in '{run.path / 'samples'}'")


def _report(metrics: dict[str, float], classes: tuple[str, ...]) -> None:
    for name, words in (
        ("cae/reassignment", "swaps that take the donor's class, by the classifier"),
        ("cae/reassignment_oracle", "the same by the oracle"),
        ("cae/reconstruction_mae", "mean absolute reconstruction error"),
        ("cae/reconstruction_consistency", "reconstructions that keep the class"),
        ("cae/participation_ratio", "dimensions that the class codes fill"),
    ):
        print(f"  {metrics[name]:8.3f}  {words}")
    for sentence in diagnostic_warnings(metrics, classes):
        print(f"warning: {sentence}")
