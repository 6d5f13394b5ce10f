"""Gradient methods: exact on networks whose gradients are known."""

from __future__ import annotations

import re

import pytest
import torch
from tiny_classifiers import black_box, linear_classifier, names, random_images, small_network
from torch import nn

from cae.classifiers import SmallResNet, TargetClassifier
from cae.errors import UserError
from cae.metrics.log_odds import log_odds
from explainers.baselines.gradient import GradCam, IntegratedGradients, SmoothGrad
from explainers.baselines.layers import feature_layer


@pytest.fixture
def weight():
    return torch.randn(2, 3, 6, 5, generator=torch.Generator().manual_seed(1))


def image(channels=3, height=6, width=5):
    return torch.rand(2, channels, height, width, generator=torch.Generator().manual_seed(2))


@pytest.mark.parametrize("baseline", [("black", 0.0), ("grey", 0.5), ("white", 1.0)])
def test_integrated_gradients_of_a_linear_logit_are_weight_times_difference(weight, baseline):
    name, value = baseline
    found = IntegratedGradients(linear_classifier(weight), output="logit", steps=2, baseline=name)(image(), target=1)
    wanted = (weight[1] * (image() - value)).sum(1, keepdim=True)
    assert torch.allclose(found.attribution, wanted, atol=1e-6)


def test_integrated_gradients_sum_to_the_difference_of_the_output():
    classifier, images = small_network(), random_images(2)
    black = torch.zeros_like(images)
    for output in ("log_odds", "logit", "probability"):
        explainer = IntegratedGradients(classifier, output=output, steps=200)
        found = explainer(images, target=2).attribution
        value = explainer.output_of(2)
        with torch.no_grad():
            wanted = value(images) - value(black)
        # max pooling has kinks, which quadrature rounds off
        assert torch.allclose(found.sum((1, 2, 3)), wanted, rtol=0.02, atol=1e-3)


def test_smoothgrad_of_a_linear_logit_is_its_weight_whatever_the_noise(weight):
    found = SmoothGrad(linear_classifier(weight), output="logit", samples=5, noise=0.5)(image(), target=0)
    assert torch.allclose(found.attribution, weight[0].sum(0).expand(2, 1, 6, 5), atol=1e-5)


def test_smoothgrad_without_noise_is_the_gradient():
    classifier, images = small_network(), random_images(1)
    copies = images.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(log_odds(classifier.logits(copies), 1).sum(), copies)
    found = SmoothGrad(classifier, samples=3, noise=0)(images, target=1).attribution
    assert torch.allclose(found, gradient, atol=1e-7)


def test_smoothgrad_smooths_the_same_at_any_batch_size_and_otherwise_with_another_seed():
    classifier, images = small_network(), random_images(1)
    maps = [SmoothGrad(classifier, samples=6, batch_size=size)(images).attribution for size in (1, 4, 6)]
    assert torch.allclose(maps[0], maps[1], atol=1e-6)
    assert torch.allclose(maps[0], maps[2], atol=1e-6)
    assert not torch.allclose(maps[0], SmoothGrad(classifier, samples=6)(images, seed=1).attribution, atol=1e-6)


class PooledMaps(nn.Module):
    """One 1x1 convolution to F maps, their means, a linear head: Grad-CAM is ``sum_f head_f map_f / cells``."""

    def __init__(self, inplace: bool = False):
        super().__init__()
        generator = torch.Generator().manual_seed(3)
        self.maps = nn.Conv2d(1, 4, 2, 2)
        self.activation = nn.ReLU(inplace=inplace)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.head = nn.Linear(4, 2)
        for parameter in self.parameters():
            parameter.data = torch.randn(parameter.shape, generator=generator)

    def forward(self, images):
        return self.head(self.pool(self.activation(self.maps(images))).flatten(1))


@pytest.mark.parametrize("inplace", [False, True])
def test_gradcam_is_the_weighted_sum_of_the_maps_upsampled(inplace):
    network = PooledMaps(inplace)
    classifier = TargetClassifier(network, names(2), image_shape=(1, 16, 16))
    images = random_images(2, size=16)
    with torch.no_grad():
        maps = torch.relu(network.maps(images))
        coarse = torch.einsum("f,bfhw->bhw", network.head.weight[1], maps)[:, None] / 64
    wanted = nn.functional.interpolate(coarse, size=(16, 16), mode="bilinear", align_corners=False)
    assert torch.allclose(GradCam(classifier, output="logit")(images, target=1).attribution, wanted, atol=1e-6)
    named = GradCam(classifier, output="logit", layer_name="activation")(images, target=1).attribution
    assert torch.allclose(named, wanted, atol=1e-6)


