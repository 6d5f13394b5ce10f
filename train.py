"""Train the classifier to be explained, the oracle, or the class association embedding: ``python train.py --help``."""

from cae.commands.train import TRAINING_STAGES
from cae.config.command_line import parse, run_program
from explainers.caes.ncc_training import NCC_COMMANDS
from explainers.infills.training import SAMPLER_COMMANDS

STAGES = TRAINING_STAGES | SAMPLER_COMMANDS | NCC_COMMANDS


def main(argv: list[str]) -> None:
    """Parse the command line and run one training stage."""
    arguments = parse(argv, {name: stage.help for name, stage in STAGES.items()}, "train.py")
    STAGES[arguments.stage].run(arguments.config)


if __name__ == "__main__":
    run_program(main)
