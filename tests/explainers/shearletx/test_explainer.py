"""What the mask explainers find, and how they search."""

from dataclasses import replace

import pytest
import torch
from PIL import Image
from tiny_classifiers import discerning, instance, linear_classifier, names, precise, random_images, small_network
from torch import nn

from cae.classifiers import TargetClassifier
from cae.errors import UserError
from cae.metrics.statistics import spearman
from explainers import get_explainer
from explainers.metrics.sanity import STAGES, on_classifier, randomised
from explainers.shearletx.explainer import PixelMask, ShearletX, WaveletX
from explainers.shearletx.figures import edge_picture, mask_figure
from explainers.shearletx.optimiser import MaskOptimiser
from explainers.shearletx.settings import Settings
from explainers.transforms.representation import PixelRepresentation, energy_entropy
from explainers.transforms.shearlet import shearlet_system
from explainers.transforms.wavelet import wavelet_system


class Sigmoid(nn.Module):
    """Logits ``(0, weight . image)``: the second class has the sigmoid of one number."""

    def __init__(self, weight):
        super().__init__()
        self.weight = nn.Parameter(weight)

    def forward(self, images):
        score = (images * self.weight).sum((1, 2, 3))
        return torch.stack([torch.zeros_like(score), score], 1)


@pytest.mark.parametrize("name", ["shearletx", "waveletx", "pixelmask", "smoothmask"])
@pytest.mark.parametrize("channels", [1, 3])
def test_mask_of_ones_returns_the_image_through_the_whole_path(name, channels):
    classifier, images = small_network(channels), random_images(1, channels)
    found = get_explainer(name, classifier, steps=1, samples=2)(images)
    extras = found.extras[0]
    assert (extras["explanation"] - images[0]).abs().max() <= 2e-6
    assert extras["probability_displayed"] == pytest.approx(float(found.probabilities.max()), abs=1e-5)
    assert extras["hallucination"] == 0
    for key in ("kept_l1", "kept_l1_plain", "kept_pixels", "kept_entropy", "size"):
        assert extras[key] == pytest.approx(1, abs=1e-4)


def test_detail_and_low_pass_make_the_explanation():
    classifier, images = small_network(3), random_images(1, 3)
    extras = ShearletX(classifier, steps=1, samples=2)(images).extras[0]
    system = shearlet_system(32, 32)
    low = system.synthesise_low(system.analyse(images[0])[..., system.bands[0].place])
    assert torch.allclose(extras["detail"] + low, extras["explanation"], atol=1e-5)
    assert extras["detail"].mean((1, 2)).abs().max() <= 1e-6
    assert extras["detail"].abs().max() > 0.01


def test_displayed_picture_is_one_that_was_scored(monkeypatch):
    classifier, images = small_network(), random_images(1)
    seen = []
    preprocess = classifier.preprocess.forward
    monkeypatch.setattr(
        classifier.preprocess, "forward", lambda batch: seen.extend(batch.detach().clone()) or preprocess(batch)
    )
    found = ShearletX(classifier, steps=8, samples=2)(images)
    explanation = found.extras[0]["explanation"]
    assert any(torch.equal(picture, explanation) for picture in seen)
    fresh = classifier.probabilities(explanation[None])[0, int(found.target)]
    assert found.extras[0]["probability_displayed"] == pytest.approx(float(fresh), abs=1e-6)


def test_evidence_in_one_pixel_is_kept_by_just_as_much_as_is_needed():
    image = torch.full((1, 8, 8), 0.5)
    weight = torch.zeros(1, 8, 8)
    weight[0, 3, 5] = 6.0  # times 0.5: a logit of 3
    classifier = TargetClassifier(Sigmoid(weight), names(2), image_shape=(1, 8, 8))
    settings = Settings(
        compositions=("displayed",), keep=0.9, spatial_weight=0.0, steps=200, patience=0, transform="pixel"
    )
    outcome = next(MaskOptimiser(classifier, PixelRepresentation(8, 8), settings, 4)([instance(classifier, image, 1)]))
    mask = outcome.mask.view(8, 8)
    needed = torch.logit(0.9 * torch.tensor(3.0).sigmoid()) / 3
    assert float(mask[3, 5]) == pytest.approx(float(needed), abs=2e-2)
    mask[3, 5] = 0
    assert float(mask.max()) <= 1e-6
    assert outcome.feasible
    assert not outcome.repaired


