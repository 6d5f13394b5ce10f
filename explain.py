"""Explain images, or the classifier as a whole, with a trained run: ``python explain.py --help``."""

from cae.cli import parse, run_program
from cae.explaining import EXPLAINING_STAGES
from cae.runs import explanation_config


def main(argv: list[str]) -> None:
    """Parse the command line, take what was trained from the run's own configuration, and run one stage."""
    arguments = parse(argv, {name: stage.help for name, stage in EXPLAINING_STAGES.items()}, "explain.py")
    EXPLAINING_STAGES[arguments.stage].run(explanation_config(arguments))


if __name__ == "__main__":
    run_program(main)
