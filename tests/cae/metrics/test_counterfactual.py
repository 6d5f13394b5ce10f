"""Metrics of counterfactuals, attribution along paths and smoothness, with exact answers."""

from __future__ import annotations

import math

import pytest
import torch

from cae.counterfactuals.path_attribution import class_score, path_attribution_finite, path_attribution_gradient
from cae.metrics.counterfactual import (
    bkl,
    changed_outside,
    changed_regions,
    changed_share,
    cout,
    diversity,
    l1_distance,
    l2_distance,
    linf_distance,
    structural_similarity,
)
from cae.metrics.smoothness import backtracking, largest_jump, lipschitz, monotone_share


def pair(first):
    """Probabilities of two classes from that of the first: the target."""
    return torch.stack([first, 1 - first], dim=1)


def test_bkl_is_one_minus_exp_of_minus_kl():
    probabilities = torch.tensor([[0.25, 0.75]])
    kl = -math.log(0.25)
    assert bkl(probabilities, torch.tensor([0])) == pytest.approx(0.75)
    assert bkl(probabilities, torch.tensor([0])) == pytest.approx(1 - math.exp(-kl))


def test_distances_and_changed_pixels_of_a_known_change():
    originals = torch.zeros(2, 3, 8, 8)
    counterfactuals = originals.clone()
    counterfactuals[0, 1, 0:2, 0:2] = 0.5
    counterfactuals[0, 1, 5:7, 5:7] = 0.5
    counterfactuals[1, 0] = 0.04
    assert l1_distance(originals, counterfactuals).tolist() == pytest.approx([8 * 0.5 / 192, 64 * 0.04 / 192])
    assert l2_distance(originals, counterfactuals).tolist() == pytest.approx(
        [math.sqrt(8 * 0.25 / 192), 0.04 / math.sqrt(3)]
    )
    assert linf_distance(originals, counterfactuals).tolist() == pytest.approx([0.5, 0.04])
    assert changed_share(originals, counterfactuals).tolist() == pytest.approx([8 / 64, 0])
    assert changed_regions(originals, counterfactuals).tolist() == [2, 0]
    counterfactuals[0, 1, 2:5, 2:5] = torch.eye(3) * 0.5  # a diagonal joins them
    assert changed_regions(originals, counterfactuals).tolist() == [1, 0]


def test_pixels_are_changed_by_more_than_a_twentieth_whatever_they_were():
    originals = torch.full((1, 1, 6, 6), 0.5)
    a_little_more, a_little_less = originals.clone(), originals.clone()
    a_little_more[0, 0, 0, 0] = a_little_more[0, 0, 5, 5] = 0.56
    a_little_less[0, 0, 0, 0] = a_little_less[0, 0, 5, 5] = 0.54
    nowhere_near = torch.zeros(1, 1, 6, 6, dtype=torch.bool)
    nowhere_near[..., 0, 0] = True
    for edited, share, regions, outside in ((a_little_more, 2 / 36, 2, 1 / 36), (a_little_less, 0, 0, 0)):
        assert changed_share(originals, edited).item() == pytest.approx(share)
        assert changed_regions(originals, edited).item() == regions
        assert changed_outside(originals, edited, nowhere_near).item() == pytest.approx(outside)


def test_changes_count_as_outside_from_five_pixels_off_the_mask():
    original, mask = torch.zeros(1, 3, 20, 20), torch.zeros(1, 1, 20, 20, dtype=torch.bool)
    mask[..., 0:2, 0:2] = True  # its last row is 1
    edited = original.clone()
    edited[0, 1, 6, 0] = edited[0, 1, 7, 1] = edited[0, 2, 19, 19] = 0.5  # 5, 6 and many pixels off
    edited[0, 0, 12, 12] = 0.05
    assert changed_outside(original, edited, mask).tolist() == pytest.approx([2 / 400])


def test_ssim_is_one_for_the_same_image_and_the_closed_form_for_flat_ones():
    image = torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    assert float(structural_similarity(image, image)) == pytest.approx(1)
    dark, bright = torch.full((1, 1, 16, 16), 0.2), torch.full((1, 1, 16, 16), 0.6)
    luminance = (2 * 0.2 * 0.6 + 1e-4) / (0.2**2 + 0.6**2 + 1e-4)  # C1 = 0.01²; contrast and structure are 1
    assert float(structural_similarity(dark, bright)) == pytest.approx(luminance, abs=1e-6)
    assert structural_similarity(image[..., :8, :8], image[..., :8, :8]) is None
    assert structural_similarity(image[..., :10, :], image[..., :10, :]) is None  # one side alone


def test_diversity_is_the_mean_over_pairs():
    images = torch.stack([torch.full((1, 4, 4), value) for value in (0.0, 0.3, 0.9)])
    assert diversity(images) == pytest.approx((0.3 + 0.9 + 0.6) / 3)
    assert diversity(images[:1].expand(3, -1, -1, -1)) == 0


def test_cout_of_a_single_decisive_pixel():
    original, counterfactual = torch.zeros(1, 10, 10), torch.full((1, 10, 10), 0.5)
    counterfactual[0, 3, 7] = 0.9
    result = cout(lambda images: pair((images[:, 0, 3, 7] > 0.8).float()), original, counterfactual, 1, 0)
    assert result.value == pytest.approx(0.98)
    assert len(result.target) == 51


