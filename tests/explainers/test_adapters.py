"""Our explainers inside captum and Quantus."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
from tiny_classifiers import linear_classifier, random_images, small_network

from cae.errors import UserError
from explainers import get_explainer
from explainers.adapters import as_captum, as_quantus


def test_captum_gets_maps_of_the_inputs_shape_that_sum_to_ours():
    images, explainer = random_images(2, 3), get_explainer("integrated_gradients", small_network(3), steps=4)
    found = as_captum(explainer).attribute(images, target=1)
    assert found.shape == images.shape
    assert torch.allclose(found.sum(1, keepdim=True), explainer(images, target=1).attribution, atol=1e-6)


@pytest.mark.parametrize("name", ["integrated_gradients", "occlusion"])
def test_captum_noise_tunnel_averages_over_noise(name):
    captum = pytest.importorskip("captum.attr")
    images, explainer = random_images(2), get_explainer(name, small_network())
    tunnel = captum.NoiseTunnel(as_captum(explainer))
    # so little noise that the mean is the map itself
    smooth = tunnel.attribute(images, nt_samples=3, stdevs=1e-5, target=torch.tensor([0, 2]))
    assert torch.allclose(smooth, explainer.attribute(images, torch.tensor([0, 2])), rtol=0.05, atol=1e-3)


def test_captum_infidelity_of_the_exact_map_of_a_linear_classifier_is_zero():
    metrics = pytest.importorskip("captum.metrics")
    weight = torch.randn(2, 1, 6, 6, generator=torch.Generator().manual_seed(0))
    classifier, images = linear_classifier(weight), 0.2 + 0.6 * torch.rand(2, 1, 6, 6)
    explainer = get_explainer("integrated_gradients", classifier, output="logit", steps=2)

    def erase(inputs):
        mask = (torch.rand(inputs.shape) < 0.3).float()
        return mask, inputs * (1 - mask)

    def infidelity(maps):
        return metrics.infidelity(classifier.logits, erase, images, maps, target=1, n_perturb_samples=20)

    with torch.random.fork_rng():
        torch.manual_seed(0)
        # where a pixel is turned black, the output loses its attribution
        assert infidelity(explainer.attribute(images, 1)).max() < 1e-8
        assert infidelity(-explainer.attribute(images, 1)).min() > 0.1


@pytest.mark.parametrize(
    ("metric", "settings"),
    [
        ("FaithfulnessCorrelation", {"nr_runs": 5, "subset_size": 64, "return_aggregate": False}),
        ("Sparseness", {}),
        ("RandomLogit", {"num_classes": 3, "seed": 0}),
    ],
)
def test_quantus_metrics_take_an_explainer(metric, settings):
    quantus = pytest.importorskip("quantus", exc_type=ImportError)
    images, classifier = random_images(3), small_network()
    explain = as_quantus(get_explainer("integrated_gradients", classifier, steps=4))
    measure = getattr(quantus, metric)(disable_warnings=True, display_progressbar=False, **settings)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        scores = measure(
            model=classifier,
            x_batch=images.numpy(),
            y_batch=np.array([0, 1, 2]),
            a_batch=None,
            explain_func=explain,
            device="cpu",
        )
    assert len(scores) == 3
    assert np.isfinite(np.asarray(scores, dtype=float)).all()


def test_quantus_gets_the_maps_of_the_classes_it_names():
    images, classifier = random_images(2), small_network()
    explainer = get_explainer("gradcam", classifier)
    found = as_quantus(explainer)(model=classifier, inputs=images.numpy(), targets=np.array([2, 0]), device="cpu")
    assert np.array_equal(found, explainer(images, [2, 0]).attribution.numpy())


def test_a_changed_copy_of_the_classifier_is_what_quantus_has_explained():
    images, other = random_images(1), small_network(seed=5)
    explainer = get_explainer("gradcam", small_network(), output="logit")
    found = as_quantus(explainer)(model=other, inputs=images.numpy(), targets=[1])
    assert np.array_equal(found, get_explainer("gradcam", other, output="logit")(images, 1).attribution.numpy())
    with pytest.raises(UserError, match="must be given the explainer's TargetClassifier"):
        as_quantus(explainer)(model=other.network, inputs=images.numpy(), targets=[1])
