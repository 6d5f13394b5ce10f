"""Explain images, or the classifier as a whole: ``python explain.py --help``."""

from cae.commands.explain import EXPLAINING_STAGES
from cae.config.command_line import parse, run_program
from cae.runs.run_config import explanation_config
from explainers.commands.caes import CAUSAL_COMMANDS
from explainers.commands.explain import COMPARING_STAGES

STAGES = EXPLAINING_STAGES | COMPARING_STAGES | CAUSAL_COMMANDS


def main(argv: list[str]) -> None:
    """Parse the command line, take what was trained from the run's own configuration, and run one stage."""
    arguments = parse(argv, {name: stage.help for name, stage in STAGES.items()}, "explain.py")
    STAGES[arguments.stage].run(explanation_config(arguments))


if __name__ == "__main__":
    run_program(main)
