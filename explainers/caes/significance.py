"""Permutation tests of score terms: does the place of the masks matter, do the coefficients, do other masks differ?"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from cae.metrics.statistics import permutation_p_value
from explainers.caes.causation import Causation
from explainers.caes.score_terms import OF_NCC, Contributions, TermValues, averages, score_terms

DRAWS_AT_ONCE = 500

PValues = dict[str, float]  # by name of a term


def p_values(
    observed: Mapping[str, Tensor], null: Mapping[str, Tensor], names: Iterable[str], two_sided: bool = False
) -> PValues:
    """Of each term's observed value ``(1,)`` among its values ``(draws,)`` under the null hypothesis."""
    return {name: float(permutation_p_value(observed[name][0], null[name], two_sided)) for name in names}


def drawn_terms(versions: Sequence[Contributions], choice: Tensor, anticausal: Tensor | None, top: float) -> TermValues:
    """Terms ``(draws,)`` where ``choice (draws, N)`` picks a version of the mask for each of N images.

    The features of every version are known, so that draws cost no forward pass.
    """
    count = choice.shape[1]
    shared = [name for name in versions[0] if all(name in version for version in versions)]
    flat = {name: torch.cat([version[name] for version in versions]) for name in shared}
    parts = []
    for picked in choice.split(DRAWS_AT_ONCE):
        places = picked * count + torch.arange(count)
        means = {name: F.embedding_bag(places, values, mode="mean") for name, values in flat.items()}
        parts.append(score_terms(means, anticausal, top))
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}


def roll_test(
    versions: Sequence[Contributions],
    observed: TermValues,
    anticausal: Tensor | None,
    top: float,
    draws: int,
    generator: torch.Generator,
) -> PValues:
    """Whether the place of the masks matters beyond area and shape: one version of each image's mask, at random."""
    choice = torch.randint(len(versions), (draws, len(versions[0]["necessity"])), generator=generator)
    null = drawn_terms(versions, choice, anticausal, top)
    return p_values(observed, null, null)


def link_test(means: Contributions, causation: Causation, top: float) -> PValues:
    """Whether the coefficients matter to the terms made of them: the evidence permuted over the images."""
    observed = score_terms(means, causation.link_observed, top)
    null = score_terms(means, causation.link_null, top)
    return p_values(observed, null, [name for name in OF_NCC if name in null])


def feature_test(
    means: Contributions, observed: TermValues, anticausal: Tensor, top: float, draws: int, generator: torch.Generator
) -> PValues:
    """The rank correlation's test by permuted features, which are correlated: anti-conservative; empty for gaps."""
    order = torch.rand(draws, len(anticausal), generator=generator).argsort(1)
    if not bool(anticausal.isfinite().all()):
        return {}
    return p_values(observed, score_terms(means, anticausal[order], top), ["caes_rank"])


def swap_test(
    one: Contributions, other: Contributions, anticausal: Tensor | None, top: float, draws: int,
    generator: torch.Generator,
) -> PValues:  # fmt: skip
    """Whether two sets of masks of the same images differ: the two exchanged at random per image, two-sided."""
    pair = (one, other)
    choice = torch.randint(2, (draws, len(one["necessity"])), generator=generator)
    null_one, null_two = (drawn_terms(pair, picked, anticausal, top) for picked in (choice, 1 - choice))
    values_one, values_two = (score_terms(averages(each), anticausal, top) for each in pair)
    observed = {name: values_one[name] - values_two[name] for name in values_one}
    return p_values(observed, {name: null_one[name] - null_two[name] for name in null_one}, observed, two_sided=True)