def test_cout_of_a_probability_that_grows_evenly_is_zero():
    original, counterfactual = torch.zeros(3, 8, 8), torch.ones(3, 8, 8)
    result = cout(lambda images: pair(images.mean((1, 2, 3))), original, counterfactual, 1, 0, batch_size=7)
    assert result.value == pytest.approx(0, abs=1e-6)


def test_cout_without_a_change_is_the_difference_of_the_probabilities():
    image = torch.rand(1, 8, 8, generator=torch.Generator().manual_seed(0))
    result = cout(lambda images: pair(torch.full((len(images),), 0.2)), image, image, 1, 0)
    assert result.value == pytest.approx(0.2 - 0.8)


def test_cout_is_the_same_at_any_batch_size_and_seeded_among_ties():
    original, counterfactual = torch.zeros(1, 9, 9), torch.ones(1, 9, 9)
    weights = torch.rand(9, 9, generator=torch.Generator().manual_seed(1))
    answer = lambda images: pair((images[:, 0] * weights).sum((1, 2)) / weights.sum())  # noqa: E731
    values = {size: cout(answer, original, counterfactual, 1, 0, batch_size=size, seed=4).value for size in (1, 5, 64)}
    assert values[1] == pytest.approx(values[5], abs=1e-6)
    assert values[1] == pytest.approx(values[64], abs=1e-6)
    assert cout(answer, original, counterfactual, 1, 0, seed=5).value != values[64]


def polyline(points: int = 9) -> torch.Tensor:
    return torch.rand(points, 2, 5, 5, generator=torch.Generator().manual_seed(7), dtype=torch.float64)


def test_gradient_attribution_is_complete_for_any_quadratic_score():
    size = 50
    generator = torch.Generator().manual_seed(0)
    matrix = torch.randn(size, size, generator=generator, dtype=torch.float64)
    vector = torch.randn(size, generator=generator, dtype=torch.float64)

    def score(images):
        flat = images.flatten(1)
        return torch.einsum("bi,ij,bj->b", flat, matrix, flat) + flat @ vector + 3

    for batch_size in (1, 3, 64):
        result = path_attribution_gradient(score, polyline(), batch_size)
        assert abs(result.completeness_error) <= 1e-6 * abs(result.end - result.start)
    assert result.attribution.shape == (2, 5, 5)


def test_finite_attribution_is_complete_for_any_score():
    def jumpy(images):
        return (images.flatten(1).sum(1) * 1e3).sin().round() + (images.mean((1, 2, 3)) > 0.5).double()

    path = polyline()
    path = torch.cat([path, path[-1:]])  # a step that changes no pixel
    result = path_attribution_finite(jumpy, path, batch_size=4)
    assert abs(result.completeness_error) < 1e-12
    still = path_attribution_finite(jumpy, path[-2:])
    assert torch.equal(still.attribution, torch.zeros(2, 5, 5, dtype=torch.float64))


def test_finite_attribution_falls_on_the_pixels_that_changed():
    path = torch.zeros(3, 1, 2, 2)
    path[1:, 0, 0, 0] = 0.5
    path[2, 0, 1, 1] = 1.0
    result = path_attribution_finite(lambda images: images.sum((1, 2, 3)), path)
    assert result.attribution[0].tolist() == [[0.5, 0.0], [0.0, 1.0]]


def test_scores_are_the_probability_or_the_logit_margin():
    class Network:
        def logits(self, images):
            return torch.tensor([[1.0, 3.0, 2.0]]).expand(len(images), -1)

        def probabilities(self, images):
            return self.logits(images).softmax(1)

    image = torch.zeros(1, 1, 2, 2)
    assert class_score(Network(), 1, "margin")(image).item() == 1.0
    assert class_score(Network(), 0, "margin")(image).item() == -2.0
    assert class_score(Network(), 1)(image).item() == pytest.approx(float(torch.tensor([1.0, 3.0, 2.0]).softmax(0)[1]))
    with pytest.raises(ValueError, match="probability, margin"):
        class_score(Network(), 1, "logit")


def test_smoothness_of_known_paths():
    straight, zigzag = torch.linspace(0, 1, 21), torch.tensor([0.0, 0.6, 0.2, 0.9])
    assert monotone_share(straight) == 1
    assert backtracking(straight) == pytest.approx(0, abs=1e-6)
    assert largest_jump(straight) == pytest.approx(0.05)
    assert monotone_share(zigzag) == pytest.approx(2 / 3)
    assert backtracking(zigzag) == pytest.approx(0.8)
    assert largest_jump(torch.stack([zigzag, zigzag / 2])).tolist() == pytest.approx([0.7, 0.35])
    assert monotone_share(torch.tensor([0.5, 0.4995, 0.499])) == 1  # falls of less than the tolerance
    assert monotone_share(torch.tensor([0.5, 0.4988, 0.5])) == 0.5  # a little more


def test_lipschitz_estimate_is_the_steepest_step():
    codes = torch.tensor([[0.0], [1.0], [1.0], [1.5]])
    images = torch.zeros(4, 1, 2, 2)
    images[1:, 0, 0, 0] = 0.3
    images[2:, 0, 0, 1] = 0.9  # the code stands still here
    images[3, 0, 1, 1] = 0.4
    assert lipschitz(images, codes) == pytest.approx(0.8)
    assert lipschitz(images[1:3], codes[1:3]) == 0
