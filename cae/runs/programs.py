"""A received run is data: a program that its ``config.yaml`` names runs only if this call names it too."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from cae.config import Config
from cae.config.fields import get_value, within
from cae.errors import UserError

# kind of classifier -> what it is, and the options that name the program
PROGRAMS: dict[str, tuple[str, tuple[str, ...]]] = {
    "callable": ("Python code, which can do whatever you can", ("classifier.model",)),
    "torchscript": (
        "a TorchScript file, a program that can also read and write files",
        ("classifier.model", "classifier.weights"),
    ),
}


def refuse_programs(config: Config, folder: Path, named: Collection[str], asked: Config | None = None) -> None:
    """Raise a UserError if the classifier of a run is a program for which this call has not asked.

    Args:
        config: of the run, with what this call sets over it.
        folder: of the run.
        named: options that this call sets, on the command line or in a YAML file named there, or in Python.
        asked: where ``named`` options have the values that this call gave them; by default ``config``.
    """
    kind = config.classifier.model.partition(":")[0]
    words, options = PROGRAMS.get(kind, ("", ()))
    missing = [
        name
        for name in options
        if not within(name, named) or get_value(asked or config, name) != get_value(config, name)
    ]
    if missing:
        settings = " ".join(f"{name}={get_value(config, name)}" for name in options)
        raise UserError(
            f"'{folder / 'config.yaml'}' asks to run {words}: {settings}. A run folder is data, it starts no programs: "
            f"if you trust this one, name it in this call, by the arguments {settings} or in a YAML file of yours "
            "(from Python: load_run(…, trust_programs=True))."
        )
