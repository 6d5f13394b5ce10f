"""How maps are coloured in figures."""

import pytest
import torch

from explainers.figures import displayed


def test_a_map_of_both_signs_is_divided_by_its_largest_value():
    values, words = displayed(torch.tensor([[-4.0, 0.0], [1.0, 2.0]]))
    assert values.tolist() == [[-1.0, 0.0], [0.25, 0.5]]
    assert words == "largest value 4"


def test_a_map_far_from_zero_begins_at_its_value_nearest_to_it():
    values, words = displayed(torch.tensor([[0.5, 0.75], [1.0, 1.5]]))
    assert values.tolist() == [[0.0, 0.25], [0.5, 1.0]]
    assert words == "values 0.5 to 1.5"
    values, _ = displayed(torch.tensor([[-3.0, -1.0]]))
    assert values.tolist() == [[-1.0, 0.0]]
    assert displayed(torch.tensor([[0.1, 1.0]]))[0].tolist() == [[pytest.approx(0.1), 1.0]]


def test_a_map_that_is_the_same_everywhere_stays_blank():
    assert displayed(torch.full((2, 2), 0.5))[0].abs().max() == 0
    assert displayed(torch.zeros(2, 2))[0].abs().max() == 0
