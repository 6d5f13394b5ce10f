"""Train the classifier to be explained, the oracle, or the class association embedding: ``python train.py --help``."""

from cae.cli import parse, run_program
from cae.stages import TRAINING_STAGES


def main(argv: list[str]) -> None:
    """Parse the command line and run one training stage."""
    arguments = parse(argv, {name: stage.help for name, stage in TRAINING_STAGES.items()}, "train.py")
    TRAINING_STAGES[arguments.stage].run(arguments.config)


if __name__ == "__main__":
    run_program(main)
