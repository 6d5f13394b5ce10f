"""The file of an experiment: a recipe, arms that differ from it, seeds, and what is done with each."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from cae.config.fields import all_sections, nearest, option_of, shown
from cae.config.former_options import DROPPED, RENAMED
from cae.errors import UserError, did_you_mean

EXECUTORS = ("local", "slurm")
SHAREABLE = ("classifier", "oracle")  # stages that arms can lend each other
OWN_OPTIONS = ("name", "runs", "seed", "resume", "overwrite", "pretrained")  # set by the experiment itself
Options = dict[str, str]  # value of each option, as it is written on a command line


@dataclass(frozen=True)
class Step:
    """A word of the command line, such as ``traverse``, with options of its own."""

    word: str
    options: Options = field(default_factory=dict)


USUAL_COMMANDS = (Step("classifier"), Step("oracle"), Step("cae"), Step("traverse"))


@dataclass(frozen=True)
class Experiment:
    """What the file of an experiment says.

    Attributes:
        name: of the experiment; everything is written to ``runs/<name>``.
        base: recipes or YAML files, merged left to right.
        arms: options by which each arm differs, by its name.
        seeds: each arm runs once with each.
        commands: what is done with each arm, in turn.
        options: of every arm.
        shared: stages among the commands that are trained once for all arms that do not differ in what it is made of.
        baseline: the arm that the others are compared with.
        metrics: which figures are shown, by names or patterns such as ``cae/*``; empty for the usual ones.
        runs: folder of all runs.
        executor: ``local``: processes of this machine; ``slurm``: an array of jobs.
        jobs_at_once: at most; by default one for each GPU, and one without.
        devices: numbers of the GPUs that local jobs take in turn, one each; by default all.
        slurm: parameters of submitit's executor, such as ``timeout_min``.
    """

    name: str
    base: tuple[str, ...]
    arms: dict[str, Options]
    seeds: tuple[int, ...] = (0,)
    commands: tuple[Step, ...] = USUAL_COMMANDS
    options: Options = field(default_factory=dict)
    shared: tuple[str, ...] = ()
    baseline: str = ""
    metrics: tuple[str, ...] = ()
    runs: str = "runs"
    executor: str = "local"
    jobs_at_once: int | None = None
    devices: tuple[int, ...] | None = None
    slurm: dict[str, Any] = field(default_factory=dict)

    @property
    def folder(self) -> Path:
        """Where everything lies."""
        return Path(self.runs) / self.name


def read_experiment(arguments: Sequence[str], words: Iterable[str]) -> Experiment:
    """Read the arguments of ``train.py experiment``: one file, then ``key=value``.

    A key of the file (``seeds=[0,1]``) replaces what it says there; the name of an option sets it for every arm.

    Args:
        arguments: after the word ``experiment``.
        words: words of the command line that may be done with an arm.

    Raises:
        UserError: that lists everything wrong with it.
    """
    files = [argument for argument in arguments if "=" not in argument]
    if len(files) != 1:
        raise UserError(
            f"an experiment is one YAML file, but got {', '.join(map(repr, files)) or 'none'}: cae-train experiment "
            "FILE.yaml key=value …"
        )
    content = {"name": Path(files[0]).stem, **_read(Path(files[0]))}
    problems: list[str] = []
    keys = [entry.name for entry in dataclasses.fields(Experiment)] + ["grid"]
    for argument in arguments:
        key, equals, value = argument.partition("=")
        if key in keys and equals:
            content[key] = _parsed(value, argument)
        elif equals:
            content["options"] = {
                **_mapping(content.get("options"), "options", problems),
                key: _parsed(value, argument),
            }
    problems += [f"{files[0]}: unknown key '{key}'{did_you_mean(key, keys)}; keys are {', '.join(keys)}"
                 for key in content if key not in keys]  # fmt: skip
    experiment = _experiment(content, problems)
    problems += _problems(experiment, set(words))
    if problems:
        raise UserError(problems)
    return experiment


def _read(path: Path) -> dict[str, Any]:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(
            f"the experiment '{path}' cannot be read: {getattr(error, 'strerror', None) or error}"
        ) from error
    content = _parsed(text, str(path)) if text.strip() else {}
    if not isinstance(content, dict):
        raise UserError(f"'{path}' must hold keys and values, such as `base: lesions` and `arms: …`")
    return content


def _parsed(text: str, origin: str) -> Any:
    """YAML with every scalar left as it is written, since ``off`` or ``2e-3`` mean what their option takes them for."""
    try:
        return yaml.load(text, Loader=yaml.BaseLoader)
    except yaml.YAMLError as error:
        raise UserError(f"{origin}: not valid YAML: {' '.join(str(error).split())}") from error


def _experiment(content: Mapping[str, Any], problems: list[str]) -> Experiment:
    arms = {
        name: _options(options, f"arms: {name}", problems)
        for name, options in _mapping(content.get("arms"), "arms", problems).items()
    }
    arms = _crossed(arms, _mapping(content.get("grid"), "grid", problems), problems) or {"base": {}}
    steps = [_step(entry, problems) for entry in _list(content.get("commands"))]
    return Experiment(
        name=str(content["name"]),
        base=tuple(map(str, _list(content.get("base")))),
        arms=arms,
        seeds=tuple(_numbers(content.get("seeds", ["0"]), "seeds", problems)),
        commands=tuple(steps) or USUAL_COMMANDS,
        options=_options(content.get("options"), "options", problems),
        shared=tuple(map(str, _list(content.get("shared")))),
        baseline=str(content.get("baseline", next(iter(arms)))),
        metrics=tuple(map(str, _list(content.get("metrics")))),
        runs=str(content.get("runs", Experiment.runs)),
        executor=str(content.get("executor", Experiment.executor)),
        jobs_at_once=next(iter(_numbers(content.get("jobs_at_once"), "jobs_at_once", problems)), None),
        devices=tuple(_numbers(content["devices"], "devices", problems)) if content.get("devices") else None,
        slurm={key: _plain(value) for key, value in _mapping(content.get("slurm"), "slurm", problems).items()},
    )


def _crossed(arms: dict[str, Options], grid: Mapping[str, Any], problems: list[str]) -> dict[str, Options]:
    """Every arm with every combination of the grid's values."""
    for name, values in grid.items():
        key = next(iter(_options({name: "x"}, "grid", problems)), name)
        short = name.rpartition(".")[2]
        arms = {
            f"{arm},{short}={_text(value)}".lstrip(","): {**options, key: _text(value)}
            for value in _list(values)
            for arm, options in (arms or {"": {}}).items()
        }
    return arms


def _options(content: Any, origin: str, problems: list[str]) -> Options:
    """Options by their dotted names, whether they are written dotted or nested."""
    found: Options = {}
    for key, value in _leaves("", _mapping(content, origin, problems)):
        key = RENAMED.get(key, key)
        if key in OWN_OPTIONS:
            problems.append(f"{origin}: '{key}' is set by the experiment itself: by `seeds`, `name` and `runs`")
        elif option_of(key) is None and key not in DROPPED:
            problems.append(f"{origin}: unknown option '{key}'{nearest(key)}")
        found[key] = _text(value)
    return found


def _leaves(prefix: str, content: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for name, value in content.items():
        if isinstance(value, dict) and f"{prefix}{name}" in all_sections():
            yield from _leaves(f"{prefix}{name}.", value)
        else:
            yield f"{prefix}{name}", value


def _step(entry: Any, problems: list[str]) -> Step:
    if isinstance(entry, dict) and len(entry) == 1:
        word, options = next(iter(entry.items()))
        return Step(word, _options(options, f"commands: {word}", problems))
    if not isinstance(entry, str):
        problems.append(f"commands: each is a word, or a word with options, `traverse: {{…}}`, but got {entry!r}")
    return Step(str(entry))


def _problems(experiment: Experiment, words: set[str]) -> Iterator[str]:
    """What is wrong with an experiment beside the values of its options."""
    steps = [step.word for step in experiment.commands]
    yield from (f"commands: '{word}' is no command{did_you_mean(word, words)}; they are {', '.join(sorted(words))}"
                for word in dict.fromkeys(steps) if word not in words)  # fmt: skip
    if not experiment.base:
        yield "base: name the recipe or YAML file that every arm starts from"
    yield from (f"arms: '{name}' is the name of a folder, and must not hold / or begin with a dot"
                for name in experiment.arms if "/" in name or name.startswith("."))  # fmt: skip
    if experiment.baseline not in experiment.arms:
        yield f"baseline: '{experiment.baseline}' is none of the arms {', '.join(experiment.arms)}"
    for stage in experiment.shared:
        if stage not in SHAREABLE:
            yield f"shared: '{stage}' cannot be shared, only {' and '.join(SHAREABLE)}"
        elif steps.count(stage) != 1 or any(step.options for step in experiment.commands if step.word == stage):
            yield f"shared: '{stage}' must be one of the `commands`, once, without options of its own"
    if not experiment.seeds or len(set(experiment.seeds)) < len(experiment.seeds) or min(experiment.seeds) < 0:
        yield "seeds: must be different whole numbers, at least one, none negative"
    if experiment.executor not in EXECUTORS:
        yield f"executor: must be one of {', '.join(EXECUTORS)}, but is '{experiment.executor}'"
    if experiment.jobs_at_once is not None and experiment.jobs_at_once < 1:
        yield "jobs_at_once: must be at least 1"


def _mapping(content: Any, name: str, problems: list[str]) -> dict[str, Any]:
    if content in (None, ""):
        return {}
    if not isinstance(content, dict):
        problems.append(f"{name}: must be a mapping, `key: value`, but is {content!r}")
        return {}
    return content


def _list(content: Any) -> list[Any]:
    if content in (None, ""):
        return []
    return content if isinstance(content, list) else [content]


def _numbers(content: Any, name: str, problems: list[str]) -> list[int]:
    try:
        return [int(value) for value in _list(content)]
    except (TypeError, ValueError):
        problems.append(f"{name}: must be whole numbers, but is {content!r}")
        return []


def _text(value: Any) -> str:
    """A value as it is written on a command line."""
    if isinstance(value, (list, dict)):
        return yaml.dump(value, default_flow_style=True, width=10**6, sort_keys=False).strip()
    return shown(value) if value == "" else str(value)


def _plain(value: Any) -> Any:
    """A value of ``slurm``, with the type that YAML gives it."""
    return yaml.safe_load(value) if isinstance(value, str) else value
