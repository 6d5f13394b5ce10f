"""The stages of ``explain.py`` that need a classifier, and no CAE."""

from __future__ import annotations

from cae.config.command_line import Command
from explainers.commands.compare import compare, run

COMPARING_STAGES = {
    "run": Command("one explainer over images, a folder or a split (method=NAME; method=list lists them)", run),
    "compare": Command("several explainers on the same images: maps, metrics, a table (methods=[NAME, …])", compare),
}
