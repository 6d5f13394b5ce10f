"""The models of the sanity tests: classifiers with known faults, and a CAE for each, in run folders of their own."""

from __future__ import annotations

import copy
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from cae.classifiers import TargetClassifier, load_classifier, load_own, readable, save_classifier
from cae.classifiers.networks import OWN_NETWORKS, reductions_for
from cae.classifiers.saved import build_network
from cae.config import CAEConfig, Config
from cae.config.checks import check_config
from cae.config.fields import differing, get_value, set_value, shown
from cae.config.former_options import present_values
from cae.data import CAEDataModule, collate
from cae.data.fingerprint import same_data
from cae.data.lesions import KINDS
from cae.devices import device_for
from cae.errors import UserError
from cae.files import atomic_path
from cae.manifold.class_manifold import ClassManifold
from cae.models.cae import CAE, read_weights
from cae.models.loading import load_cae
from cae.models.published import PublishedCAE
from cae.runs.run_config import load_run_config
from cae.runs.run_folder import RunFolder
from cae.sanity.relabelled_data import RelabelledData, marker_labels
from cae.training.cae import logits_of, train_cae
from cae.training.classifier import train_classifier, train_oracle
from cae.training.surrogate import surrogate_for

NO_MATTER = ("data.workers", "data.cache")  # options that change no result
DECIDING = ("seed", "data", "classifier", "oracle", "cae")
_REMEDY = "give overwrite=true to test anew, or sanity.folder=… to keep it."


@dataclass(frozen=True, eq=False)
class ControlModel:
    """A classifier and the CAE that was trained against it, frozen, on the device that explains."""

    config: Config
    data: CAEDataModule
    classifier: TargetClassifier
    cae: CAE | PublishedCAE
    manifold: ClassManifold


def control_config(config: Config, test: str, name: str, **changes: Any) -> Config:
    """The options of a control model: those of the run, in its own run folder, with ``changes`` (``data__seed=1``).

    Raises:
        UserError: if they contradict each other, as a warm-up longer than ``sanity.steps`` does.
    """
    found = copy.deepcopy(config)
    found.runs, found.name = str(sanity_folder(config) / test), name
    found.resume, found.overwrite = "last", False
    found.cae.max_steps = config.sanity.steps or config.cae.max_steps
    for option, value in changes.items():
        set_value(found, option.replace("__", "."), value)
    check_config(found)
    return found


def marked_config(config: Config, test: str, name: str, strength: float, **changes: Any) -> Config:
    """Options with two classes, and markers that go with one of them this strongly; all else stays."""
    lesions = config.data.lesions
    other = next(kind for kind in (*lesions.classes, *KINDS) if kind != lesions.shortcut_class)
    return control_config(
        config, test, name, data__lesions__shortcut=strength,
        data__lesions__classes=sorted((lesions.shortcut_class, other), key=KINDS.index), **changes,
    )  # fmt: skip


def marker_model(config: Config) -> ControlModel:
    """A classifier that goes by the marker alone, and the CAE for it: both saw markers and lesions independent.

    Its training labels say whether an image is marked, whatever the lesion; half of them are wrong about the lesion.
    """
    found = marked_config(config, "marker", "follower", 0.0, oracle__labels="dataset")
    data = CAEDataModule(found.data)
    marked = list(data.classes).index(found.data.lesions.shortcut_class)
    classifier = control_classifier(found, RelabelledData(found.data, marker_labels(marked, 1 - marked)))
    return control_model(found, data, classifier)


def sanity_folder(config: Config) -> Path:
    """Where models and results of the sanity tests lie.

    Raises:
        UserError: if ``sanity.folder`` is no folder of the run, or that of a training.
    """
    return RunFolder(config).beside_trainings(config.sanity.folder, "sanity.folder")


def control_classifier(config: Config, data: CAEDataModule) -> TargetClassifier:
    """A classifier trained with these options on this data, or the finished one of the folder."""
    run = _folder(config)
    if not run.prepare("classifier").finished:
        train_classifier(config, data, run.path)
    return load_classifier(config.classifier, data.classes, data.image_shape, run.path)


def control_oracle(config: Config, data: CAEDataModule, classifier: TargetClassifier) -> TargetClassifier:
    """A second classifier, trained on the labels of this data, or the finished one of the folder."""
    run = _folder(config)
    if not run.prepare("oracle").finished:
        train_oracle(config, data, classifier, run.path)
    return load_own(run.path, "oracle").to(device_for(config.trainer.accelerator, config.trainer.devices))


def random_classifier(config: Config, data: CAEDataModule) -> TargetClassifier:
    """The architecture of the run's classifier with weights that never saw an image, its logits standardised."""
    options = config.classifier
    if options.model not in OWN_NETWORKS:
        raise UserError(
            f"sanity.tests=randomised re-initialises the classifier, which is for the program's own networks "
            f"({', '.join(OWN_NETWORKS)}), not for classifier.model={options.model}: leave this test out."
        )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed + 1)
        channels, *size = data.image_shape
        reductions = reductions_for([options.input_size] * 2 if options.input_size else size)
        network = build_network(options.model, len(data.classes), channels, options.width, reductions)
    # batch norm must have met the images, or all logits are alike up to what half precision rounds away
    for layer in network.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.momentum = None  # the mean over all batches
    network.train()
    _show_images(network, _bare(network, config, data).preprocess, data)
    network.eval()
    return standardised_classifier(config, data, network)


