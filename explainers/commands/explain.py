"""The stages of ``explain.py`` that need a classifier, and no CAE."""

from __future__ import annotations

from cae.config.command_line import Stage
from explainers.commands.compare import compare, run

COMPARING_STAGES = {
    "run": Stage("one explainer over images, a folder or a split (method=NAME; method=list lists them)", run),
    "compare": Stage("several explainers on the same images: maps, metrics, a table (methods=[NAME, …])", compare),
}
