"""From the options to the classifier to be explained; nothing is downloaded, unless by the word ``pretrained``."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from cae.classifiers.black_box import OnnxScores, file_digest, import_callable
from cae.classifiers.checkpoints import existing_file, load_weights, read_metadata, read_state_dict
from cae.classifiers.class_names import class_names, output_order
from cae.classifiers.identity import own_copy
from cae.classifiers.imagenet import LITE0, LITE0_SIZE, PRETRAINED, TrainedNetwork, check_classes
from cae.classifiers.libraries import (
    BUILDERS,
    FETCHERS,
    STATE_DICT,
    comes_trained,
    load_foreign,
    trained,
    unknown_model,
    untrained,
    weights_file,
)
from cae.classifiers.saved import is_own, load_own_for
from cae.classifiers.target import TargetClassifier
from cae.config import ClassifierConfig
from cae.errors import UserError, did_you_mean

Shape = tuple[int, int, int]


def brings_classes(config: ClassifierConfig) -> bool:
    """Whether the classifier has classes of its own, whatever the data's: named by the options, or brought along."""
    return not config.finetune and (bool(config.classes) or comes_trained(config))


def load_classifier(
    config: ClassifierConfig | str,
    classes: Sequence[str] | str | Path | None = None,
    image_shape: Shape = (3, LITE0_SIZE, LITE0_SIZE),
    folder: str | Path | None = None,
    **options: Any,
) -> TargetClassifier:
    """The classifier that the options name, frozen, for images and classes of the data.

    Args:
        config: ``classifier`` section of the options; or just a name, with the weights that the library brings:
            ``efficientnet_lite0`` offline, ``torchvision:NAME`` and ``timm:NAME`` where there is a network.
            With a name, ``options`` set the others of the section, such as ``weights``, ``mean`` and ``std``.
        classes: class names of the data, in label order, or a file of names; None for the classifier's own, where it
            ``brings_classes``. With ``config.classes`` the outputs are brought into their order.
        image_shape: ``(C, H, W)`` of the data's images.
        folder: run folder, where training left the program's own classifier.
        options: of the section ``classifier``, if ``config`` is a name.

    Raises:
        UserError: for an unknown name, a missing or unfit file, or another number of classes.

    >>> load_classifier("efficientnet_lite0").classes[4]
    'hammerhead'
    """
    if isinstance(config, str):
        config = _named(config, options)
    elif options:
        raise UserError(f"Set {', '.join(options)} in the configuration: options are for a classifier given by name.")
    if isinstance(classes, (str, Path)):
        classes = class_names([str(classes)])
    classifier = _load(config, classes, image_shape, folder)
    return classifier.compute_with_onnx() if config.runtime == "onnx" else classifier


def _named(model: str, options: Mapping[str, Any]) -> ClassifierConfig:
    """The options of a classifier given by its name; what is not given is the library's own."""
    known = [field.name for field in fields(ClassifierConfig) if field.name not in ("model", "classes")]
    unknown = [f"{name!r}{did_you_mean(name, known)}" for name in options if name not in known]
    if unknown:
        raise UserError(f"A classifier has no option {' and '.join(unknown)}; it takes {', '.join(known)}.")
    fetched = model.partition(":")[0] in FETCHERS
    return ClassifierConfig(model=model, **{"weights": PRETRAINED if fetched else None, **options})


def _load(
    config: ClassifierConfig, classes: Sequence[str] | None, image_shape: Shape, folder: str | Path | None
) -> TargetClassifier:
    kind, _, name = config.model.partition(":")
    if comes_trained(config) and not config.finetune:
        return _wrap_trained(trained(config), config, classes, image_shape)
    classes = classes or (class_names(config.classes) if config.classes else None)
    if classes is None:
        raise UserError(
            f"`classifier.model={config.model}` takes its classes from the data, or from `classifier.classes`; one "
            f"that brings its own is {LITE0}."
        )
    if kind == "callable":
        return _wrap(_load_callable(config), config, classes, image_shape, identity=config.model)
    if is_own(config):
        return load_own_for(config, classes, image_shape, _own_path(config, folder))
    if config.model == "torchscript":
        path = weights_file(config, "a TorchScript file")
        return _wrap(_load_torchscript(path), config, classes, image_shape, identity=file_digest(path))
    if config.model == "onnx":
        path = weights_file(config, "an ONNX file")
        scores = OnnxScores(path)
        return _wrap(
            scores, config, classes, image_shape, file_digest(path), size=scores.size, channels=scores.channels
        )
    if kind in BUILDERS and name:
        build, path = untrained(config.model), weights_file(config, STATE_DICT)
        if read_metadata(path):  # what a training of this program has written
            return load_own_for(config, classes, image_shape, path)
        network = load_foreign(build, config, path, len(classes))
        logits = replace(config, scores="logits") if config.scores == "auto" else config  # as all of these libraries
        return _wrap(network, logits, classes, image_shape)
    raise unknown_model(config.model)


