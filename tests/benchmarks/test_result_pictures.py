"""What the pictures of the results show of a result file."""

from __future__ import annotations

from benchmarks._result_pictures import value_of

RESULT = {
    "figures": {"ours/found": 1.0, "other/found": 0.9},
    "intervals": {"other/found": [0.8, 1.0]},
    "differences": {"other/found": [-0.1, -0.2, 0.0], "a - b/found": [0.3, 0.2, 0.4]},
    "choice": {"confirmation": {"a - b/found": [0.5, 0.4, 0.6]}},
}


def test_a_figure_is_shown_and_not_its_difference_to_the_baseline():
    assert value_of(RESULT, "other/found") == (0.9, 0.8, 1.0)
    assert value_of(RESULT, "ours/found") == (1.0, 1.0, 1.0)


def test_differences_are_shown_by_their_own_names_in_each_half():
    assert value_of(RESULT, "a - b/found") == (0.3, 0.2, 0.4)
    assert value_of(RESULT, "confirmation: a - b/found") == (0.5, 0.4, 0.6)
    assert value_of(RESULT, "nothing") == (None, None, None)
