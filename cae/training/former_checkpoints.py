"""Checkpoints of former versions: the weights are the same, under other names."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from cae.files import read_checkpoint

# how the name of a parameter began -> how it begins now
RENAMED = {
    "objective.discriminator.": "objective.discriminator_terms.discriminator.",
    "objective.adversary.": "objective.leakage_terms.adversary.",
    "objective.mean_probabilities": "objective.leakage_terms.mean_probabilities",
    "objective.answer_head.": "objective.code_terms.logit_head.",
    "objective.class_scale.": "objective.code_terms.class_scale.",
    "objective.individual_scale.": "objective.code_terms.individual_scale.",
    "objective.queue.": "objective.code_terms.queue.",
}
DROPPED = {"objective.code_terms.queue.probabilities"}  # kept and never looked at


def present_state(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights of a CAE training by their present names."""
    renamed = {_present_name(name): tensor for name, tensor in state.items()}
    return {name: tensor for name, tensor in renamed.items() if name not in DROPPED}


def checkpoint_state(path: str | Path) -> dict[str, Tensor]:
    """The weights in a checkpoint of a CAE training, on the CPU, by their present names."""
    return present_state(read_checkpoint(path)["state_dict"])


def _present_name(name: str) -> str:
    for former, present in RENAMED.items():
        if name.startswith(former):
            return present + name.removeprefix(former)
    return name
