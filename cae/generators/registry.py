"""Every generator by its name, and those of the user by ``callable:module:name``. Nothing registers itself."""

from __future__ import annotations

import importlib
import inspect
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from cae.continuing import work_digest
from cae.errors import UserError, did_you_mean
from cae.generators.base import Generator
from cae.importing import named_module
from cae.runs.trained_run import TrainedRun

OPTION = "generators.arms"
OURS = "ours"
FOREIGN = "callable:"
GENERATORS = {
    OURS: "cae.generators.embedding:OurCounterfactuals",
    "published": "cae.generators.published:PublishedWalk",
    "residual": "cae.generators.residual:ResidualNetwork",
    "latent_shift": "cae.generators.latent_shift:LatentShift",
    "gradient": "cae.generators.gradient:PixelGradient",
    "nearest": "cae.generators.nearest:NearestImage",
    "shuffled": "cae.generators.embedding:ShuffledChange",
}


@dataclass(frozen=True, eq=False)
class Arm:
    """A generator in a comparison: the word that asked for it, its name in folders and tables, what it depends on."""

    word: str
    name: str
    generator: Generator
    identity: dict[str, Any]


def build_arms(run: TrainedRun, words: Sequence[str]) -> list[Arm]:
    """The generators that ``generators.arms`` asks for: ``NAME``, or ``callable:module:name``, either with ``@SEED``.

    Args:
        run: whose classifier is to be convinced.
        words: of the option; ``ours``, the baseline, comes first whether it is named or not.

    Raises:
        UserError: with everything that is wrong with them, at once.
    """
    arms, problems = list[Arm](), list[str]()
    for word in dict.fromkeys([OURS, *words]):
        try:
            arms.append(_arm(run, word))
        except UserError as error:
            problems += error.problems
    names = [arm.name for arm in arms]
    problems += [f"{OPTION}: two arms would be named '{name}'" for name in set(names) if names.count(name) > 1]
    if problems:
        raise UserError(problems)
    return arms


def _arm(run: TrainedRun, word: str) -> Arm:
    place, seed = _parsed(word)
    found = _class(place)
    if found.needs_gradients and not run.classifier.differentiable:
        raise UserError(
            f"{OPTION}: '{word}' follows gradients of the classifier, which this one does not give: leave it out."
        )
    generator = found(run, run.config.seed if seed is None else seed)
    identity = {"word": word, **generator.parameters}
    if place.startswith(FOREIGN):  # code that has changed gives other results
        identity["source"] = _source(found)
    name = place.rpartition(":")[2] + ("" if seed is None else f"-{seed}")
    return Arm(word, name, generator, identity)


def _parsed(word: str) -> tuple[str, int | None]:
    """The generator that a word names, and the seed behind its ``@``."""
    place, at, seed = word.partition("@")
    if at and not re.fullmatch(r"\d{1,9}", seed):
        raise UserError(f"{OPTION}: a seed is a number, as in {place}@1, but got '{word}'.")
    return place, int(seed) if at else None


def _class(place: str) -> type[Generator]:
    if place in GENERATORS:
        module, _, name = GENERATORS[place].partition(":")
        return getattr(importlib.import_module(module), name)
    if not place.startswith(FOREIGN):
        raise UserError(
            f"{OPTION}: there is no generator '{place}'{did_you_mean(place, GENERATORS)}; there are "
            f"{', '.join(GENERATORS)}, and yours by {FOREIGN}package.module:name."
        )
    return _foreign(place)


def _foreign(place: str) -> type[Generator]:
    module_name, _, name = place.removeprefix(FOREIGN).partition(":")
    if not module_name or not name.isidentifier():
        raise UserError(f"{OPTION}: a generator of yours is {FOREIGN}package.module:name, but got '{place}'.")
    module = named_module(module_name, f"{OPTION}: the module '{module_name}' of '{place}'")
    found = getattr(module, name, None)
    if not (isinstance(found, type) and issubclass(found, Generator)):
        near = "" if found is not None else did_you_mean(name, dir(module))
        raise UserError(
            f"{OPTION}: '{place}' must be a class made from cae.generators.Generator, with generate(images, targets)"
            f"{near}."
        )
    return found


def _source(found: type[Generator]) -> str:
    try:
        return work_digest({}, inspect.getsource(found).encode())
    except OSError:  # without its source, its name must do
        return ""
