"""What is measured of one counterfactual, whatever made it: found, believed, where, how large, how it convinces."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from cae.counterfactuals.path_search import target_margin
from cae.metrics.counterfactual import changed_outside, changed_share, cout, l1_distance
from cae.metrics.localisation import evidence_map, localise

Better = Literal["higher", "lower", "none"]
Values = dict[str, float | None]

# name: words, and which direction is better
WORDS: dict[str, tuple[str, Better]] = {
    "found": ("the classifier gives the target more than every other class by the margin", "higher"),
    "oracle": ("the oracle sees the target in the counterfactual, by the same margin", "higher"),
    "oracle_end": (
        "the oracle sees it at the path's end; of a generator without paths, in the counterfactual",
        "higher",
    ),
    "l1": ("mean absolute change, white being 1", "lower"),
    "changed_share": ("share of the pixels that change by more than 0.05", "lower"),
    "end_l1": ("mean absolute change at the path's end; without paths, of the counterfactual", "lower"),
    "end_changed_share": ("share of the pixels that change there by more than 0.05", "lower"),
    "cout": ("COUT of the counterfactual: how few pixels bring the change", "higher"),
    "end_cout": ("COUT at the path's end; without paths, of the counterfactual", "higher"),
    "evidence_pointing": ("the largest change, closed and smoothed as ours, lies in the mask", "higher"),
    "evidence_dice": ("Dice of the mask with that map above Otsu's threshold", "higher"),
    "evidence_dice_best": ("the same at the threshold that suits the mask best", "higher"),
    "raw_pointing": ("the largest absolute change, as it is, lies in the mask", "higher"),
    "raw_dice": ("Dice of the mask with the absolute change above Otsu's threshold", "higher"),
    "raw_dice_best": ("the same at the threshold that suits the mask best", "higher"),
    "changed_outside": ("share of the image that changes more than 5 pixels off the mask", "lower"),
    "diversity": (
        "mean absolute difference between counterfactuals of one image towards up to three classes",
        "higher",
    ),
    "mask_share": ("share of the image in the mask: what chance scores in pointing", "none"),
    "centre_dice": ("Dice of a map of the image's centre, a control", "none"),
    "classifier_passes": ("images that the classifier was asked about", "lower"),
    "own_passes": ("passes through the generator's own networks", "lower"),
    "seconds": ("seconds for an image", "lower"),
    "peak_megabytes": ("memory on the GPU at most, with the models, in MB", "lower"),
}


@dataclass(frozen=True, eq=False)
class Made:
    """What a generator made of one image, rounded to 8 bits, with what the classifiers say; on the CPU.

    Attributes:
        original: ``(C, H, W)`` in [0, 1].
        image: ``(C, H, W)`` the counterfactual, or the nearest attempt.
        end: ``(C, H, W)`` end of the path; None without one.
        base: ``(C, H, W)`` what the change is seen against.
        probabilities: ``(K,)`` of the classifier for ``image``.
        oracle: ``(K,)`` of the oracle for ``image``; None without one.
        end_oracle: ``(K,)`` of the oracle for ``end``.
        mask: ``(1, H, W)`` bool, where the class is known to show; None where nothing is known.
    """

    original: Tensor
    image: Tensor
    end: Tensor | None
    base: Tensor
    probabilities: Tensor
    oracle: Tensor | None
    end_oracle: Tensor | None
    mask: Tensor | None

    @property
    def last(self) -> Tensor:
        """``(C, H, W)`` the end of the path; without one, the counterfactual."""
        return self.image if self.end is None else self.end

    @property
    def evidence(self) -> Tensor:
        """``(1, H, W)`` energy of the whole change as regions, as of our own counterfactuals."""
        return evidence_map(self.last - self.base)

    @property
    def raw(self) -> Tensor:
        """``(1, H, W)`` the absolute change, summed over channels, so that post-processing is not taken for it."""
        return (self.last - self.base).abs().sum(0, keepdim=True)


def measured(
    made: Made,
    source: int,
    target: int,
    margin: float,
    probabilities: Callable[[Tensor], Tensor],
    batch_size: int = 64,
    seed: int = 0,
) -> Values:
    """All values of one image but its costs, by the names of ``WORDS``; None where undefined.

    Args:
        made: by the generator.
        source: class predicted for the original.
        target: class to be reached.
        margin: by which a class must lead to count as seen.
        probabilities: the classifier's, from images ``(B, C, H, W)`` to ``(B, K)``; asked for COUT.
        batch_size: images classified at once.
        seed: of the order among pixels that changed equally.
    """

    def copied(edited: Tensor) -> float:
        return cout(probabilities, made.original, edited, source, target, batch_size=batch_size, seed=seed).value

    boundary = copied(made.image)
    pair, last_pair = (made.original[None], made.image[None]), (made.original[None], made.last[None])
    end_oracle = made.oracle if made.end is None else made.end_oracle
    return {
        "found": float(leads(made.probabilities, target, margin)),
        "oracle": None if made.oracle is None else float(leads(made.oracle, target, margin)),
        "oracle_end": None if end_oracle is None else float(leads(end_oracle, target, margin)),
        "l1": float(l1_distance(*pair)),
        "changed_share": float(changed_share(*pair)),
        "end_l1": float(l1_distance(*last_pair)),
        "end_changed_share": float(changed_share(*last_pair)),
        "cout": boundary,
        "end_cout": boundary if made.end is None else copied(made.last),
        **places(made),
    }


def leads(probabilities: Tensor, target: int, margin: float) -> bool:
    """Whether a class leads every other by the margin in ``probabilities (K,)``."""
    return bool(target_margin(probabilities, torch.tensor(target)) >= margin)


def places(made: Made) -> Values:
    """Where the change lies, against the mask; empty without a mask. A map of zeros points nowhere: 0."""
    if made.mask is None or not bool(made.mask.any()):
        return {}
    values: Values = {}
    for name, saliency in (("evidence", made.evidence), ("raw", made.raw)):
        found = localise(saliency[0], made.mask[0])
        if found is None:
            continue
        values |= {f"{name}_{key}": getattr(found, key) or 0.0 for key in ("pointing", "dice", "dice_best")}
        values |= {"mask_share": found.mask_share, "centre_dice": found.dice_centre}
    outside = changed_outside(made.base[None], made.last[None], made.mask[None])
    return {**values, "changed_outside": float(outside)}
