"""Occlusion, RISE and LIME: exact on classifiers whose answers are known."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tiny_classifiers import linear_classifier, names, random_images, small_network

from cae.classifiers import TargetClassifier
from cae.errors import UserError
from explainers.baselines.lime import Lime, presence_kernel, segment_means
from explainers.baselines.occlusion import Occlusion
from explainers.baselines.rise import Rise, rise_masks
from explainers.infills.windows import grid, mean_map
from explainers.metrics.superpixels import superpixels


def mean_of(rows: slice, columns: slice, size: int = 28, channels: int = 1) -> TargetClassifier:
    """The probability of class 1 is the mean grey value of a region."""

    def scores(images: np.ndarray) -> np.ndarray:
        share = images[:, :, rows, columns].mean((1, 2, 3))
        return np.stack([1 - share, share], 1)

    return TargetClassifier(scores, names(2), image_shape=(channels, size, size), scores="probabilities")


@pytest.mark.parametrize("channels", [1, 3])
def test_occlusion_is_the_mean_loss_over_the_windows_on_a_pixel(channels):
    classifier, images = small_network(channels), random_images(1, channels)
    windows = grid((32, 32), 8, 4)
    occluded = images.repeat(len(windows), 1, 1, 1)
    for copy, (top, left, bottom, right) in zip(occluded, windows.boxes.tolist(), strict=True):
        copy[:, top:bottom, left:right] = 0.5
    with torch.no_grad():
        losses = classifier.probabilities(images)[:, 1] - classifier.probabilities(occluded)[:, 1]
    found = Occlusion(classifier, window=8)(images, target=1)
    assert torch.allclose(found.attribution[0, 0].double(), mean_map(losses, windows), atol=1e-6)
    # the image twice: by the caller, and by captum
    assert found.evaluations.tolist() == [len(windows) + 2]


@pytest.mark.parametrize(("side", "windows"), [(28, 169), (32, 225), (64, 225)])
def test_occlusion_windows_fit_the_image_by_themselves(side, windows):
    classifier = mean_of(slice(0, 4), slice(0, 4), side)
    assert Occlusion(classifier)(random_images(1, size=side)).evaluations.tolist() == [windows + 2]


def test_occlusion_leaves_no_pixel_uncovered_where_the_stride_does_not_fit():
    weight = torch.tensor([0.01, 0.0])[:, None, None, None].expand(2, 1, 11, 13)
    found = Occlusion(linear_classifier(weight), window=4, stride=3)(torch.ones(1, 1, 11, 13), target=0)
    assert found.attribution.min() > 0


def test_what_the_classifier_ignores_is_zero_to_occlusion():
    found = Occlusion(mean_of(slice(0, 8), slice(0, 8)), window=4, stride=4)(random_images(1, size=28)).attribution
    assert float(found[..., 8:, :].abs().max()) == 0
    assert float(found[..., :8, :8].abs().max()) > 0


def test_rise_masks_are_the_published_ones():
    grids = (torch.rand(50, 1, 7, 7, generator=torch.Generator().manual_seed(0)) < 0.5).float()
    shifts = torch.rand(50, 2, generator=torch.Generator().manual_seed(1))
    masks = rise_masks(grids, shifts, (28, 42))
    assert masks.shape == (50, 1, 28, 42)
    assert masks.min() >= 0
    assert masks.max() <= 1 + 1e-6  # interpolation rounds
    whole = torch.nn.functional.interpolate(grids[:1], size=(32, 48), mode="bilinear", align_corners=False)
    top, left = int(shifts[0, 0] * 4), int(shifts[0, 1] * 6)
    assert torch.equal(masks[0], whole[0, :, top : top + 28, left : left + 42])


def test_rise_is_the_weighted_mean_of_its_masks():
    classifier, image = small_network(), random_images(1)
    explainer = Rise(classifier, masks=30, keep=0.4)
    (subject,) = explainer._subjects(image, 1, seed=3)
    masks = torch.cat(list(explainer._masks(subject, 32, 32)))
    with torch.no_grad():
        scores = classifier.probabilities(0.5 + (image - 0.5) * masks)[:, 1]
    wanted = (scores[:, None, None, None] * masks).sum(0, keepdim=True) / (30 * 0.4)
    found = explainer(image, target=1, seed=3)
    assert torch.allclose(found.attribution, wanted, atol=1e-6)
    assert found.evaluations.tolist() == [31]


def test_rise_of_a_linear_probability_finds_the_region():
    # f = mean of 12 x 12 white pixels among grey: E[f m] differs between inside and outside by Var(m) / 2 > 0
    classifier, image = mean_of(slice(8, 20), slice(8, 20)), torch.full((1, 1, 28, 28), 1.0)
    found = Rise(classifier, masks=600)(image, target=1).attribution[0, 0]
    assert found[10:18, 10:18].mean() > found[:4].mean() + 0.02
    assert found[10:18, 10:18].mean() > found[:, 24:].mean() + 0.02


def test_superpixels_are_numbered_without_gaps_and_their_means_are_exact():
    for channels in (1, 3):
        image = random_images(1, channels)[0]
        segments = superpixels(image, 12, smoothing=1)[None]
        assert segments.shape == (1, 32, 32)
        assert segments.unique().tolist() == list(range(int(segments.max()) + 1))
        assert 6 <= int(segments.max()) + 1 <= 24
        means = segment_means(image, segments)
        for k in segments.unique().tolist():
            inside = (segments == k).expand_as(image)
            region = image[inside].reshape(channels, -1)
            assert torch.allclose(means[inside].reshape(channels, -1), region.mean(1, keepdim=True).expand_as(region))


def test_the_kernel_falls_from_one_with_what_is_absent():
    kernel = presence_kernel(0.25)
    assert float(kernel(None, None, torch.ones(1, 8))) == 1
    quarter = torch.tensor([[1, 1, 0, 0, 0, 0, 0, 0]])
    assert float(kernel(None, None, quarter)) == pytest.approx(np.exp(-4), rel=1e-6)  # d = 1 - sqrt(1/4)


def test_lime_of_a_probability_additive_in_the_superpixels_is_exact():
    # replacing a superpixel by its mean changes an additive probability by a fixed amount
    weight = torch.linspace(0, 1e-4, 32 * 32).reshape(1, 1, 32, 32)

    def scores(images):
        share = 0.2 + (torch.from_numpy(images) * weight).sum((1, 2, 3)).numpy()
        return np.stack([1 - share, share], 1)

    classifier = TargetClassifier(scores, names(2), image_shape=(1, 32, 32), scores="probabilities")
    image = random_images(1)
    found = Lime(classifier, samples=200, segments=9, ridge=0)(image, target=1)
    segments = found.extras[0]["segments"]
    lost = (weight[0] * (image[0] - segment_means(image[0], segments))).reshape(-1).double()
    sums = torch.zeros(int(segments.max()) + 1, dtype=torch.float64).index_add_(0, segments.reshape(-1), lost)
    assert torch.allclose(found.attribution[0].double(), sums[segments], atol=1e-5)
    assert found.evaluations.tolist() == [201]


def test_lime_and_rise_follow_the_seed_and_leave_the_randomness_of_the_program_alone():
    classifier, image = small_network(), random_images(1)
    for explainer in (Lime(classifier, samples=20, segments=9), Rise(classifier, masks=20)):
        before, numbers = torch.get_rng_state(), np.random.get_state()[1].copy()
        first = explainer(image, seed=1).attribution
        assert torch.equal(torch.get_rng_state(), before)
        assert np.array_equal(np.random.get_state()[1], numbers)
        torch.manual_seed(99)
        assert torch.equal(explainer(image, seed=1).attribution, first)
        assert not torch.allclose(explainer(image, seed=2).attribution, first, atol=1e-6)


def test_options_of_black_box_baselines_out_of_range_are_told_in_words():
    classifier = small_network()
    with pytest.raises(UserError, match=r"`window` must be in \[1, 32\]"):
        Occlusion(classifier, window=33)(random_images(1))
    with pytest.raises(UserError, match=r"`stride` must be in \[1, 8\]"):
        Occlusion(classifier, window=8, stride=9)(random_images(1))
    with pytest.raises(UserError, match="(?s)`masks` must be at least 1.*`keep` must be in"):
        Rise(classifier, masks=0, keep=1)
    with pytest.raises(UserError, match="(?s)`samples` must be at least 2.*`kernel_width` must be above 0"):
        Lime(classifier, samples=1, kernel_width=0)
