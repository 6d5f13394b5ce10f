"""The stages of ``explain.py``: each opens a trained run, explains with it, and says what there is to see."""

from __future__ import annotations

from cae.commands.manifold import manifold
from cae.commands.sanity import sanity
from cae.commands.traverse import traverse
from cae.config.command_line import Command

EXPLAINING_STAGES = {
    "traverse": Command("counterfactual paths for images, a folder or a split; started again, it goes on", traverse),
    "manifold": Command("the map of the classes and the diagnostics of the embedding, on the test split", manifold),
    "sanity": Command("do explanations follow the classifier? Three tests with pass rules, which train models", sanity),
}
