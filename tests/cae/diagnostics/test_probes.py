"""Probes stay at chance on codes without the class, and find it where it is."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from cae.diagnostics.probes import balanced_accuracy, channel_statistics, conv_probe, knn_probe, logistic_probe, pooled


def independent_and_containing(count: int, classes: int, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    predictions = torch.arange(count) % classes
    independent = torch.randn(count, 4, 6, 6, generator=generator)
    containing = independent.clone()
    containing[:, 0] += 4.0 * predictions[:, None, None]
    return predictions, independent, containing


@pytest.mark.parametrize("classes", [2, 3])
def test_probes_stay_at_chance_on_independent_codes_and_reach_one_on_codes_with_the_class(classes: int):
    known, train_free, train_full = independent_and_containing(360, classes, 0)
    truth, test_free, test_full = independent_and_containing(360, classes, 1)
    three_errors = 3 * math.sqrt((1 / classes) * (1 - 1 / classes) / 360)
    assert abs(conv_probe(train_free, known, test_free, truth, epochs=6) - 1 / classes) <= three_errors
    free = logistic_probe(channel_statistics(train_free), known, channel_statistics(test_free), truth)
    assert abs(free - 1 / classes) <= three_errors
    assert conv_probe(train_full, known, test_full, truth, epochs=12) == 1
    assert logistic_probe(channel_statistics(train_full), known, channel_statistics(test_full), truth) == 1


def test_the_convolutional_probe_finds_a_pattern_that_channel_statistics_miss():
    def codes(seed: int) -> tuple[Tensor, Tensor]:
        generator = torch.Generator().manual_seed(seed)
        predictions = torch.arange(300) % 2
        noise = torch.randn(300, 1, 8, 8, generator=generator)
        ordered = noise.sort(dim=3).values  # the same values, arranged
        return predictions, torch.where(predictions[:, None, None, None] == 1, ordered, noise)

    (known, train), (truth, test) = codes(0), codes(1)
    assert conv_probe(train, known, test, truth, epochs=10) > 0.9
    assert logistic_probe(channel_statistics(train), known, channel_statistics(test), truth) < 0.6


def test_probes_are_seeded_and_leave_the_random_state_alone():
    known, train, _ = independent_and_containing(90, 3, 0)
    before = torch.random.get_rng_state()
    first = conv_probe(train, known, train, known, seed=3, epochs=2)
    assert torch.equal(before, torch.random.get_rng_state())
    with torch.no_grad():
        assert conv_probe(train, known, train, known, seed=3, epochs=2) == first


def test_class_probes_read_separate_clusters_and_a_single_training_class_is_no_error():
    known = torch.arange(60) % 3
    codes = F.one_hot(known, 3).float() + 0.05 * torch.randn(60, 3, generator=torch.Generator().manual_seed(0))
    assert knn_probe(codes, known, codes, known) == 1
    assert logistic_probe(codes, known, codes, known) == 1
    assert knn_probe(codes[known == 0], known[known == 0], codes, known) == pytest.approx(1 / 3)


def test_balanced_accuracy_weighs_classes_equally():
    assert balanced_accuracy(torch.tensor([0, 0, 0, 0, 0]), torch.tensor([0, 0, 0, 0, 1])) == 0.5


def test_large_individual_codes_are_pooled_and_small_ones_kept():
    assert pooled(torch.zeros(2, 3, 64, 40)).shape == (2, 3, 16, 16)
    assert pooled(torch.zeros(2, 3, 64, 8)).shape == (2, 3, 16, 8)
    small = torch.rand(2, 3, 8, 8)
    assert pooled(small) is small