@torch.no_grad()
def _show_images(network: nn.Module, preprocess: nn.Module, data: CAEDataModule) -> None:
    """Let a network see all training images, preprocessed, as its batch norm has to."""
    images: Any = data.train
    for batch in DataLoader(images, batch_size=data.config.batch_size, collate_fn=collate):
        network(preprocess(batch.images))


def standardised_classifier(config: Config, data: CAEDataModule, network: nn.Module) -> TargetClassifier:
    """The network with logits of mean 0 and deviation 1 over the training images, so that its predictions spread.

    Written into the folder of ``config`` as a classifier of it, or read from there.
    """
    run, options = _folder(config), config.classifier
    if not run.prepare("classifier").finished:
        network = copy.deepcopy(network)
        logits = logits_of(_bare(network, config, data), data.train, data.config.batch_size)[0].double()
        _standardise(cast("nn.Linear", network.get_submodule("head")), logits.mean(0), logits.std(0))
        save_classifier(run.path, network, options, data.classes, data.image_shape)
    return load_classifier(options, data.classes, data.image_shape, run.path)


def _bare(network: nn.Module, config: Config, data: CAEDataModule) -> TargetClassifier:
    """The network as a classifier of this data."""
    options = config.classifier
    return TargetClassifier(
        network, data.classes, image_shape=data.image_shape, input_size=options.input_size, mean=options.mean,
        std=options.std,
    )  # fmt: skip


@torch.no_grad()
def _standardise(head: nn.Linear, centre: Tensor, scale: Tensor) -> None:
    """Change the last layer so that its outputs lose this mean and deviation, each ``(K,)``."""
    head.weight.div_(scale[:, None])
    head.bias.copy_((head.bias - centre) / scale)


def control_model(
    config: Config, data: CAEDataModule, classifier: TargetClassifier, own: Path | None = None
) -> ControlModel:
    """A CAE trained with these options against this classifier, or the finished one of the folder.

    Args:
        config: options of the control model.
        data: its images.
        classifier: to be explained. Validation uses it alone: no oracle chooses between checkpoints.
        own: run folder whose CAE is taken over where it was trained just like this.

    Raises:
        UserError: if the folder holds one that was trained otherwise.
    """
    run = _folder(config)
    if own is not None:
        _reuse_own_cae(own, run, config, data, classifier)
    start = run.prepare("cae")
    if not start.finished:
        surrogate = surrogate_for(config, data, classifier, run.path, start.checkpoint)
        train_cae(config, data, classifier, classifier, run.path, start.checkpoint, surrogate)
    cae, header = load_cae(run.path / "cae.safetensors", lambda _: readable(classifier))
    if header.get("classifier") != classifier.fingerprint():
        raise UserError(f"'{run.path}' explains another classifier than the present one: {_REMEDY}")
    if not same_data(header.get("data"), data.fingerprint):
        raise UserError(f"'{run.path}' was trained on other data than the present one: {_REMEDY}")
    manifold = ClassManifold.load(run.path / "manifold.safetensors")
    device = device_for(config.trainer.accelerator, config.trainer.devices)
    for model in (cae, classifier):
        model.to(device).eval().requires_grad_(False)
    return ControlModel(config, data, classifier, cae, manifold)


def _folder(config: Config) -> RunFolder:
    """The run folder of a control model; what an earlier call left there must have been made with the same options."""
    run = RunFolder(config)
    if (run.path / "config.yaml").exists():
        saved = load_run_config(run.path)
        problems = [
            f"'{name}' is {shown(get_value(config, name))}, but '{run.path}' was made with "
            f"{shown(get_value(saved, name))}: {_REMEDY}"
            for name in differing(config, saved, DECIDING)
            if name not in NO_MATTER
        ]
        if problems:
            raise UserError(problems)
    return run


def _reuse_own_cae(
    own: Path, run: RunFolder, config: Config, data: CAEDataModule, classifier: TargetClassifier
) -> None:
    if run.existing("cae") or not (own / "cae.safetensors").exists():
        return
    header, _ = read_weights(own / "cae.safetensors")
    # an option that a former version did not have was as it is by default
    saved = {**asdict(CAEConfig()), **present_values("cae", header.get("config", {}))}
    same = header.get("classifier") == classifier.fingerprint() and same_data(header.get("data"), data.fingerprint)
    if same and saved == asdict(config.cae):
        for name in ("manifold.safetensors", "cae.safetensors"):  # the result comes last
            with atomic_path(run.path / name) as temporary:
                shutil.copyfile(own / name, temporary)