def test_evidence_in_one_wavelet_is_kept_by_just_as_much_as_is_needed():
    system = wavelet_system(32, 32)
    place = system.bands[-3].place.start + 100
    atom = torch.zeros(system.bands[-1].place.stop)
    atom[place] = 1
    atom = system.synthesise(atom)
    image = (0.5 + 0.4 * atom)[None]
    classifier = TargetClassifier(Sigmoid(7.5 * atom[None]), names(2), image_shape=(1, 32, 32))
    settings = Settings(
        compositions=("mean",), keep_noise=0.9, size="bands", size_weight=300.0, spatial_weight=0.0, steps=150,
        patience=0, best=False, transform="wavelet",
    )  # fmt: skip
    mask = next(MaskOptimiser(classifier, system, settings, 4)([instance(classifier, image, 1)])).mask[0]
    needed = torch.logit(0.9 * torch.tensor(3.0).sigmoid()) / 3
    assert float(mask[place]) == pytest.approx(float(needed), abs=2e-2)
    mask[place] = 0
    assert float(mask.max()) <= 1e-6


def test_constant_classifier_needs_nothing():
    classifier = linear_classifier(torch.zeros(3, 1, 32, 32))
    extras = ShearletX(classifier, size="coefficients", steps=25, samples=2)(random_images(1)).extras[0]
    assert extras["size"] == 0
    assert extras["explanation"].abs().max() == 0
    assert extras["feasible"]
    # the entropy holds on to a few coefficients until the magnitude takes them too
    assert ShearletX(classifier, steps=60, samples=2)(random_images(1)).extras[0]["kept_l1"] < 0.01


def test_what_is_returned_keeps_enough_or_says_that_it_was_mended():
    classifier, images = small_network(3, seed=4), random_images(4, 3, seed=2)
    # a hasty search that overshoots
    overshooting = {"form": "weighted", "size_weight": 50.0, "compositions": ["noise"], "jitter": 0, "zoom": 0.0}
    found = ShearletX(classifier, steps=2, samples=2, **overshooting)(images)
    for extras, probabilities in zip(found.extras, found.probabilities, strict=True):
        assert extras["feasible"]
        assert extras["probability_displayed"] >= 0.9 * float(probabilities.max()) - 1e-6
    sparse = ShearletX(linear_classifier(20 * torch.rand(2, 1, 32, 32)), steps=3, samples=2, form="weighted",
                       learning_rate=1.0, size_weight=1e4)(random_images(1))  # fmt: skip
    assert sparse.extras[0]["feasible"]


def test_equal_seeds_give_equal_bits_and_others_do_not():
    classifier, images = small_network(), random_images(1)
    one, again, other = (
        ShearletX(classifier, steps=4, samples=2, save_mask=True)(images, seed=seed) for seed in (3, 3, 4)
    )
    assert torch.equal(one.extras[0]["mask"], again.extras[0]["mask"])
    assert torch.equal(one.attribution, again.attribution)
    assert one.extras[0]["probability_noise"] != other.extras[0]["probability_noise"]


def test_images_in_company_fare_as_they_do_alone_at_any_batch_size():
    classifier = precise()
    with torch.no_grad():  # untrained, it answers all pictures nearly alike: the mask would vanish in any image at once
        classifier.network.get_submodule("head").weight.mul_(300)
    images = random_images(5).double()
    system = shearlet_system(32, 32, dtype=torch.float64)
    # a short patience, so that images stop at different steps
    settings = Settings(steps=60, samples=2, patience=3)
    instances = [instance(classifier, image, seed=place) for place, image in enumerate(images)]
    together = list(MaskOptimiser(classifier, system, settings, 16)(instances))
    assert len({len(outcome.history["size"]) for outcome in together}) > 1  # or nothing of the kind was tried
    for place in (0, 4):
        for batch_size in (2, 5):
            (alone,) = MaskOptimiser(classifier, system, settings, batch_size)([instances[place]])
            assert (alone.mask - together[place].mask).abs().max() <= 1e-9
            assert alone.probability == pytest.approx(together[place].probability, abs=1e-9)
            assert alone.evaluations == together[place].evaluations


