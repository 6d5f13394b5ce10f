"""Explain images, or the classifier as a whole: ``python explain.py --help``."""

from cae.config.command_line import run_program
from explainers.commands.programs import explain as main

if __name__ == "__main__":
    run_program(main)