def _wrap(
    network: Any,
    config: ClassifierConfig,
    classes: Sequence[str],
    image_shape: Shape,
    identity: str = "",
    size: int | None = None,
    channels: int | None = None,
) -> TargetClassifier:
    """The target classifier; ``size`` and ``channels`` that a file declares serve where the options are silent."""
    return TargetClassifier(
        network,
        classes,
        image_shape=image_shape,
        input_size=config.input_size or size,
        mean=config.mean,
        std=config.std,
        network_channels=config.channels or channels,
        scores=config.scores,
        order=output_order(class_names(config.classes), classes) if config.classes else (),
        identity=identity,
    )


def _wrap_trained(
    trained: TrainedNetwork, config: ClassifierConfig, classes: Sequence[str] | None, image_shape: Shape
) -> TargetClassifier:
    """The target classifier with the preprocessing that it was trained with, where the options are silent."""
    own = class_names(config.classes) if config.classes else trained.classes
    if len(own) != len(trained.classes):
        raise UserError(
            f"`classifier.classes` gives {len(own)} names, but `classifier.model={config.model}` has "
            f"{len(trained.classes)} classes, whose names it brings along: leave the option out."
        )
    check_classes(config.model, own, classes)
    wanted = classes or own
    return TargetClassifier(
        trained.network,
        wanted,
        image_shape=image_shape,
        input_size=config.input_size or trained.size,
        mean=config.mean or trained.mean,
        std=config.std or trained.std,
        network_channels=config.channels,
        scores="logits",
        order=output_order(own, wanted),
    )


def _own_path(config: ClassifierConfig, folder: str | Path | None) -> Path:
    if config.weights is not None and not config.finetune:
        return existing_file(config.weights)
    path = Path(folder) / "classifier.safetensors" if folder is not None else None
    if path is None or not path.is_file():
        where = f" in '{folder}'" if folder is not None else ""
        raise UserError(
            f"There is no trained classifier{where}: run `python train.py classifier …` first, or point "
            "`classifier.weights` (and `classifier.model`) at yours."
        )
    return path


def _load_callable(config: ClassifierConfig) -> Any:
    """What ``callable:…`` names; a module with the user's weights in it, a class of modules made to one."""
    found = import_callable(config.model)
    if isinstance(found, type) and issubclass(found, nn.Module):
        try:
            found = found()
        except TypeError as error:
            raise UserError(
                f"`classifier.model={config.model}` is a class that cannot be made without arguments ({error}): name a "
                "module made of it, as in `model = Net(classes=2)`."
            ) from error
        if config.weights is None:
            raise UserError(
                f"`classifier.model={config.model}` is a class, whose weights are random: give `classifier.weights`, "
                "or name a trained module made of it."
            )
    if config.weights is None:
        return found
    path = existing_file(config.weights)
    if not isinstance(found, nn.Module):
        raise UserError(
            f"`classifier.weights` is of no use to `classifier.model={config.model}`, a function with weights of its "
            "own: leave it empty, or name a PyTorch module."
        )
    network = own_copy(found)
    load_weights(network, read_state_dict(path), path, config.model)
    return network


def _load_torchscript(path: Path) -> nn.Module:
    if path.suffix == ".pt2":
        raise UserError(
            f"'{path}' is an exported program, which PyTorch reads by running pickled code; give a TorchScript file, "
            "an ONNX file or a state dict, or load it yourself with `classifier.model=callable:package.module:name`."
        )
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*torch.jit.*")  # deprecated, and still what many programs write
        try:
            return torch.jit.load(str(path), map_location="cpu")
        except (RuntimeError, ValueError) as error:
            first = str(error).splitlines()[0]
            raise UserError(
                f"'{path}' cannot be read as a TorchScript file ({first}). A state dict needs the name of its network: "
                "`classifier.model=torchvision:NAME` or `timm:NAME`."
            ) from error