def test_single_precision_tells_a_batch_from_single_images_by_rounding_alone():
    classifier, images = discerning(3, seed=4), random_images(3, 3, seed=5)
    explainer = ShearletX(classifier, steps=20, samples=2, patience=0, save_mask=True)
    together = explainer(images, seed=1)
    for place, image in enumerate(images):
        alone, company = explainer(image[None], seed=1).extras[0], together.extras[place]
        assert alone["probability_displayed"] == pytest.approx(company["probability_displayed"], abs=1e-4)
        # Adam turns rounding into steps where a gradient is about 0
        assert (alone["mask"] - company["mask"]).abs().mean() <= 1e-3
        other = explainer(image[None], seed=2).extras[0]
        assert (other["mask"] - company["mask"]).abs().mean() > 1e-3  # another noise is no rounding


def test_another_classifier_has_another_map():
    weight = torch.zeros(2, 1, 64, 64)
    weight[1, 0, 8:24, 36:56] = torch.randn(16, 20, generator=torch.Generator().manual_seed(0))
    images = torch.rand(1, 1, 64, 64, generator=torch.Generator().manual_seed(1))
    explainer = ShearletX(linear_classifier(weight), steps=40, samples=2)
    before = explainer(images, target=1).attribution[0, 0]
    redrawn = on_classifier(explainer, randomised(explainer.classifier, stage=STAGES))
    assert spearman(before.flatten(), redrawn(images, target=1).attribution.flatten()) < 0.5
    assert spearman(before.flatten(), explainer(images, target=1, seed=1).attribution.flatten()) > 0.5


def test_transforms_hold_no_more_images_at_once_when_more_are_explained(monkeypatch):
    classifier = small_network()
    system = shearlet_system(32, 32)
    largest = []
    plain = type(system).synthesise
    monkeypatch.setattr(type(system), "synthesise", lambda self, c: largest.append(c.numel()) or plain(self, c))
    optimiser = MaskOptimiser(classifier, system, Settings(steps=2, samples=2), 6)
    peaks = []
    for count in (2, 6):
        largest.clear()
        list(optimiser([instance(classifier, image) for image in random_images(count)]))
        peaks.append(max(largest))
    assert peaks[0] == peaks[1]


@pytest.mark.parametrize("transform", ["shearlet", "wavelet", "dual_tree", "shearlet_full"])
def test_other_sizes_and_grey_images_keep_the_mask_in_range(transform):
    classifier = TargetClassifier(small_network(1).network, names(3), image_shape=(1, 33, 50), input_size=32)
    images = random_images(1, size=52)[:, :, :33, :50]
    extras = ShearletX(classifier, transform=transform, steps=3, samples=2, save_mask=True)(images).extras[0]
    assert extras["mask"].min() >= 0
    assert extras["mask"].max() <= 1
    assert extras["explanation"].shape == (1, 33, 50)
    assert len(extras["mask_by_scale"]) == len({*range(len(extras["mask_by_scale"]))})


def test_published_preset_has_the_published_settings():
    settings = ShearletX(small_network(), preset="published").settings
    assert settings == replace(
        settings, form="weighted", samples=16, noise="published", clamp_coefficients=True, size="entries",
        size_weight=1.0, spatial_weight=2.0, steps=300, learning_rate=0.1, last_rate=0.1, patience=0, best=False,
        reward="maximise", compositions=("noise",), transform="shearlet_full",
    )  # fmt: skip
    reference = get_explainer("waveletx_published", small_network())
    assert reference.parameters["size_weight"] == 2
    assert reference.parameters["spatial_weight"] == 10
    assert get_explainer("cartoonx_published", small_network()).parameters["spatial_weight"] == 0


def test_start_from_gradient_ranks_is_uniform():
    classifier = small_network()
    settings = Settings(init="gradient_rank")
    optimiser = MaskOptimiser(classifier, shearlet_system(32, 32), settings, 4)
    start = optimiser.begin(instance(classifier, random_images(1)[0])).parameter.flatten().sort().values
    assert (start - torch.linspace(0, 1, len(start))).abs().max() <= 1e-2


