"""Saving and loading the program's own classifiers: weights and their description in one safetensors file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from cae.classifiers.checkpoints import existing_file, load_weights, read_metadata, read_state_dict
from cae.classifiers.class_names import class_names, output_order
from cae.classifiers.libraries import untrained
from cae.classifiers.networks import OWN_NETWORKS
from cae.classifiers.target import TargetClassifier
from cae.config import ClassifierConfig, OracleConfig
from cae.errors import UserError
from cae.files import check_finite, check_sizes, write_json, write_weights


def is_own(config: ClassifierConfig) -> bool:
    """Whether the options name a classifier that the program trains, wherever its file lies."""
    return config.finetune or config.model in OWN_NETWORKS


def is_trained_here(config: ClassifierConfig) -> bool:
    """Whether ``train.py classifier`` trains the classifier that the options name, and leaves it in the run folder."""
    return is_own(config) and (config.finetune or config.weights is None)


def build_network(model: str, classes: int, channels: int, width: int, reductions: int = 0) -> nn.Module:
    """An untrained network that the program trains, by name.

    Args:
        model: one of the program's own, or of those that it trains further: see ``untrained``, which knows its sizes.
        classes: K.
        channels: of the images, for an own network.
        width: channels of its first stage.
        reductions: as in ``reductions_for``.
    """
    if model not in OWN_NETWORKS:
        return untrained(model)(classes)
    return OWN_NETWORKS[model](classes, channels=channels, width=width, reductions=reductions)


def save_classifier(
    folder: str | Path,
    network: nn.Module,
    config: ClassifierConfig | OracleConfig,
    classes: Sequence[str],
    image_shape: tuple[int, int, int],
    metrics: Mapping[str, float] | None = None,
    name: str = "classifier",
    matrices: Mapping[str, Tensor] | None = None,
    teacher: str | None = None,
    data: Mapping[str, Any] | None = None,
    normalisation: tuple[Sequence[float], Sequence[float]] | None = None,
    input_size: int | None = None,
) -> Path:
    """Write ``<name>.safetensors`` and ``<name>.json`` into a folder and return the path of the weights.

    The description is also in the header of the weights, so that they can be moved alone. The weights come last: they
    mark a training as finished. ``matrices (K, K)`` of test images may be ``confusion``, by label and prediction, and
    of an oracle ``agreement``, by the classifier's prediction and its own, and ``validation_agreement``, the same of
    validation images. ``teacher`` is the fingerprint of the
    classifier whose predictions were learnt, ``data`` that of the images. ``normalisation`` is the mean and the
    standard deviation of the channels of its input, ``input_size`` the side at which it sees the images; by default
    those of the options.
    """
    target = config if isinstance(config, ClassifierConfig) else None
    mean, std = normalisation or ((target.mean, target.std) if target else ((), ()))
    description = {
        "model": config.model,
        "width": config.width,
        "reductions": getattr(network, "reductions", 0),
        "classes": list(classes),
        "channels": image_shape[0],
        "image_size": list(image_shape[1:]),
        "input_size": input_size or (target.input_size if target else None),
        "mean": list(mean),
        "std": list(std),
        "metrics": dict(metrics or {}),
        **{what: matrix.long().tolist() for what, matrix in (matrices or {}).items()},
        "teacher": teacher,
        **({} if data is None else {"data": data}),
    }
    path = Path(folder) / f"{name}.safetensors"
    check_finite(path, network.state_dict())
    write_json(path.with_suffix(".json"), description)
    write_weights(path, network.state_dict(), "classifier", description)
    return path


def load_own(folder: str | Path, name: str = "classifier") -> TargetClassifier:
    """The classifier (or ``oracle``) that training wrote into a run folder, frozen.

    Raises:
        UserError: if it is not there, or its description is missing.
    """
    path = Path(folder) / f"{name}.safetensors"
    if not path.is_file():
        raise UserError(
            f"There is no '{path}': train it with `python train.py {name} …`, or point `classifier.weights` at yours."
        )
    description = read_metadata(path)
    if not description:
        raise UserError(f"'{path}' has no description (neither in its header nor in a .json beside it).")
    return _from_description(path, description)


def load_own_oracle(folder: str | Path, classifier: TargetClassifier, name: str = "oracle") -> TargetClassifier:
    """The oracle of a run folder, or its ``surrogate``.

    Raises:
        UserError: if it learnt the predictions of another classifier than this one; or as ``load_own`` does.
    """
    oracle, path = load_own(folder, name), Path(folder) / f"{name}.safetensors"
    stage = "oracle" if name == "oracle" else "cae"
    teacher, present = read_metadata(path).get("teacher"), classifier.fingerprint()
    if teacher not in (None, present):
        raise UserError(
            f"'{path}' learnt the predictions of another classifier (fingerprint {teacher}) than the present one "
            f"({present}): train it anew with `python train.py {stage} … overwrite=true`, or set classifier.model and "
            "classifier.weights to the former one."
        )
    return oracle


def _from_description(path: Path, description: Mapping[str, Any]) -> TargetClassifier:
    """The classifier of a file, if it is what its description says."""
    weights, model = read_state_dict(path), description["model"]
    try:
        # before version 0.3 no network had any
        sizes = {"width": description["width"], "reductions": description.get("reductions", 0)}
        channels, classes = description["channels"], tuple(description["classes"])
        check_sizes({**sizes, "channels": channels, "classes": len(classes)}, weights)
        network = _network_of(path, model, len(classes), channels, **sizes)
        height, width = description["image_size"]
        settings = {name: description[name] for name in ("mean", "std")}
        # trained on images of this size, it sees them at this size, whatever the data brings
        input_size = description["input_size"] or (height if height == width else None)
    except (KeyError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        raise UserError(
            f"the description of '{path}' is damaged, or of another version of this program ({error!r}): restore it "
            "from a copy, or train the classifier anew."
        ) from error
    load_weights(network, weights, path, model)
    return TargetClassifier(network, classes, image_shape=(channels, height, width), input_size=input_size, **settings)


def _network_of(path: Path, model: str, classes: int, channels: int, **sizes: int) -> nn.Module:
    try:
        return build_network(model, classes, channels, **sizes)
    except UserError as error:
        raise UserError(f"'{path}' holds a network of the kind {model!r}, which cannot be made: {error}") from error


def load_own_for(
    config: ClassifierConfig, classes: Sequence[str], image_shape: tuple[int, int, int], path: Path
) -> TargetClassifier:
    """A network of the program's own for the data at hand, its description compared with options and data.

    Raises:
        UserError: if the file was trained with other options or classes; all differences at once.
    """
    path = existing_file(path)
    description = read_metadata(path)
    if not description:
        network = build_network(config.model, len(classes), config.channels or image_shape[0], config.width)
        load_weights(network, read_state_dict(path), path, config.model)
        order = output_order(class_names(config.classes), classes) if config.classes else ()
        return TargetClassifier(
            network, classes, image_shape=image_shape, input_size=config.input_size, mean=config.mean, std=config.std,
            order=order,
        )  # fmt: skip
    problems = _differences(config, classes, description, path)
    if problems:
        raise UserError(problems)
    trained = _from_description(path, description)
    return TargetClassifier(
        trained.network,
        classes,
        image_shape=image_shape,
        input_size=trained.input_size,
        mean=description["mean"],
        std=description["std"],
        order=output_order(description["classes"], classes),
    )


def _differences(
    config: ClassifierConfig, classes: Sequence[str], description: Mapping[str, Any], path: Path
) -> list[str]:
    """Sentences on every option that contradicts the file; options left at nothing take the file's value."""
    problems = []
    if set(classes) != set(description["classes"]):
        problems.append(
            f"'{path}' was trained on the classes {', '.join(description['classes'])}, but the data has "
            f"{', '.join(classes)}; train again on this data, or choose the data that it was trained on."
        )
    for key in ("model", "width", "input_size", "mean", "std"):
        wanted, found = getattr(config, key), description[key]
        wanted = list(wanted) if isinstance(found, list) else wanted
        if wanted not in (None, []) and wanted != found:
            problems.append(f"'{path}' was trained with `classifier.{key}={found}`, not {wanted!r}: change the option.")
    return problems
