"""One counterfactual with all that its metrics are computed from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

from torch import Tensor

from cae.counterfactuals.result import Counterfactual
from cae.metrics.localisation import Localisation, localise


@dataclass(frozen=True, eq=False)
class ScoredResult:
    """A result, what the oracle and the classifier see in its images, and where the class is known to show.

    Attributes:
        result: of the search.
        probabilities: the classifier's, from images ``(B, C, H, W)`` to ``(B, K)``.
        margin: by how much the target's probability was asked to lead.
        batch_size: images classified at once.
        mask: ``(1, H, W)`` bool, or None where nothing is known.
        oracle_original: ``(K,)`` probabilities of the oracle for the original; None without an oracle.
        oracle_counterfactual: the same for the counterfactual; None, as all below, where none was found.
        oracle_end: the same for the end of the path.
        decoded_prediction: class that the classifier sees in the decoder's own image at the boundary.
        features: ``(3, F)`` of the classifier, for the original, the counterfactual and the end of the path.
    """

    result: Counterfactual
    probabilities: Callable[[Tensor], Tensor]
    margin: float
    batch_size: int = 64
    mask: Tensor | None = None
    oracle_original: Tensor | None = None
    oracle_counterfactual: Tensor | None = None
    oracle_end: Tensor | None = None
    decoded_prediction: int | None = None
    features: Tensor | None = None

    @cached_property
    def localisation(self) -> Localisation | None:
        """How the size of the difference agrees with the mask; None without a difference or a mask."""
        saliency = self.result.saliency
        return None if saliency is None or self.mask is None else localise(saliency[0], self.mask[0])

    @cached_property
    def end_localisation(self) -> Localisation | None:
        """How the evidence agrees with the mask; None without a path or a mask."""
        evidence = self.result.evidence
        return None if evidence is None or self.mask is None else localise(evidence[0], self.mask[0])
