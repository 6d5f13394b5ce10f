"""The configuration of a run: what it was trained with, and what an explanation or a Python user asks for over it."""

from __future__ import annotations

import copy
from collections.abc import Collection, Iterable
from pathlib import Path

from cae.config import Config, GeneratorsConfig
from cae.config.checks import check_config
from cae.config.command_line import ParsedArguments, load_config
from cae.config.fields import all_options, get_value, set_value, within
from cae.errors import UserError, did_you_mean
from cae.runs.pretrained import SHIPPED, install_pretrained
from cae.runs.programs import refuse_programs

PRETRAINED = "pretrained"  # the name of the shipped run

# Sections that describe what was trained; an explanation takes them from the run, whatever a YAML file says by now.
TRAINED = ("data", "classifier", "oracle", "cae", "sampler")
# Options of one call, never taken from the run.
OF_THIS_CALL = ("name", "runs", "resume", "overwrite", "pretrained", "traverse", "explain", "method", "methods", "caes",
                "sanity", "generators", "report", "serve", "logging", "trainer")  # fmt: skip


def run_config(run: Config | str | Path, overrides: Iterable[str] = (), trust_programs: bool = False) -> Config:
    """The configuration of a run that is named in any of three ways.

    Args:
        run: the folder of a run, such as ``runs/demo``; its name alone, where it lies in ``runs``, or ``pretrained``
            for the models that the package carries; or a configuration, which is taken as it is.
        overrides: ``key=value`` settings over those that the run was trained with.
        trust_programs: let the folder of a run name a classifier that is a program, as an override may.

    Raises:
        UserError: if there is no such run, something is wrong with an override, or the folder names a program.
    """
    if isinstance(run, Config):
        return load_config(overrides=overrides, base=run)
    folder, overrides = _folder_of(Path(run)), list(overrides)
    config = load_run_config(folder, overrides)
    if not within("generators.arms", [override.partition("=")[0].strip() for override in overrides]):
        config.generators.arms = GeneratorsConfig().arms  # of a call, as ``OF_THIS_CALL``: they may name programs
    if not trust_programs:
        refuse_programs(config, folder, {override.partition("=")[0].strip() for override in overrides})
    config.runs, config.name = str(folder.parent), folder.name  # wherever the folder was moved to
    return config


def _folder_of(path: Path) -> Path:
    places = [path, Path("runs") / path] if len(path.parts) == 1 else [path]
    for folder in places:
        if (folder / "config.yaml").exists():
            return folder if folder.name else folder.resolve()
    if str(path) == PRETRAINED:
        return SHIPPED
    if path.is_file():
        raise UserError(
            f"'{path}' is a file, not the folder of a run: give the folder, or the configuration that "
            "`load_config([file])` reads from a recipe."
        )
    others = known_runs(places[-1].parent)
    there = f"; runs there are {', '.join(others)}" if others else ""
    raise UserError(
        f"there is no run '{path}' (no '{places[-1] / 'config.yaml'}'){did_you_mean(path.name, others)}: give the "
        f"folder that a training wrote, such as runs/demo, or {PRETRAINED!r} for the models of the package{there}."
    )


def known_runs(runs: Path, holding: str = "config.yaml") -> list[str]:
    """Names of the runs in a folder of runs that hold a file of this name."""
    return [path.parent.name for path in sorted(runs.glob(f"*/{holding}"))]


def load_run_config(folder: str | Path, overrides: Iterable[str] = ()) -> Config:
    """The configuration that a run was trained with, with ``key=value`` settings over it.

    Raises:
        UserError: if the folder has none.
    """
    path = Path(folder) / "config.yaml"
    if not path.exists():
        raise UserError(f"'{path}' is missing: '{folder}' is no run folder; train first, or set name= and runs=")
    return load_config([path], overrides, former=True)


def merge_saved(config: Config, saved: Config, explicit: Collection[str]) -> Config:
    """The saved configuration of a run with the options of this call (``OF_THIS_CALL``) and the ``explicit`` ones."""
    merged = copy.deepcopy(saved)
    for name in all_options():
        # data.columns.label makes the whole mapping data.columns explicit
        if within(name, OF_THIS_CALL) or any(within(key, (name,)) for key in explicit):
            set_value(merged, name, copy.deepcopy(get_value(config, name)))
    return merged


def explanation_config(parsed: ParsedArguments) -> Config:
    """What an explanation runs with: the run's own ``config.yaml``, then YAML files, then ``key=value`` arguments.

    What was trained (``TRAINED``) comes from the run even where a YAML file says otherwise, since the file may have
    changed and the training may have had arguments of its own; only a ``key=value`` argument overrides it. Without a
    saved configuration the parsed one is returned as it is.

    Raises:
        UserError: if options contradict each other, or the run names a program that ``parsed`` does not name.
    """
    folder = Path(parsed.config.runs) / parsed.config.name
    if parsed.config.pretrained:
        install_pretrained(folder)
    if not (folder / "config.yaml").exists():
        return parsed.config
    from_files = {key for key in parsed.file_keys if not within(key, TRAINED)}
    merged = merge_saved(parsed.config, load_run_config(folder), parsed.override_keys | from_files)
    check_config(merged)
    refuse_programs(merged, folder, parsed.override_keys | parsed.file_keys, parsed.config)
    return merged
