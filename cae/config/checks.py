"""Checks of a whole configuration: the range of every option, and what options demand of each other, in words."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from cae.config import Config
from cae.config.data_sources import SOURCES
from cae.config.fields import Option, all_options, get_value, shown
from cae.errors import UserError, did_you_mean

TABLE_COLUMNS = ("path", "label", "split", "mask", "group")
OWN_CLASSIFIERS = ("resnet", "plain")
NAMED_CLASSIFIERS = {"torchvision": "torchvision:NAME", "timm": "timm:NAME", "callable": "callable:package.module:name"}
CLASSIFIER_FILES = ("torchscript", "onnx")
TRAINED_CLASSIFIERS = ("efficientnet_lite0",)


def check_config(config: Config) -> None:
    """Raise a ``UserError`` that lists everything that is out of range or contradictory."""
    problems = find_problems(config)
    if problems:
        raise UserError(problems)


def find_problems(config: Config, origins: Mapping[str, str] | None = None) -> list[str]:
    """Sentences about values out of range and contradictions; ``origins`` tells where an option was written."""
    return [*out_of_range(config, origins or {}), *contradictions(config)]


def contradictions(config: Config) -> Iterator[str]:
    """What is wrong only together, such as a source of images without its path."""
    for check in _CHECKS:
        yield from check(config)


def out_of_range(config: Config, origins: Mapping[str, str]) -> Iterator[str]:
    """Values that their own option does not allow."""
    for name, option in all_options().items():
        value = get_value(config, name)
        for entry in value if isinstance(value, list) else [value]:
            if entry is not None and not _allowed(option, entry):
                near = did_you_mean(str(entry), map(str, option.choices))
                place = f"{origins[name]}: " if name in origins else ""
                yield f"{place}'{name}' must be {option.expected}, but got {shown(value)}{near}"
                break


def _allowed(option: Option, value: Any) -> bool:
    if option.choices:
        return value in option.choices
    if isinstance(value, float) and not math.isfinite(value):
        return False
    return (option.low is None or value >= option.low) and (option.high is None or value <= option.high)


def _run(config: Config) -> Iterator[str]:
    name = config.name
    if not name.strip() or name in (".", "..") or re.search(r"[/\\\0-\x1f\x7f]", name) or name != name.strip():
        yield f"'name' must be a plain folder name, without / or \\, but got {shown(name)}; 'runs' sets where it lies"
    if not config.runs.strip():
        yield "'runs' must name a folder, such as runs"
    if config.resume and config.overwrite:
        yield "resume=last continues a run and overwrite=true starts it anew: give one of the two"


def _data(config: Config) -> Iterator[str]:
    data = config.data
    if data.val_share < 1 and data.test_share < 1 <= data.val_share + data.test_share:
        yield (
            f"data.val_share ({data.val_share:g}) and data.test_share ({data.test_share:g}) must sum to less than 1, "
            "so that something is left to train on"
        )
    wanted = SOURCES[data.source].path if data.source in SOURCES else ""
    if wanted and not data.path:
        yield f"data.source={data.source} needs data.path: {wanted}"
    if data.levels and not (len(data.levels) == 2 and data.levels[0] < data.levels[1]):
        yield f"'data.levels' must be two values, the lower first, such as [0,4095], but got {shown(data.levels)}"
    if data.group is not None and (problem := _pattern_problem(data.group)):
        yield f"'data.group' must be folder, patient or a regular expression, but got {shown(data.group)}: {problem}"
    if data.group is not None and "group" in data.columns:
        yield "data.group and data.columns.group both say which images belong together: give one of the two"
    for key in data.columns:
        if key not in TABLE_COLUMNS:
            known = ", ".join(TABLE_COLUMNS)
            yield f"'data.columns' has no entry '{key}'{did_you_mean(key, TABLE_COLUMNS)}; its entries are {known}"


def _pattern_problem(pattern: str) -> str:
    """Why a regular expression cannot be read; empty where it can."""
    try:
        re.compile(pattern)
    except re.error as error:
        return str(error)
    return ""


def _lesions(config: Config) -> Iterator[str]:
    lesions, (height, width) = config.data.lesions, config.data.sides
    if config.data.source == "lesions" and height != width:
        yield f"data.source=lesions draws squares: 'data.image_size' must be one side, but got {[height, width]}"
    yield from _repeats("data.lesions.classes", lesions.classes)
    if len(set(lesions.classes)) < 2:
        yield f"'data.lesions.classes' needs at least two classes, but got {shown(lesions.classes)}"
    if lesions.shortcut is not None and lesions.shortcut_class not in lesions.classes:
        yield (
            f"'data.lesions.shortcut_class' is '{lesions.shortcut_class}', which is not among "
            f"data.lesions.classes {shown(lesions.classes)}"
        )


def _repeats(name: str, values: list[str]) -> Iterator[str]:
    if len(set(values)) < len(values):
        yield f"'{name}' names something twice: {shown(values)}"


def _classifier(config: Config) -> Iterator[str]:
    classifier = config.classifier
    kind, _, name = classifier.model.partition(":")
    if kind in NAMED_CLASSIFIERS and not name:
        yield f"'classifier.model' is '{classifier.model}': name what to load, {NAMED_CLASSIFIERS[kind]}"
    elif classifier.model in CLASSIFIER_FILES and not classifier.weights:
        yield f"classifier.model={classifier.model} needs classifier.weights: the file to load"
    if classifier.finetune and kind not in (*TRAINED_CLASSIFIERS, "torchvision", "timm"):
        yield (
            f"classifier.finetune=true trains a network further that comes trained: {', '.join(TRAINED_CLASSIFIERS)}, "
            f"torchvision:NAME or timm:NAME, not classifier.model={classifier.model}"
        )
    if classifier.freeze and not classifier.finetune:
        yield (
            "classifier.freeze=true trains a new last layer on what a trained network sees: it needs "
            "classifier.finetune=true"
        )
    if config.oracle.freeze and config.oracle.model not in TRAINED_CLASSIFIERS:
        yield (
            f"oracle.freeze=true trains a new last layer on what a trained network sees: it needs "
            f"oracle.model={TRAINED_CLASSIFIERS[0]}, but oracle.model is {config.oracle.model}"
        )
    plain_names = (*OWN_CLASSIFIERS, *TRAINED_CLASSIFIERS, *CLASSIFIER_FILES)
    if kind not in NAMED_CLASSIFIERS and classifier.model not in plain_names:
        known = (*plain_names, *NAMED_CLASSIFIERS.values())
        near = did_you_mean(kind, [word.partition(":")[0] for word in known])
        yield f"'classifier.model' must be one of {', '.join(known)}, but got '{classifier.model}'{near}"


def _class_names(config: Config) -> Iterator[str]:
    classifier = config.classifier
    yield from _repeats("classifier.classes", classifier.classes)
    own = classifier.model in OWN_CLASSIFIERS and not classifier.weights
    if classifier.classes and (own or classifier.finetune):
        yield (
            f"classifier.model={classifier.model} is trained here, on the classes of the data: leave "
            "classifier.classes out, which says what the outputs of a classifier of yours stand for"
        )


def _plain_widths(config: Config) -> Iterator[str]:
    classifier, oracle = config.classifier, config.oracle
    for name, model, width in (
        ("classifier", classifier.model, classifier.width),
        ("oracle", oracle.model, oracle.width),
    ):
        if model == "plain" and width % 4:
            yield f"'{name}.width' must be a multiple of 4 for the plain network (group norm of 4), but got {width}"


def _normalisation(config: Config) -> Iterator[str]:
    mean, std = config.classifier.mean, config.classifier.std
    if len(mean) != len(std):
        yield f"'classifier.mean' has {len(mean)} values and 'classifier.std' {len(std)}: they must have as many"
    elif len(mean) not in (0, 1, 3):
        yield f"'classifier.mean' and 'classifier.std' take 0, 1 (grey) or 3 (RGB) values, but got {len(mean)}"
    if any(value <= 0 for value in std):
        yield f"'classifier.std' must be larger than 0 everywhere, but got {shown(std)}"


def _surrogate(config: Config) -> Iterator[str]:
    if config.cae.surrogate and not config.cae.follows_gradients:
        yield (
            "cae.surrogate=true is for swaps that follow a classifier with gradients: it needs cae.preset=default, "
            "cae.target=classifier and cae.black_box=false"
        )


def _cae(config: Config) -> Iterator[str]:
    cae, size = config.cae, min(config.data.sides)
    warmup = "" if cae.warmup_steps is None else f"cae.warmup_steps ({cae.warmup_steps}) + "
    if (cae.warmup_steps or 0) + cae.ramp_steps >= cae.max_steps:
        yield (
            f"{warmup}cae.ramp_steps ({cae.ramp_steps}) must be smaller than cae.max_steps ({cae.max_steps}): lower "
            f"{'them' if warmup else 'it'} for a short training"
        )
    for name in ("individual_downsampling", "class_downsampling"):
        halvings = getattr(cae.model, name)
        if halvings is not None and 2**halvings > size:
            wanted = shown(config.data.image_size)
            yield f"'cae.model.{name}' halves the image {halvings} times, which data.image_size={wanted} does not allow"


def _reference(config: Config) -> Iterator[str]:
    if config.cae.preset != "published":
        if config.cae.weights is not None:
            yield "cae.weights takes over a checkpoint of the released code: set cae.preset=published with it"
        return
    if config.trainer.precision == "16-mixed":
        yield (
            "cae.preset=published trains two networks in turn, whose losses the one loss scale of "
            "trainer.precision=16-mixed does not fit: use bf16-mixed or 32-true"
        )
    if config.data.batch_size < 2:
        yield (
            "cae.preset=published pairs an image of the first class with one of another in every batch: "
            "'data.batch_size' must be at least 2, but got 1"
        )
    if config.cae.model.residual_blocks < 1:
        yield "cae.preset=published needs cae.model.residual_blocks of at least 1: they carry the class code"


def _explanation(config: Config) -> Iterator[str]:
    yield from _repeats("manifold.embeddings", config.manifold.embeddings)
    if config.counterfactual.reference == "image" and not config.counterfactual.reference_image:
        yield "counterfactual.reference=image needs counterfactual.reference_image: an id of the data or an image file"


def _trainer(config: Config) -> Iterator[str]:
    devices = config.trainer.devices
    if not re.fullmatch(r"auto|-1|[1-9]\d*|\d+(,\d+)+,?|\d+,", devices):
        yield f"'trainer.devices' must be auto, a number of devices or a list like 0,1, but got {shown(devices)}"


_CHECKS: tuple[Callable[[Config], Iterator[str]], ...] = (
    _run, _data, _lesions, _classifier, _class_names, _plain_widths, _normalisation, _cae, _surrogate, _reference,
    _explanation, _trainer,
)  # fmt: skip
