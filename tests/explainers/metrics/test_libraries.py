"""Our metrics beside those of captum and Quantus, where both measure the same: one channel, no ties."""

import warnings

import numpy as np
import pytest
import torch
from tiny_classifiers import random_images, small_network

from cae.metrics.statistics import places_from_the_top
from explainers.metrics.complexity import gini
from explainers.metrics.correlation import infidelity, random_patches
from explainers.metrics.localisation import energy_pointing, localisation
from explainers.metrics.perturbation import cells, pixels, replaced
from explainers.metrics.seeds import generator

SIZE = 28


@pytest.fixture(scope="module")
def quantus():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pytest.importorskip("quantus", exc_type=ImportError)


def scene():
    """Classifier, image, map, mask, target."""
    attribution = torch.rand(SIZE, SIZE, generator=generator("map")) - 0.3
    mask = torch.zeros(SIZE, SIZE, dtype=torch.bool)
    mask[4:15, 8:20] = True
    return small_network(size=SIZE), random_images(1, size=SIZE)[0], attribution, mask, 1


def measured(metric, classifier, image, attribution, target, mask=None):
    """What a metric of Quantus gives for one image."""
    arguments = {} if mask is None else {"s_batch": mask[None, None].numpy()}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = metric(model=classifier, x_batch=image[None].numpy(), y_batch=np.array([target]),
                       a_batch=attribution[None, None].numpy(), device="cpu", softmax=True, **arguments)  # fmt: skip
    return np.asarray(found[0]).squeeze()


def ours(classifier, image, units, attribution, counts, target):
    """Probabilities of the target with the first units blacked out."""
    rank = places_from_the_top(units.means(attribution), generator(0))
    images = torch.stack(list(replaced(image, torch.zeros_like(image), units, rank, counts)))
    with torch.no_grad():
        return classifier.probabilities(images)[:, target].numpy()


PLAIN = {"abs": False, "normalise": False, "disable_warnings": True}


def test_curve_of_flipped_pixels(quantus):
    classifier, image, attribution, _, target = scene()
    metric = quantus.PixelFlipping(features_in_step=49, perturb_baseline=0.0, **PLAIN)
    theirs = measured(metric, classifier, image, attribution, target)
    mine = ours(classifier, image, pixels(SIZE, SIZE), attribution, range(49, 785, 49), target)
    assert mine == pytest.approx(theirs, abs=1e-5)


def test_curve_of_perturbed_regions(quantus):
    classifier, image, attribution, _, target = scene()
    metric = quantus.RegionPerturbation(patch_size=7, regions_evaluation=10, perturb_baseline=0.0, **PLAIN)
    theirs = measured(metric, classifier, image, attribution, target)
    mine = ours(classifier, image, cells(SIZE, SIZE, grid=4), attribution, range(11), target)
    assert mine[0] - mine[1:] == pytest.approx(theirs, abs=1e-5)


def test_localisation(quantus):
    classifier, image, attribution, mask, target = scene()
    found = localisation(attribution, mask)
    for metric, name in ((quantus.RelevanceRankAccuracy, "rank_accuracy"), (quantus.AUC, "auroc")):
        theirs = measured(metric(**PLAIN), classifier, image, attribution, target, mask)
        assert found[name] == pytest.approx(float(theirs), abs=1e-5)
    theirs = measured(quantus.RelevanceMassAccuracy(**PLAIN), classifier, image, attribution.abs(), target, mask)
    assert energy_pointing(attribution.abs(), mask) == pytest.approx(float(theirs), abs=1e-5)


def test_sparseness(quantus):
    classifier, image, attribution, _, target = scene()
    metric = quantus.Sparseness(abs=True, normalise=False, disable_warnings=True)
    assert gini(attribution) == pytest.approx(float(measured(metric, classifier, image, attribution, target)), abs=2e-3)


def test_infidelity_of_captum():
    metrics = pytest.importorskip("captum.metrics")
    classifier, image, attribution, _, target = scene()
    patches = random_patches(50, SIZE, SIZE, generator("patches"))

    def patched(images):
        chosen = patches[: len(images), None].float()
        return chosen, images * (1 - chosen)

    def score(images):
        return classifier.probabilities(images)[:, target]

    with torch.no_grad():
        drops = score(image[None]) - score(image * ~patches[:, None])
    sums = (patches * attribution).sum((1, 2))
    for scaled in (False, True):
        theirs = metrics.infidelity(
            score, patched, image[None], attribution[None, None], n_perturb_samples=50, normalize=scaled
        )
        assert infidelity(sums, drops, scaled) == pytest.approx(float(theirs), rel=1e-4, abs=1e-7)
