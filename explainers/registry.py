"""Every explainer by its name. Nothing registers itself: this table is the whole list."""

from __future__ import annotations

import importlib
import inspect
import types
import typing
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import yaml

from cae.errors import UserError, did_you_mean
from explainers.constructor_options import NotInSourceError, constructor_options

if TYPE_CHECKING:
    import numpy as np
    from torch import nn

    from cae.classifiers import TargetClassifier
    from explainers.base import Explainer


@dataclass(frozen=True)
class Entry:
    """Where an explainer is (``module:Class``, imported when it is asked for), in words, and settings of its preset."""

    place: str
    words: str
    settings: dict[str, Any] = field(default_factory=dict)


VARIANT = "@"  # `pmi@gray` is `pmi` under another name, so that several settings of a method can be compared


EXPLAINERS: dict[str, Entry] = {
    "random": Entry("explainers.baselines.controls:RandomMap", "control: independent noise in every pixel"),
    "centre": Entry("explainers.baselines.controls:CentreMap", "control: a bump at the centre of the image"),
    "edges": Entry("explainers.baselines.controls:EdgeMap", "control: how steep the image is, whatever the classifier"),
    "constant": Entry("explainers.baselines.controls:ConstantMap", "control: the same value everywhere"),
    "pmi": Entry(
        "explainers.information.explainer:PointwiseMutualInformation",
        "how much each patch speaks for the class, in nats: the patch marginalised over an in-fill",
    ),
    "ig": Entry(
        "explainers.information.explainer:InformationGain",
        "how much the prediction rests on each patch, whatever the class, in nats",
    ),
    "pda": Entry(
        "explainers.information.explainer:PointwiseMutualInformation",
        "prediction difference analysis: change of the log-odds, in bits, under a conditional Gaussian in-fill",
        # smoothed for 100,000 images, as the authors' program does
        {"quantity": "woe", "sampler": "gaussian", "laplace": 100_000},
    ),
    "integrated_gradients": Entry(
        "explainers.baselines.gradient:IntegratedGradients",
        "gradients along the line from a black image, times the difference",
    ),
    "smoothgrad": Entry(
        "explainers.baselines.gradient:SmoothGrad", "mean gradient over noisy copies of the image, signed"
    ),
    "gradcam": Entry(
        "explainers.baselines.gradient:GradCam", "late feature maps, weighted by their mean gradient, signed"
    ),
    "occlusion": Entry(
        "explainers.baselines.occlusion:Occlusion", "loss of the class's probability behind a grey window"
    ),
    "lime": Entry("explainers.baselines.lime:Lime", "linear model of which superpixels the class's probability needs"),
    "rise": Entry("explainers.baselines.rise:Rise", "mean of random masks, weighted by the probability they leave"),
    "cae": Entry("explainers.cae_counterfactual:CaeCounterfactual", "what a counterfactual of the trained CAE changes"),
    "multirex": Entry(
        "explainers.multirex:MultiReX", "several sufficient sets of pixels, each minimal under a certificate"
    ),
    "multirex_published": Entry(
        "explainers.multirex:PublishedMultiReX", "the same by the steps and defaults of the authors' tool"
    ),
    "shearletx": Entry(
        "explainers.shearletx.explainer:ShearletX",
        "the smallest part of a shearlet representation that keeps the probability",
    ),
    "waveletx": Entry(
        "explainers.shearletx.explainer:WaveletX", "the same in wavelets, with a price on shown intensity"
    ),
    "cartoonx": Entry("explainers.shearletx.explainer:CartoonX", "the same in wavelets: the piece-wise smooth part"),
    "pixelmask": Entry("explainers.shearletx.explainer:PixelMask", "the fewest pixels that keep the probability"),
    "smoothmask": Entry(
        "explainers.shearletx.explainer:SmoothMask", "the smallest smooth mask that keeps the probability"
    ),
    "shearletx_published": Entry(
        "explainers.shearletx.explainer:ShearletX", "shearletx with the published settings", {"preset": "published"}
    ),
    "waveletx_published": Entry(
        "explainers.shearletx.explainer:WaveletX", "waveletx with the published settings", {"preset": "published"}
    ),
    "cartoonx_published": Entry(
        "explainers.shearletx.explainer:CartoonX", "cartoonx with the published settings", {"preset": "published"}
    ),
    "pixelmask_published": Entry(
        "explainers.shearletx.explainer:PixelMask", "pixelmask with the published settings", {"preset": "published"}
    ),
    "smoothmask_published": Entry(
        "explainers.shearletx.explainer:SmoothMask", "smoothmask with the published settings", {"preset": "published"}
    ),
}


def list_explainers() -> dict[str, str]:
    """Names of all explainers, each with what it does in words."""
    return {name: entry.words for name, entry in EXPLAINERS.items()}


def explainer_class(name: str) -> type[Explainer]:
    """The class behind a name.

    Raises:
        UserError: for an unknown name.
    """
    module, _, attribute = _entry(name).place.partition(":")
    return getattr(importlib.import_module(module), attribute)


def options_of(name: str) -> dict[str, inspect.Parameter]:
    """Options that an explainer takes, by name, with its preset's defaults; what only a run can give is left out."""
    cls, settings = explainer_class(name), _entry(name).settings
    parameters = inspect.signature(cls.__init__, eval_str=True).parameters
    return {
        key: parameter.replace(default=settings.get(key, parameter.default))
        for key, parameter in parameters.items()
        if key not in {"self", "classifier", *cls.resources}
    }


