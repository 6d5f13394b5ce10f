"""The programs ``cae-train`` and ``cae-explain``: every word of their command lines, and where it is done.

A word costs what it needs: the module behind it is imported when it is run, so that ``--help`` answers at once.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

from cae.config import Config
from cae.config.command_line import Command, parse, run_program
from cae.runs.run_config import explanation_config
from cae.runs.run_lock import release_locks

TRAIN = {
    "check": Command(
        "what the data is: counts, sizes, values, masks, duplicates; a contact sheet", "cae.commands.check:check"
    ),
    "classifier": Command(
        "train the classifier to be explained (not needed with classifier.weights)",
        "cae.commands.train:classifier_stage",
    ),
    "oracle": Command(
        "train the second classifier that scores edits (`cae` does it where it is missing)",
        "cae.commands.train:oracle_stage",
    ),
    "cae": Command("train the class association embedding against the classifier", "cae.commands.train:cae_stage"),
    "sampler": Command(
        "train the learned in-fill of the information maps", "explainers.infills.training:sampler_command"
    ),
    "ncc": Command(
        "train the neural causation coefficient on synthetic cause-effect pairs",
        "explainers.caes.ncc_training:ncc_command",
    ),
}
# read from a file of its own form, whose jobs are the words above and below
EXPERIMENT = {"experiment": "arms and seeds of a recipe as jobs, on all devices or a cluster, and one table of them"}
EXPLAIN = {
    "traverse": Command(
        "counterfactual paths for images, a folder or a split; started again, it goes on",
        "cae.commands.traverse:traverse",
    ),
    "manifold": Command(
        "the map of the classes and the diagnostics of the embedding, on the test split",
        "cae.commands.manifold:manifold",
    ),
    "sanity": Command(
        "do explanations follow the classifier? Three tests with pass rules, which train models",
        "cae.commands.sanity:sanity",
    ),
    "run": Command(
        "one explainer over images, a folder or a split (method=NAME; method=list lists them)",
        "explainers.commands.run:run",
    ),
    "compare": Command(
        "several explainers on the same images: maps, metrics, a table (methods=[NAME, …])",
        "explainers.commands.compare:compare",
    ),
    "compare-generators": Command(
        "generators of counterfactuals on the same images: a table, a picture (generators.arms=[NAME, …])",
        "cae.commands.compare_generators:compare_generators",
    ),
    "export": Command(
        "encoder, decoder and counterfactuals as ONNX files, for other programs", "cae.commands.export:export"
    ),
    "caes": Command(
        "causal explanation scores: whose masks carry the classifier's evidence", "explainers.commands.caes:caes"
    ),
    "report": Command(
        "one HTML file, to look at, of whatever the run folder holds", "explainers.commands.report:report"
    ),
    "serve": Command("a local app: drop an image, see its path live (extra app)", "explainers.commands.serve:serve"),
}


def train(argv: list[str]) -> None:
    """Parse the command line of ``cae-train``, or of ``train.py``, and train one part of a run."""
    if argv[:1] == [*EXPERIMENT] and not any(argument.startswith("-") for argument in argv):
        from explainers.commands.experiment import experiment

        experiment(argv[1:], [*TRAIN, *EXPLAIN])
        return
    arguments = parse(argv, _words(TRAIN) | EXPERIMENT, _called("train.py"))
    _do(TRAIN[arguments.command], arguments.config)


def explain(argv: list[str]) -> None:
    """The same of ``cae-explain``, or ``explain.py``: takes what was trained from the run's own configuration."""
    arguments = parse(argv, _words(EXPLAIN), _called("explain.py"))
    _do(EXPLAIN[arguments.command], explanation_config(arguments))


def train_program() -> None:
    """The installed command ``cae-train``."""
    run_program(train)


def explain_program() -> None:
    """The installed command ``cae-explain``."""
    run_program(explain)


def _do(command: Command, config: Config) -> None:
    """Run a command, and give back the folders that it wrote in, however it ends."""
    try:
        command.run(config)
    finally:
        release_locks()


def _words(commands: Mapping[str, Command]) -> dict[str, str]:
    return {name: command.help for name, command in commands.items()}


def _called(script: str) -> str:
    """How the program was called, for messages: by its installed name, or as a script of the checkout."""
    name = Path(sys.argv[0]).name
    return name if name.startswith("cae-") else f"python {script}"