@pytest.mark.parametrize("name", ["smoothmask", "smoothmask_published"])
def test_smooth_mask_is_scored_once_not_twice(name):
    """The published code multiplies what it shows by the mask again before it scores it."""
    images, weight = random_images(1, 3), torch.zeros(2, 3, 32, 32)
    weight[0, :, 8:20, 8:20] = 0.05
    classifier = linear_classifier(weight, torch.tensor([-2.0, 0.0]))  # black is of the other class
    options = {"samples": 2} if name == "smoothmask" else {"area": 0.3}
    extras = get_explainer(name, classifier, steps=30, save_mask=True, **options)(images).extras[0]
    mask = extras["mask"].view(1, 32, 32)
    once, twice = mask * images[0], mask.square() * images[0]
    assert torch.allclose(extras["explanation"], once, atol=1e-6)
    assert extras["kept_l1"] == pytest.approx(float(once.sum() / images.sum()), rel=1e-5)
    assert extras["kept_pixels"] == pytest.approx(float(once.sum() / images.sum()), rel=1e-5)
    entropies = [float(energy_entropy(picture.flatten(1))) for picture in (once, images[0])]
    assert extras["kept_entropy"] == pytest.approx(entropies[0] / entropies[1], rel=1e-5)
    assert float(twice.sum() / once.sum()) < 0.99  # the two differ


def test_budget_of_time_ends_the_search():
    hasty = ShearletX(small_network(), steps=10**6, budget_seconds=0.3, samples=2, patience=0)
    extras = hasty(random_images(1)).extras[0]
    assert 0 < extras["steps"] < 10**6
    assert extras["feasible"]


def test_map_lies_where_the_evidence_is():
    weight = torch.zeros(2, 1, 32, 32)
    weight[1, 0, 4:12, 20:28] = torch.randn(8, 8, generator=torch.Generator().manual_seed(0))
    images = torch.rand(1, 1, 32, 32, generator=torch.Generator().manual_seed(1))
    classifier = linear_classifier(weight)
    for method in (PixelMask, WaveletX):
        # nothing but the coefficients under the weights is needed
        target = int(classifier.probabilities(images).argmax())
        shown = method(classifier, steps=60, samples=2)(images, target=target).attribution[0, 0]
        assert shown[2:14, 18:30].sum() > 0.5 * shown.sum()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"preset": "publishd"}, "did you mean 'published'"),
        ({"form": "best"}, "`form` must be one of constraint, weighted, area"),
        ({"samples": 3}, "`samples` must be even"),
        ({"compositions": ["fog"]}, "`compositions` must be some of displayed"),
        ({"compositions": ["displayed", "moved"], "jitter": 0, "zoom": 0}, "`moved` needs `jitter` or `zoom`"),
        ({"compositions": ["displayed", "noise"]}, "`jitter` and `zoom` above 0 need `moved`"),
        ({"keep": 1.5}, r"`keep` must be in \(0, 1\], but is 1.5"),
        ({"steps": 0}, "`steps` must be at least 1"),
        ({"together": 0}, "`together` must be at least 1"),
        ({"transform": "fourier"}, "`transform` must be one of shearlet"),
        ({"preset": "published", "colour": True}, "`colour=true` needs"),
        ({"preset": "published", "compositions": ["displayed"]}, "`noise=published` needs `compositions=noise` alone"),
    ],
)
def test_wrong_options_are_refused_in_words(options, words):
    with pytest.raises(UserError, match=words):
        ShearletX(small_network(), **options)


@pytest.mark.parametrize("method", [ShearletX, PixelMask])
def test_figure_is_drawn_with_every_scale(method, tmp_path):
    classifier, images = small_network(3), random_images(1, 3)
    mask_figure(images[0], method(classifier, steps=3, samples=2)(images), names(3), tmp_path / "mask.png")
    with Image.open(tmp_path / "mask.png") as picture:
        assert picture.width > 4 * 160
        assert len(picture.getcolors(10**6)) > 100


def test_invented_edges_are_vermilion():
    image, explanation = torch.full((1, 32, 32), 0.3), torch.full((1, 32, 32), 0.3)
    image[:, :, 8:] = 0.8
    explanation[:, :, 24:] = 0.8
    picture = edge_picture(image, explanation)
    assert (picture[0] > 0.8).any(0).nonzero().flatten().tolist() in ([23], [24])


def test_a_search_whose_mask_has_vanished_stops():
    unmoved = precise()
    with torch.no_grad():
        unmoved.network.get_submodule("head").weight.zero_()
    settings = Settings(steps=200, samples=2, patience=3, learning_rate=0.3)
    system = shearlet_system(32, 32, dtype=torch.float64)
    (outcome,) = MaskOptimiser(unmoved, system, settings, 16)([instance(unmoved, random_images(1).double()[0])])
    assert outcome.size == pytest.approx(0, abs=1e-3)
    assert len(outcome.history["size"]) < 200
