"""What the searches of several images minimise: the size of the mask, against the probability that it must keep."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from explainers.shearletx import objective
from explainers.shearletx.search_state import Search
from explainers.shearletx.settings import Settings
from explainers.transforms.representation import LOW_PASS, Representation, energy_entropy

AREA_WEIGHT, AREA_GROWTH = 300.0, 1.0035  # Fong et al. 2019, code


@dataclass(frozen=True, eq=False)
class SearchObjective:
    """The objective of ``settings.form``, as a function of masks and of the scores of their pictures.

    Attributes:
        representation: of the images.
        settings: of the search.
        counts: pictures that each composition takes.
    """

    representation: Representation
    settings: Settings
    counts: Sequence[int]

    def weights(self, coefficients: Tensor) -> Tensor:
        """Weights of the size for one image with coefficients ``(C, n)``; see ``objective.size_weights``."""
        rows = len(coefficients) if self.settings.colour else 1
        bands, shape = self.representation.bands, self.representation.shape
        return objective.size_weights(self.settings.size, coefficients, bands, shape, rows)

    def credit(self, mask: Tensor, coefficients: Tensor) -> Tensor | None:
        """Credit of the low-pass in the entropy, ``(l,)``, given a mask ``(M, n)``; None where all count alike."""
        bands, shape = self.representation.bands, self.representation.shape
        if self.settings.size != "conciseness" or bands[0].scale != LOW_PASS:
            return None
        return objective.low_pass_credit(mask.detach() * coefficients, bands, shape)[bands[0].place].clone()

    def size(self, searches: Sequence[Search], mask: Tensor) -> Tensor:
        """Sizes ``(A,)`` of masks ``(A, M, n)`` by the measure of the settings; 1 for masks of ones."""
        share = (mask * torch.stack([search.weights for search in searches])).sum((1, 2))
        if self.settings.size not in ("entropy", "conciseness"):
            return share
        kept = mask * torch.stack([search.coefficients for search in searches])
        credits = [search.credit for search in searches if search.credit is not None]
        if credits:
            kept = objective.credited(kept, torch.stack(credits))
        entropy = energy_entropy(kept) / kept.new_tensor([search.entropy for search in searches])
        if self.settings.size == "entropy":
            return entropy
        return (1 - objective.ENTROPY_SHARE) * share + objective.ENTROPY_SHARE * entropy

    def value(
        self, searches: Sequence[Search], mask: Tensor, values: Tensor, intensity: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Objective ``(A,)`` and sizes ``(A,)``, as functions of the mask and of the pictures' scores ``(A, E)``."""
        chosen = self.settings
        sizes = self.size(searches, mask)
        if chosen.form == "area":
            weight = AREA_WEIGHT * AREA_GROWTH ** searches[0].steps
            return weight * objective.area_penalty(mask, chosen.area) - values.sum(1), sizes
        cost = chosen.size_weight * sizes + chosen.spatial_weight * intensity
        if chosen.form == "weighted":
            own = torch.tensor([search.log_probability for search in searches]).to(values).exp()[:, None]
            wanted = own if chosen.reward == "keep" else torch.ones_like(own)
            return cost + objective.quadratic_shortfall(values, wanted), sizes
        return cost + self._constraints(searches, values), sizes

    def _constraints(self, searches: Sequence[Search], values: Tensor) -> Tensor:
        """The augmented Lagrangian ``(A,)``; each search takes down its gaps, from which its multipliers follow."""
        gaps = self._least(searches, values) - objective.pooled_log_probability(values, self.counts)
        for search, gap in zip(searches, gaps.detach(), strict=True):
            search.gaps.append(gap)
        multipliers = torch.stack([search.multipliers for search in searches]).to(values)
        stiffness = torch.tensor([[search.stiffness] for search in searches]).to(values)
        return objective.lagrangian(gaps, multipliers, stiffness)

    def _least(self, searches: Sequence[Search], like: Tensor) -> Tensor:
        """Least log probability ``(A, compositions)``."""
        shares = [self.settings.keep if name == "displayed" else self.settings.keep_noise
                  for name in self.settings.compositions]  # fmt: skip
        own = torch.tensor([search.log_probability for search in searches], dtype=torch.float64)
        return (own[:, None] + torch.tensor(shares, dtype=torch.float64).log()).to(like)
