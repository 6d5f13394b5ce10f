"""Accuracy by class, chance, and orders of outputs: exact on small confusion matrices."""

from __future__ import annotations

import math

import pytest
import torch

from cae.metrics.agreement import (
    accuracy,
    balanced_accuracy,
    beats_chance,
    better_order,
    clearly_better,
    confusion_matrix,
    recalls,
)


def diagonal(classes: int, images: int) -> torch.Tensor:
    return images * torch.eye(classes, dtype=torch.int64)


def test_images_are_counted_by_true_and_predicted_class_and_unknown_labels_left_out():
    labels, predictions = torch.tensor([0, 0, 1, 2, -1]), torch.tensor([0, 2, 1, 1, 0])
    assert confusion_matrix(labels, predictions, 3).tolist() == [[1, 0, 1], [0, 1, 0], [0, 1, 0]]


def test_accuracy_recall_and_their_mean_over_the_classes_that_are_there():
    confusion = torch.tensor([[8, 2, 0], [3, 3, 0], [0, 0, 0]])
    assert accuracy(confusion) == pytest.approx(11 / 16)
    assert recalls(confusion)[:2].tolist() == pytest.approx([0.8, 0.5])
    assert math.isnan(float(recalls(confusion)[2]))
    assert balanced_accuracy(confusion) == pytest.approx(0.65)


def test_always_naming_the_frequent_class_is_no_better_than_chance():
    assert accuracy(torch.tensor([[95, 0], [5, 0]])) == pytest.approx(0.95)
    assert not beats_chance(torch.tensor([[95, 0], [5, 0]]))


@pytest.mark.parametrize(
    ("confusion", "beats"),
    [([[10, 0], [0, 10]], True), ([[6, 4], [4, 6]], False), ([[600, 400], [400, 600]], True), ([[1, 0], [0, 1]], True)],
)
def test_what_beats_chance_depends_on_how_many_images_there_are(confusion, beats):
    assert beats_chance(torch.tensor(confusion)) is beats


def test_sorting_numbers_as_words_is_undone_by_the_order_of_the_outputs():
    names = sorted(str(number) for number in range(12))  # 0, 1, 10, 11, 2, …
    confusion = torch.zeros(12, 12, dtype=torch.int64)
    for row, name in enumerate(names):
        confusion[row, int(name)] = 5  # the network gives outputs in the order of the numbers
    order = better_order(confusion)
    assert order is not None
    assert [names[k] for k in order] == [str(number) for number in range(12)]


def test_two_exchanged_outputs_of_many_are_found():
    confusion = diagonal(10, 8)[[0, 1, 2, 4, 3, 5, 6, 7, 8, 9]]
    assert better_order(confusion) == [0, 1, 2, 4, 3, 5, 6, 7, 8, 9]


def test_a_cycle_of_three_outputs_is_named_in_the_right_direction():
    # images of class 0 give output 1, those of class 1 output 2, those of class 2 output 0
    assert better_order(torch.tensor([[0, 9, 0], [0, 0, 9], [9, 0, 0]])) == [2, 0, 1]


@pytest.mark.parametrize(
    "confusion",
    [
        diagonal(3, 9),
        torch.tensor([[45, 55], [55, 45]]),  # better the other way round, but not by far
        torch.tensor([[2, 3], [3, 2]]),
        torch.tensor([[10, 0], [8, 2]]),  # one class is mostly wrong, which no order would cure
    ],
)
def test_no_other_order_is_named_where_it_would_not_help_by_far(confusion):
    assert better_order(confusion) is None


@pytest.mark.parametrize(("classes", "each"), [(2, 3), (2, 5), (3, 4), (10, 2), (100, 1), (100, 3)])
def test_an_order_is_hardly_ever_read_into_guesses(classes, each):
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(classes).repeat(each)
    draws = torch.randint(classes, (100, len(labels)), generator=generator)
    named = sum(better_order(confusion_matrix(labels, guesses, classes)) is not None for guesses in draws)
    assert named <= 8  # of 100, at a level of 0.02 for each of a few orders


def predictions(right: list[bool]) -> torch.Tensor:
    """Predictions of two classes for labels 0, 1, 0, 1, …"""
    labels = torch.arange(len(right)) % 2
    return torch.where(torch.tensor(right), labels, 1 - labels)


@pytest.mark.parametrize(
    ("before", "after", "found"),
    [
        ([False] * 20 + [True] * 20, [True] * 40, True),
        ([False] * 4 + [True] * 36, [True] * 40, False),  # a tenth more, which may be chance
        ([False] * 38 + [True] * 362, [True] * 400, False),  # no chance, but hardly better
        ([True, False] * 20, [False, True] * 20, False),  # others, as many
        ([True] * 40, [True] * 40, False),
    ],
)
def test_other_predictions_are_named_only_where_they_are_much_better_and_not_by_chance(before, after, found):
    labels = torch.arange(len(before)) % 2
    worse = torch.zeros_like(labels)
    assert clearly_better(labels, predictions(before), [worse, predictions(after)], 2) == (1 if found else None)


def test_without_other_predictions_none_are_better():
    assert clearly_better(torch.zeros(4, dtype=torch.int64), torch.ones(4, dtype=torch.int64), [], 2) is None
