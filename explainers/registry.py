"""Every explainer by its name. Nothing registers itself: this table is the whole list."""

from __future__ import annotations

import importlib
import inspect
from dataclasses import dataclass, field
from typing import Any

from cae.classifiers import TargetClassifier
from cae.errors import UserError, did_you_mean
from explainers.base import Explainer


@dataclass(frozen=True)
class Entry:
    """Where an explainer is (``module:Class``, imported when it is asked for), in words, and settings of its preset."""

    place: str
    words: str
    settings: dict[str, Any] = field(default_factory=dict)


EXPLAINERS: dict[str, Entry] = {
    "random": Entry("explainers.controls:RandomMap", "control: independent noise in every pixel"),
    "centre": Entry("explainers.controls:CentreMap", "control: a bump at the centre of the image"),
    "edges": Entry("explainers.controls:EdgeMap", "control: how steep the image is, whatever the classifier"),
    "constant": Entry("explainers.controls:ConstantMap", "control: the same value everywhere"),
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


def get_explainer(name: str, classifier: TargetClassifier, **options: Any) -> Explainer:
    """An explainer by name.

    Args:
        name: one of ``list_explainers()``.
        classifier: to be explained.
        options: its hyper-parameters, over those of the preset; see ``options_of``.

    Raises:
        UserError: for an unknown name or option, or a classifier that cannot serve the method.
    """
    cls = explainer_class(name)
    known = {*options_of(name), *cls.resources}
    problems = [
        f"'{name}' has no option '{key}'{did_you_mean(key, known)}; it takes {', '.join(sorted(known))}."
        for key in options
        if key not in known
    ]
    if problems:
        raise UserError(problems)
    explainer = cls(classifier, **{**_entry(name).settings, **options})
    explainer.name = name  # a preset goes by its own name
    return explainer


def _entry(name: str) -> Entry:
    if name not in EXPLAINERS:
        raise UserError(f"no explainer '{name}'{did_you_mean(name, EXPLAINERS)}; known are {', '.join(EXPLAINERS)}.")
    return EXPLAINERS[name]
