"""Train the classifier to be explained, the oracle, or the class association embedding: ``python train.py --help``."""

from cae.config.command_line import run_program
from explainers.commands.programs import train as main

if __name__ == "__main__":
    run_program(main)