def test_a_single_score_explains_both_of_its_classes():
    head = nn.Sequential(nn.Flatten(), nn.Linear(16, 1))
    classifier = TargetClassifier(head, names(2), image_shape=(1, 4, 4))
    found = [IntegratedGradients(classifier)(random_images(1, size=4), target=k).attribution for k in (0, 1)]
    assert found[0].abs().max() > 0
    assert torch.allclose(found[0], -found[1], atol=1e-6)


@pytest.mark.parametrize(
    ("model", "place"),
    [
        ("resnet18", ("avgpool", True)),
        ("squeezenet1_1", ("classifier.3", True)),
        ("mobilenet_v2", ("features", False)),
        ("densenet121", ("features", False)),
        ("shufflenet_v2_x0_5", ("conv5", False)),
    ],
)
def test_the_last_feature_maps_of_common_networks_are_found(model, place):
    models = pytest.importorskip("torchvision.models")
    network = models.get_model(model, weights=None, num_classes=3)
    classifier = TargetClassifier(network, names(3), image_shape=(3, 64, 64))
    found = feature_layer(classifier)
    assert (found.name, found.input) == place


def test_the_last_feature_maps_of_our_own_networks_are_found():
    residual = TargetClassifier(SmallResNet(3, width=4), names(3), image_shape=(1, 32, 32))
    assert feature_layer(residual).name == "stages"
    assert feature_layer(small_network()).name == "body"


def test_networks_without_feature_maps_and_unknown_layers_are_told_in_words(weight):
    with pytest.raises(UserError, match="found no layer of feature maps"):
        GradCam(linear_classifier(weight))
    with pytest.raises(UserError, match="did you mean 'body.17'"):
        GradCam(small_network(), layer_name="body,17")
    with pytest.raises(UserError, match=r"must give feature maps \(B, F, h, w\), once, but gives \(1, 32\)"):
        GradCam(small_network(), layer_name="hidden.0")


def test_a_vision_transformer_is_refused_rather_than_misread():
    models = pytest.importorskip("torchvision.models")
    network = models.VisionTransformer(32, 8, 1, 2, 16, 32, num_classes=3)
    classifier = TargetClassifier(network, names(3), image_shape=(3, 32, 32))
    with pytest.raises(UserError, match="found no layer") as error:
        GradCam(classifier)
    proposed = re.findall("'([^']+)'", str(error.value))
    assert proposed
    for name in proposed:
        assert GradCam(classifier, layer_name=name)(random_images(1, 3)).attribution.isfinite().all()


class LastAndFirst(nn.Module):
    """The same maps once with channels last and once with channels first, pooled into a linear head."""

    def __init__(self):
        super().__init__()
        self.body = nn.Conv2d(1, 6, 4, 4)
        self.last, self.first, self.head = nn.ReLU(), nn.Identity(), nn.Linear(6, 2)

    def forward(self, images):
        maps = self.last(self.body(images).permute(0, 2, 3, 1))
        return self.head(self.first(maps.permute(0, 3, 1, 2)).mean((2, 3)))


def test_a_channels_last_layer_is_read_as_what_it_is():
    classifier = TargetClassifier(LastAndFirst(), names(2), image_shape=(1, 32, 32))
    images = random_images(2)
    maps = [GradCam(classifier, layer_name=name)(images, target=1).attribution for name in ("first", "last")]
    assert maps[0].abs().max() > 0
    assert torch.allclose(*maps, atol=1e-6)


@pytest.mark.parametrize("method", [IntegratedGradients, SmoothGrad, GradCam])
def test_gradients_flow_where_the_caller_is_in_inference_mode(method):
    explainer = method(small_network())
    with torch.inference_mode():
        inside = explainer(random_images(1)).attribution
    assert torch.equal(inside, explainer(random_images(1)).attribution)


def test_options_out_of_range_are_told_in_words():
    with pytest.raises(UserError, match="did you mean 'logit'"):
        IntegratedGradients(small_network(), output="logits")
    with pytest.raises(UserError, match="`steps` must be at least 1"):
        IntegratedGradients(small_network(), steps=0)
    with pytest.raises(UserError, match="`baseline` must be one of black, grey, white"):
        IntegratedGradients(small_network(), baseline="blue")
    with pytest.raises(UserError, match="`noise` must not be negative"):
        SmoothGrad(small_network(), noise=-1)
    with pytest.raises(UserError, match="gradcam needs gradients"):
        GradCam(black_box())