def default_options(name: str) -> dict[str, Any]:
    """The options of ``options_of`` and their defaults, without importing the explainer where its source tells them."""
    entry = _entry(name)
    try:
        return constructor_options(entry.place) | entry.settings
    except NotInSourceError:
        return {key: parameter.default for key, parameter in options_of(name).items()}


def get_explainer(
    name: str, classifier: TargetClassifier | nn.Module | Callable[[np.ndarray], Any], **options: Any
) -> Explainer:
    """An explainer by name.

    Args:
        name: one of ``list_explainers()``, or one with a label of the caller's, as in ``pmi@gray``.
        classifier: to be explained; or a bare PyTorch module or function of NumPy images, which is wrapped when the
            first images come.
        options: its hyper-parameters, over those of the preset; see ``options_of``. For a bare model also ``classes``
            (names in the order of the scores), ``mean`` and ``std`` (of its normalisation, on [0, 1]).

    Raises:
        UserError: for an unknown name or option, or a classifier that cannot serve the method.

    >>> import numpy as np
    >>> from torch import nn
    >>> network = nn.Sequential(nn.Flatten(), nn.Linear(192, 2))
    >>> explainer = get_explainer("occlusion", network, classes=["cat", "dog"], window=4)
    >>> explainer(np.zeros((8, 8, 3), np.uint8), target="dog").attribution.shape
    torch.Size([1, 1, 8, 8])
    """
    # with torch, which a list of methods should not wait for
    from cae.classifiers import TargetClassifier
    from explainers.bare import MODEL_OPTIONS, BareModelExplainer

    cls = explainer_class(name)
    bare = not isinstance(classifier, TargetClassifier)
    model = {key: options.pop(key) for key in MODEL_OPTIONS if bare and key in options}
    known = {*options_of(name), *cls.resources}
    problems = [
        f"'{name}' has no option '{key}'{did_you_mean(key, known)}; it takes {', '.join(sorted(known))}."
        for key in options
        if key not in known
    ]
    if problems:
        raise UserError(problems)

    def make(classifier: TargetClassifier) -> Explainer:
        explainer = cls(classifier, **{**_entry(name).settings, **options})
        explainer.name = name  # a preset goes by its own name
        return explainer

    if not isinstance(classifier, TargetClassifier):
        return BareModelExplainer(make, classifier, model)
    return make(classifier)


def parse_options(texts: Sequence[str], names: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Options written as ``METHOD.NAME=VALUE`` by method; every name has an entry, most often an empty one.

    Raises:
        UserError: listing every text that is none, names another method or option, or has a value of another type.
    """
    found: dict[str, dict[str, Any]] = {name: {} for name in names}
    known = {name: options_of(name) for name in names}
    problems = []
    for text in texts:
        key, equals, value = text.partition("=")
        method, dot, option = key.strip().partition(".")
        if not (equals and dot):
            problems.append(f"explain.options: '{text}' must be written METHOD.NAME=VALUE.")
        elif method not in known:
            near = did_you_mean(method, names)
            problems.append(f"explain.options: '{text}' sets an option of '{method}', which is not asked for{near}.")
        elif option not in known[method]:
            near = did_you_mean(option, known[method])
            has = _listed(known[method])
            problems.append(f"explain.options: '{method}' has no option '{option}'{near}; it has {has}.")
        else:
            try:
                found[method][option] = _typed(value.strip(), known[method][option])
            except ValueError as error:
                problems.append(f"explain.options: '{method}.{option}' must be {error}, but got '{value.strip()}'.")
    if problems:
        raise UserError(problems)
    return found


def _listed(options: typing.Iterable[str]) -> str:
    return ", ".join(sorted(set(options) - {"batch_size"})) or "none"


def _typed(text: str, parameter: inspect.Parameter) -> Any:
    """The value of a text, of one of the types that the parameter allows; raises ValueError naming them."""
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError:
        value = text
    allowed = _plain_types(parameter.annotation)
    if value is None and type(None) in allowed:
        return None
    if isinstance(value, str) and float in allowed:  # YAML 1.1 takes 1e-3 for text
        try:
            return float(value)
        except ValueError:
            pass
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        if type(value) in allowed:
            return value
        if isinstance(value, list) and tuple in allowed:
            return tuple(value)
        if str in allowed and not isinstance(value, (list, dict)):
            return text
    elif int in allowed and isinstance(value, int):
        return value
    elif float in allowed:
        return float(value)
    elif str in allowed:
        return text
    words = {int: "a whole number", float: "a number", bool: "true or false", str: "text", type(None): "null"}
    words |= {list: "a list", tuple: "a list", dict: "a mapping"}
    raise ValueError(" or ".join(dict.fromkeys(words[kind] for kind in allowed if kind in words)) or "set from Python")


def _plain_types(annotation: Any) -> list[type]:
    """The types at the top of an annotation: ``int | None`` gives int and NoneType, ``list[str]`` gives list."""
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        return [kind for part in typing.get_args(annotation) for kind in _plain_types(part)]
    origin = typing.get_origin(annotation)
    if origin is typing.Literal:
        return list({type(part) for part in typing.get_args(annotation)})
    if origin in (typing.Sequence, Sequence):
        return [list, tuple]
    return [origin or annotation]


def _entry(name: str) -> Entry:
    method = name.partition(VARIANT)[0]
    if method not in EXPLAINERS:
        near = did_you_mean(method, EXPLAINERS)
        raise UserError(f"no explainer '{method}'{near}; known are {', '.join(EXPLAINERS)}.")
    return EXPLAINERS[method]
