"""A training goes on only as the same training: options and fingerprints it depends on are noted in the run folder."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from cae.config import Config
from cae.config.fields import all_options, get_value, shown, within
from cae.continuing import same_work
from cae.files import read_json, update_json

NOTE = "stages.json"
_TRAINING = ("classifier.learning_rate", "classifier.weight_decay", "classifier.noise", "classifier.shift")
_NETWORK = tuple(
    f"classifier.{name}"
    for name in ("model", "width", "input_size", "channels", "mean", "std", "epochs", "finetune", "freeze")
)
# Sections and options that the result of a stage depends on.
DECIDING = {
    "classifier": ("seed", "data", *_NETWORK, *_TRAINING, "trainer.precision"),
    "oracle": ("data", "oracle", *_TRAINING, "trainer.precision"),
    "cae": ("seed", "data", "cae", "trainer.precision"),
    "ncc": ("seed", "ncc", "trainer.precision"),
    "sampler": ("seed", "data", "sampler", "trainer.precision"),
}
# Where the data lies and how it is read; whether it is the same data its fingerprint tells.
_NO_MATTER = ("data.path", "data.workers", "data.cache", "data.mixed_channels", "data.check", "data.max_megapixels",
              "data.max_gigabytes")  # fmt: skip
# Training on to more steps is the training of more steps from the beginning; a finished one has its number.
_EXTENDABLE = ("ncc.steps",)

Differs = Callable[[Any, Any], str]  # in words; empty where they do not


def stage_identity(config: Config, stage: str) -> dict[str, Any]:
    """Every option that the result of a stage depends on, by its name."""
    return {
        name: get_value(config, name)
        for name in all_options()
        if within(name, DECIDING[stage]) and name not in _NO_MATTER
    }


def stage_changes(
    folder: Path, stage: str, identity: Mapping[str, Any], finished: bool, differs: Mapping[str, Differs] | None = None
) -> list[str]:
    """Sentences on everything in which a stage that is to go on differs from how it began.

    Args:
        folder: of the run.
        stage: what is trained.
        identity: options and fingerprints now, by name; what the note does not know is not compared.
        finished: whether the stage has its result.
        differs: how the values of some names are compared; those of others must be equal.
    """
    before, judged = noted_identity(folder, stage), differs or {}
    compared = {name: now for name, now in identity.items() if name in before}
    if not finished:
        compared = {name: now for name, now in compared.items() if name not in _EXTENDABLE}
    changed = {name: judged.get(name, _differs)(before[name], now) for name, now in compared.items()}
    return list(_sentences(stage, {name: words for name, words in changed.items() if words}, before, compared))


def note_stage(folder: Path, stage: str, identity: Mapping[str, Any], anew: bool) -> None:
    """Note how a stage begins, or add to it what was not known when it did."""
    before = {} if anew else noted_identity(folder, stage)
    update_json(folder / NOTE, {stage: {**before, **identity}})


def is_noted(folder: Path, stage: str) -> bool:
    """Whether it is known how a stage began; of runs of version 0.1 it is not."""
    return bool(noted_identity(folder, stage))


def noted_identity(folder: Path, stage: str) -> dict[str, Any]:
    """Options and fingerprints with which a stage began; empty where it is not known."""
    found = read_json(folder / NOTE).get(stage)
    return found if isinstance(found, dict) else {}


def _differs(before: Any, now: Any) -> str:
    return "" if same_work(before, now) else "other"


def _sentences(
    stage: str, changed: Mapping[str, str], before: Mapping[str, Any], now: Mapping[str, Any]
) -> Iterator[str]:
    out = "overwrite=true to start anew, or name=… to write elsewhere"
    for name, words in changed.items():
        if name == "data":
            yield (
                f"the data are others than those with which the stage '{stage}' was started ({words}): set "
                f"data.path to the former ones to continue, or give {out}"
            )
        elif name not in all_options():
            yield (
                f"the stage '{stage}' was started with another {name} (fingerprint {before[name]}) than the present "
                f"one ({now[name]}): give back the former one to continue, or give {out}"
            )
        else:
            yield (
                f"'{name}' is {shown(now[name])}, but the run was started with {shown(before[name])}; give that value "
                f"to continue, or {out}"
            )
