"""Options of former versions: an older saved configuration still opens, and a recipe is told what changed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

# former name of an option -> its present name
RENAMED: dict[str, str] = {
    "cae.grafts": "cae.patch_swaps",
    "cae.loss.class_answer": "cae.loss.class_probabilities",
    "cae.loss.gate_area": "cae.loss.mask_area",
    "cae.loss.graft": "cae.loss.patch_swap",
    "cae.model.gate": "cae.model.mask",
}
# present name of an option -> former value -> present value
RENAMED_VALUES: dict[str, dict[str, str]] = {
    "cae.preset": {"reference": "published"},
    "oracle.labels": {"verdicts": "predictions"},
}
# former name of an option that is gone -> what a user of it should know, as the end of a sentence
DROPPED: dict[str, str] = {
    "sampler.weight_decay": "the learned in-fill is trained with a weight decay of 0.01",
    "sampler.gradient_clip": "the gradients of the learned in-fill are clipped at a norm of 1",
    "sampler.ema": "the averaged weights of the learned in-fill keep 0.999 of themselves at each step",
    "counterfactual.optimise_distance": "the search with reference=optimise always weighs the squared distance by 0.02",
    "caes.top": "one of a hundred features counts as the top, as published",
    "ncc.batch_pairs": "a step takes 16 pairs, as published",
    "cae.loss.gate_variation": "`cae.loss.mask_area` keeps the mask small",
    "cae.loss.reconstruction_answer": "`cae.loss.reconstruction` keeps the class of reconstructions",
}
# options that a former version did not save -> what it did, where the present default does something else
FORMER_DEFAULTS: dict[str, Any] = {"data.fit": "crop"}


def present_values(section: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """The options of a section as a former version saved them, under their present names; what is gone is left out.

    >>> present_values("cae.model", {"width": 16, "gate": True})
    {'width': 16, 'mask': True}

    Args:
        section: dotted name of the section, such as ``cae.model``.
        values: its options by name; a mapping holds those of a section below it.
    """
    found: dict[str, Any] = {}
    for name, value in _flat(section, values):
        if name in DROPPED:
            continue
        present = RENAMED.get(name, name)
        *sections, option = present.removeprefix(f"{section}.").split(".")
        inner = found
        for part in sections:
            inner = inner.setdefault(part, {})
        inner[option] = RENAMED_VALUES.get(present, {}).get(str(value), value)
    return found


def _flat(section: str, values: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        if isinstance(value, Mapping) and value:
            yield from _flat(f"{section}.{name}", value)
        else:
            yield f"{section}.{name}", value
