"""MultiReX on functions of 16 cells, against the enumeration of all 65,536 masks."""

import itertools
import random

import pytest
import torch
from patch_classifiers import cells_classifier
from torch import Tensor, nn

from explainers.multirex import MultiReX


def terms_table(numbers: random.Random) -> tuple[Tensor, int]:
    """A monotone function as an or of ands, and how many disjoint sets suffice."""
    terms = [sum(1 << i for i in numbers.sample(range(16), numbers.randint(1, 4)))
             for _ in range(numbers.randint(2, 7))]  # fmt: skip
    every = torch.arange(65536)
    table = torch.zeros(65536, dtype=torch.bool)
    for term in terms:
        table |= (every & term) == term
    disjoint = (
        len(some)
        for count in range(1, len(terms) + 1)
        for some in itertools.combinations(terms, count)
        if all(a & b == 0 for a, b in itertools.combinations(some, 2))
    )
    return table, max(disjoint)


def threshold_table(numbers: random.Random) -> tuple[Tensor, int]:
    """At least k of n cells, and how many disjoint sets suffice."""
    cells = numbers.sample(range(16), numbers.randint(4, 16))
    least = numbers.randint(1, len(cells))
    every = torch.arange(65536)
    return sum((every >> cell) & 1 for cell in cells) >= least, len(cells) // least


def oracle_run(table):
    explainer = MultiReX(
        cells_classifier(table), fill=0.0, threshold=0.0, budget=2000, max_explanations=16, tiles=(16,)
    )
    return explainer(torch.ones(1, 1, 64, 64), target=0).extras[0]


def shown_cells(masks: Tensor) -> Tensor:
    share = nn.functional.avg_pool2d(masks[:, None].double(), 16).flatten(1)
    return ((share >= 0.6).long() << torch.arange(16)).sum(1)


def check_against_oracle(table, extras):
    """Sufficient, disjoint, and certified just where the enumeration says so."""
    codes = shown_cells(extras["masks"])
    assert bool(table[codes].all())
    assert int(extras["masks"].sum(0).max()) <= 1
    for mask, certificate in zip(extras["masks"], extras["certificates"], strict=True):
        tile = torch.arange(64) // 16
        numbers = tile[:, None] * 4 + tile
        left_out = torch.stack([mask & (numbers != number) for number in numbers[mask].unique()])
        assert (certificate["finest"] == 16) == (not bool(table[shown_cells(left_out)].any()))


def share_of_packings_reached(functions: int) -> float:
    numbers = random.Random(0)
    reached = 0
    for place in range(functions):
        table, packing = (terms_table, threshold_table)[place % 2](numbers)
        extras = oracle_run(table)
        check_against_oracle(table, extras)
        assert extras["count"] <= packing
        reached += extras["count"] == packing
    return reached / functions


def test_exhaustive_oracle_agrees_and_packings_are_reached():
    assert share_of_packings_reached(4) >= 0.75


@pytest.mark.slow
def test_largest_packing_is_reached_on_95_percent_of_200_monotone_functions():
    assert share_of_packings_reached(200) >= 0.95


def test_arbitrary_tables_are_served_as_well():
    generator = torch.Generator().manual_seed(4)
    for _ in range(1):
        table = torch.rand(65536, generator=generator) < 0.15
        table[0], table[-1] = False, True
        check_against_oracle(table, oracle_run(table))
