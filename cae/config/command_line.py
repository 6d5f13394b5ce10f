"""The command line, ``cae-train COMMAND RECIPE … key=value …``, and the same for Python: ``load_config``."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import functools
import importlib
import os
import shutil
import sys
import textwrap
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn, cast

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from cae import __version__ as VERSION
from cae.config import Config
from cae.config.checks import contradictions, out_of_range
from cae.config.fields import all_options, nearest, option_of, options_table, set_value, shown
from cae.config.former_options import DROPPED, FORMER_DEFAULTS
from cae.config.parsing import Setting, foreign_reference, read_argument, read_file, references, typed
from cae.config.recipes import list_recipes, recipe_path
from cae.errors import UserError, did_you_mean, printable
from cae.files import atomic_path, disk_problem
from cae.requeue import REQUEUE
from cae.signals import EndingSignals
from cae.terminal import printable_output

INTERRUPTED = 130  # what a shell reports of a program stopped by Ctrl-C


@dataclasses.dataclass(frozen=True)
class ParsedArguments:
    """What a command line says: the command, the checked configuration, and which options were given where."""

    command: str
    config: Config
    files: tuple[Path, ...]
    file_keys: frozenset[str]
    override_keys: frozenset[str]


def parse(argv: Sequence[str], commands: Mapping[str, str], prog: str) -> ParsedArguments:
    """Read a command line; ``--help``, ``--version`` and ``--print-config`` print and exit with 0.

    Args:
        argv: the arguments after the program's name. The first is the command; of the others, one with ``=`` overrides
            an option, one without is a recipe by its name, or a YAML file; later ones win over earlier ones.
        commands: name and one-line meaning of every command.
        prog: how the program is called, ``cae-train`` or ``python train.py``.

    Raises:
        UserError: listing everything that is wrong, at once.
    """
    flags = [argument for argument in argv if argument.startswith("-")]
    words = [argument for argument in argv if not argument.startswith("-")]
    if {"-h", "--help"} & set(flags):
        _print_and_exit(help_text(commands, prog, words[0] if words else None))
    if "--version" in flags:
        _print_and_exit(f"cae-explain {VERSION}")
    problems = [*_flag_problems(flags), *_command_problems(words, commands, prog)]
    sources = [word if "=" in word else Path(word) for word in words[1:]]
    settings, complete, files = _read_all(sources, problems)
    config = _build(settings, problems, complete)
    if "--print-config" in flags:
        _print_and_exit(OmegaConf.to_yaml(to_container(config)).rstrip())
    in_files = frozenset(setting.key for setting in settings if setting.from_file)
    overridden = frozenset(setting.key for setting in settings if not setting.from_file)
    return ParsedArguments(words[0], config, tuple(files), in_files, overridden)


def load_config(
    files: str | Path | Iterable[str | Path] = (),
    overrides: Iterable[str] = (),
    former: bool = False,
    base: Config | None = None,
) -> Config:
    """The configuration of YAML files, merged left to right, then of ``key=value`` overrides; for use from Python.

    >>> load_config(overrides=["cae.model.class_dim=4"]).cae.model.class_dim
    4

    Args:
        files: recipes by their names, or YAML files; one, or several.
        overrides: ``key=value`` settings.
        former: the files are the saved configuration of a run, which an older version may have written: pass over
            options that the program no longer has, and give those that it did not have yet their ``FORMER_DEFAULTS``.
        base: what they override; by default, the defaults. It stays as it is.

    Raises:
        UserError: listing everything that is wrong, at once.
    """
    files = [files] if isinstance(files, (str, Path)) else files  # a string has letters, none of which is a file
    problems: list[str] = []
    settings, complete, _ = _read_all([*map(Path, files), *overrides], problems)
    if former:
        settings = [setting for setting in settings if setting.key not in DROPPED]
        base = copy.deepcopy(base) if base is not None else Config()
        for key, value in FORMER_DEFAULTS.items():
            set_value(base, key, value)
    return _build(settings, problems, complete, base)


def to_container(config: Config) -> dict[str, Any]:
    """The configuration as nested dicts, lists and plain values, fit for JSON and for a checkpoint."""
    return dataclasses.asdict(config)


def save_config(config: Config, path: str | Path) -> None:
    """Write the configuration as YAML, atomically; ``load_config([path])`` reads the same back."""
    with atomic_path(path) as temporary:
        text = f"# written by cae-explain {VERSION}\n" + OmegaConf.to_yaml(to_container(config))
        temporary.write_text(text, encoding="utf-8")


def run_program(main: Callable[[list[str]], int | None], argv: Sequence[str] | None = None) -> NoReturn:
    """Run a program's ``main`` and exit: 2 after a mistake of the user, told in words.

    The exit code is 130 after Ctrl-C, 143 after SIGTERM and 129 after SIGHUP, with a sentence how to go on. Any other
    exception is a fault of the program and keeps its traceback.
    """
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # bytes of a file name that are no text are shown, not stumbled over
            stream.reconfigure(errors="backslashreplace")
    with EndingSignals() as signals, REQUEUE, printable_output():
        try:
            code = _exit_code(main, list(sys.argv[1:] if argv is None else argv))
        except BaseException:  # whatever the signal met on its way out
            if not signals.asked:
                raise
            code = INTERRUPTED
        if signals.received is not None or code == INTERRUPTED:
            code = signals.exit_code or INTERRUPTED
            _say_how_to_go_on(signals.received)
    raise SystemExit(code)


def _exit_code(main: Callable[[list[str]], int | None], arguments: list[str]) -> int:
    try:
        code = main(arguments) or 0
        sys.stdout.flush()
    except UserError as error:
        print(error_text(error), file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:  # the reader of `--help | head` has left; stay silent when Python closes the pipe
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        words = disk_problem(error, Path(error.filename or ".").parent)
        if words is None:
            raise
        print(printable(f"error: {words}"), file=sys.stderr)
        return 2
    except SystemExit as stop:
        # pytorch-lightning (2.6) turns Ctrl-C during training into sys.exit(1)
        if not isinstance(stop.__context__, KeyboardInterrupt):
            raise
        return INTERRUPTED
    return code


def error_text(error: UserError) -> str:
    """One problem as ``error: …``; several as a list."""
    if len(error.problems) == 1:
        return printable(f"error: {error.problems[0]}")
    lines = [f"error: {len(error.problems)} problems", *(f"  - {problem}" for problem in error.problems)]
    return printable("\n".join(lines))


def help_text(commands: Mapping[str, str], prog: str, command: str | None = None) -> str:
    """Usage, commands, and the table of every option."""
    column = max(map(len, commands)) + 2
    usage = [
        f"usage: {prog} {command if command in commands else 'COMMAND'} RECIPE … key=value …",
        "",
        "commands:",
        *(f"  {name:<{column}}{meaning}" for name, meaning in commands.items()),
        "",
        "An argument with `=` sets an option, one without is a recipe or a YAML file; later ones win over earlier.",
        *textwrap.wrap(f"Recipes: {', '.join(list_recipes())}.", 100),
        "Lists are written key=[a,b], mappings key={a: b}, nothing key=null; ${other.option} copies another option.",
        "",
        "  -h, --help      this text",
        "  --print-config  print the merged configuration and stop",
        "  --version       print the version and stop",
        "",
        "options: name, default, meaning, [what is allowed]",
        "",
    ]
    return "\n".join(usage) + "\n" + options_table(min(shutil.get_terminal_size((120, 24)).columns, 140))


def _print_and_exit(text: str) -> NoReturn:
    print(text, flush=True)
    raise SystemExit(0)


def _say_how_to_go_on(signal: str | None) -> None:
    if os.environ.get("LOCAL_RANK", "0") not in ("", "0"):  # the first process of a distributed training says it
        return
    cause = f"stopped by {signal}" if signal else "interrupted"
    with contextlib.suppress(OSError):  # the terminal may be gone
        print(
            f"{cause}; finished results and the last checkpoint are saved: the same command goes on from there (a "
            "training with resume=last added)",
            file=sys.stderr, flush=True,
        )  # fmt: skip


def _flag_problems(flags: Sequence[str]) -> list[str]:
    problems = []
    for flag in flags:
        name = flag.lstrip("-").partition("=")[0]
        if name in all_options():
            problems.append(f"'{flag}': options are written without dashes, {name}=VALUE")
        elif flag != "--print-config":
            near = did_you_mean(flag, ("--help", "--print-config", "--version"))
            problems.append(f"unknown flag '{flag}'{near}; options are written key=value")
    return problems


def _command_problems(words: Sequence[str], commands: Mapping[str, str], prog: str) -> list[str]:
    known = ", ".join(commands)
    if not words:
        return [f"no command given: {prog} COMMAND RECIPE … key=value …, with COMMAND one of {known}"]
    if words[0] in commands:
        return []
    near = did_you_mean(words[0], commands)
    return [f"the first argument is the command, one of {known}, but got '{words[0]}'{near}"]


def _read_all(sources: Iterable[str | Path], problems: list[str]) -> tuple[list[Setting], bool, list[Path]]:
    """Settings of files or recipes (paths) and arguments (text), whether all could be read, and the files."""
    settings: list[Setting] = []
    files: list[Path] = []
    complete = True
    for source in sources:
        try:
            if isinstance(source, Path):
                files.append(recipe_path(source))
                settings += read_file(files[-1], problems)
            else:
                settings += read_argument(source, problems)
        except UserError as error:
            problems += error.problems
            complete = False
    return settings, complete, files


@functools.cache
def _defaults() -> DictConfig:
    return OmegaConf.structured(Config)


def _build(settings: Sequence[Setting], problems: list[str], complete: bool, base: Config | None = None) -> Config:
    """Merge settings over ``base``, or the defaults, and check the whole, after reading found ``problems``.

    Contradictions are looked for only in a ``complete`` reading: what is missing may stand in the file not read.
    """
    merged = copy.deepcopy(_defaults()) if base is None else OmegaConf.structured(base)
    for setting in settings:
        problem = _refused(setting) or _apply(merged, setting)
        if problem:
            problems.append(problem)
    problems += _unresolved(merged, settings)
    config = cast(Config, OmegaConf.to_object(merged))
    problems += out_of_range(config, {setting.key: setting.origin for setting in settings})
    if complete:
        problems += contradictions(config)
    if problems:
        raise UserError(problems)
    return config


def _refused(setting: Setting) -> str | None:
    """Why the ``${…}`` of a setting are not followed, if so."""
    foreign = foreign_reference(setting.value)
    if foreign is not None:
        return (
            f"{setting.origin}: '{setting.key}' holds '{foreign}': only ${{other.option}} is understood; environment "
            "variables and other resolvers are not read, let the shell fill them in"
        )
    for name in references(setting.value):
        if name not in all_options():
            return f"{setting.origin}: '{setting.key}' refers to the unknown option '{name}'{nearest(name)}"
    return None


def _apply(merged: DictConfig, setting: Setting) -> str | None:
    if setting.key in DROPPED:
        return f"{setting.origin}: the option '{setting.key}' no longer exists: {DROPPED[setting.key]}"
    option = option_of(setting.key)
    if option is None:  # settings are read against the same table
        raise KeyError(setting.key)
    try:
        OmegaConf.update(merged, setting.key, typed(option, setting.key, setting.value), merge=True)
    except (OmegaConfBaseException, ValueError):
        return f"{setting.origin}: '{setting.key}' must be {option.expected}, but got {shown(setting.value)}"
    return None


def _unresolved(merged: DictConfig, settings: Sequence[Setting]) -> list[str]:
    """References that lead in a circle or to a value of another type; their options fall back to the default."""
    problems = {}
    for setting in settings:
        if references(setting.value):
            try:
                OmegaConf.to_container(OmegaConf.create({"value": OmegaConf.select(merged, setting.key)}), resolve=True)
            except OmegaConfBaseException:
                problems[setting.key] = f"{setting.origin}: '{setting.key}' refers to no fitting value"
    for key in problems:
        option = option_of(key)
        OmegaConf.update(merged, key, option.default if option and option.name == key else "", merge=False)
    return list(problems.values())


@dataclass(frozen=True)
class Command:
    """A word of the command line: what ``--help`` says of it, and ``module:function``, imported when it is run."""

    help: str
    place: str

    def run(self, config: Config) -> None:
        """Do what the word says."""
        module, _, function = self.place.partition(":")
        getattr(importlib.import_module(module), function)(config)
