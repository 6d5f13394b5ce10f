"""Scores of explanations that are pictures."""

import math

import pytest
import torch
from tiny_classifiers import random_images

from cae.errors import UserError
from explainers.metrics.conciseness import (
    DETECTORS,
    conciseness_preciseness,
    edges,
    expected_precision,
    gradient_edges,
    hallucinated_edges,
    hallucination_score,
    shearlet_edges,
    wavelet_yardstick,
)
from explainers.shearletx.objective import weighted_magnitude
from explainers.transforms.shearlet import shearlet_system


def half(height, size=48):
    """A vertical step of some height in the middle."""
    picture = torch.full((size, size), 0.3)
    picture[:, size // 2 :] += height
    return picture


@pytest.mark.parametrize("detector", list(DETECTORS))
def test_step_of_five_hundredths_is_an_edge_and_of_two_is_none(detector):
    assert edges(half(0.05)[None], detector)[8:-8].any(1).all()
    assert not edges(half(0.02)[None], detector).any()


def test_straight_edge_is_one_pixel_wide_and_lies_on_the_step():
    found = gradient_edges(half(0.5))
    assert (found.sum(1) == 1).all()
    assert found[:, 23:25].sum() == 48


@pytest.mark.parametrize("detector", list(DETECTORS))
def test_edges_are_found_in_every_direction_and_not_at_the_border(detector):
    y, x = torch.meshgrid(torch.arange(64.0), torch.arange(64.0), indexing="ij")
    for angle in (0.0, 0.5, 1.1, 2.0, 2.8):
        side = (x - 32) * math.cos(angle) + (y - 32) * math.sin(angle)
        found = edges((0.5 + 0.1 * (side / 2).tanh())[None], detector)
        assert found[24:40, 24:40].any()
        assert not (found & (side.abs() > 8))[16:48, 16:48].any()


def test_drawn_square_is_counted_by_hand():
    image = half(0.4)
    explanation = image.clone()
    explanation[8:16, 4:12] = 1.0
    of_image, of_explanation = gradient_edges(image), gradient_edges(explanation)
    near = torch.zeros_like(of_image)
    for row, column in of_image.nonzero().tolist():
        near[max(row - 1, 0) : row + 2, max(column - 1, 0) : column + 2] = True
    invented = int((of_explanation & ~near).sum())
    assert invented >= 24  # the outline of a square of 8 pixels, give or take its corners
    assert hallucination_score(of_explanation, of_image) == invented / int(of_image.sum())
    assert not hallucinated_edges(of_explanation, of_image)[:, 20:].any()


def test_darker_copy_invents_nothing():
    image = random_images(1, size=64)[0, 0]
    for factor in (0.2, 0.9):
        assert hallucination_score(gradient_edges(factor * image), gradient_edges(image)) == 0


def test_image_without_edges_has_no_score():
    flat = torch.full((32, 32), 0.5)
    assert hallucination_score(gradient_edges(half(0.5, 32)), gradient_edges(flat)) is None


def test_phase_detector_finds_edges_and_no_lines():
    line = torch.full((48, 48), 0.3)
    line[:, 24] = 0.8
    assert not shearlet_edges(line)[8:-8].any()
    assert shearlet_edges(half(0.5))[8:-8, 23:25].any(1).all()


def test_unknown_detector_names_the_nearest():
    with pytest.raises(UserError, match="did you mean 'canny'"):
        edges(torch.zeros(1, 16, 16), "cany")


def test_everything_kept_scores_one():
    image = random_images(1, 3)[0]
    assert conciseness_preciseness(1.0, 1.0) == 1
    assert wavelet_yardstick(image, image) == (1, 1)
    assert expected_precision(torch.tensor([0.2, 0.4]), 0.6) == pytest.approx(0.5)


def test_retention_above_one_counts_only_where_it_is_not_capped():
    assert conciseness_preciseness(3.0, 0.5) == 6
    assert conciseness_preciseness(3.0, 0.5, capped=True) == 2


def test_magnitudes_are_comparable_over_sampling_densities():
    image = random_images(1, size=64, seed=3)[0, 0]
    sums = []
    for decimate in (True, False):
        system = shearlet_system(64, 64, decimate=decimate)
        sums.append(float(weighted_magnitude(system.analyse(image), system.bands, (64, 64)).sum()))
    assert sums[0] == pytest.approx(sums[1], rel=0.05)
