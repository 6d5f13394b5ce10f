"""The target classifier: frozen, honest about its cost, and clear about what does not fit."""

from __future__ import annotations

import sys
import types

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import nn

from cae.classifiers import (
    PlainConvNet,
    SmallResNet,
    TargetClassifier,
    load_classifier,
    load_own,
    save_classifier,
)
from cae.config import ClassifierConfig
from cae.errors import UserError

# tracing, in the tests alone: many programs still write these files
pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit.trace.*:FutureWarning")

CLASSES = ("cat", "dog", "fox")
GREY = (1, 8, 8)


class Linear(nn.Module):
    """Scores from the flattened image."""

    def __init__(self, inputs: int = 64, outputs: int = 3):
        super().__init__()
        self.hidden = nn.Linear(inputs, 5)
        self.head = nn.Linear(5, outputs)

    def forward(self, images):
        return self.head(torch.tanh(self.hidden(images.flatten(1))))


class Recorder(nn.Module):
    """Keeps what it was given; scores are channel means and the grand mean."""

    def forward(self, images):
        self.seen = images
        mean = images.mean((1, 2, 3))
        return torch.stack([mean, 2 * mean, 3 * mean], 1)


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


@pytest.fixture
def images():
    return torch.rand(4, *GREY)


def resnet(channels: int = 1) -> SmallResNet:
    return SmallResNet(3, channels=channels, width=4)


def test_a_target_is_frozen_and_stays_in_evaluation_mode(images):
    network = nn.Sequential(nn.Dropout(0.5), nn.BatchNorm2d(1), nn.Flatten(), nn.Linear(64, 3))
    target = TargetClassifier(network, CLASSES, image_shape=GREY)
    nn.Sequential(target).train()
    assert not target.training
    assert not target.network.training
    assert not any(part.training for part in target.network.modules())
    assert not any(weight.requires_grad for weight in target.parameters())
    assert torch.equal(target.logits(images), target.train().logits(images))


def test_every_scored_image_is_counted_and_nothing_else(images):
    target = TargetClassifier(Linear(), CLASSES, image_shape=GREY)
    assert target.evaluations == 0
    target.logits(images)
    target.probabilities(images[:1])
    target.features(images[:2])
    target(images[:1])
    assert target.evaluations == 8


def test_resizing_and_normalisation_equal_the_manual_ones():
    network = Recorder()
    mean, std = [0.4, 0.5, 0.6], [0.2, 0.3, 0.1]
    target = TargetClassifier(network, CLASSES, image_shape=(3, 8, 8), input_size=5, mean=mean, std=std)
    images = torch.rand(2, 3, 8, 8)
    target.logits(images)
    small = F.interpolate(images, (5, 5), mode="bilinear", align_corners=False, antialias=True)
    expected = (small - torch.tensor(mean).view(1, 3, 1, 1)) / torch.tensor(std).view(1, 3, 1, 1)
    assert torch.equal(target.network.seen, expected)
    assert target.input_size == 5


def test_without_options_the_network_sees_the_images_themselves(images):
    target = TargetClassifier(Recorder(), CLASSES, image_shape=GREY)
    target.logits(images)
    assert torch.equal(target.network.seen, images)


def test_grey_images_are_repeated_for_a_network_of_three_channels(images):
    network = resnet(3).eval()
    target = TargetClassifier(network, CLASSES, image_shape=GREY)
    assert torch.equal(target.logits(images), network(images.repeat(1, 3, 1, 1)))


def test_rgb_images_become_luminance_for_a_network_of_one_channel():
    network = Recorder()
    target = TargetClassifier(network, CLASSES, image_shape=(3, 8, 8), network_channels=1)
    images = torch.rand(2, 3, 8, 8)
    target.logits(images)
    expected = 0.299 * images[:, :1] + 0.587 * images[:, 1:2] + 0.114 * images[:, 2:]
    assert torch.allclose(target.network.seen, expected, atol=1e-6)


def test_one_logit_becomes_two_classes(images):
    network = Linear(outputs=1)
    target = TargetClassifier(network, CLASSES[:2], image_shape=GREY)
    z = network(images)
    assert torch.equal(target.logits(images), torch.cat([torch.zeros_like(z), z], 1))
    p = torch.sigmoid(z)
    assert torch.allclose(target.probabilities(images), torch.cat([1 - p, p], 1), atol=1e-6)


@pytest.mark.parametrize("size", [None, 12])
def test_gradients_reach_the_image_and_not_the_weights(size):
    target = TargetClassifier(resnet(), CLASSES, image_shape=GREY, input_size=size, mean=[0.5], std=[0.5])
    images = torch.rand(2, *GREY, requires_grad=True)
    target.probabilities(images)[:, 0].sum().backward()
    assert images.grad is not None
    assert images.grad.abs().sum() > 0
    assert all(weight.grad is None for weight in target.parameters())
    target.require_gradients("Integrated gradients")


def test_double_precision_networks_give_exact_gradients():
    target = TargetClassifier(Linear().double(), CLASSES, image_shape=GREY, mean=[0.5], std=[0.25])
    images = torch.rand(1, *GREY, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(target.logits, (images,))


def test_a_black_box_is_scored_but_has_no_gradients(images):
    def brightness(array: np.ndarray) -> np.ndarray:
        assert array.dtype == np.float32
        bright = array.mean((1, 2, 3))
        array[:] = 0  # a careless user's function must not reach the caller's images
        return np.stack([bright, (1 - bright) / 2, (1 - bright) / 2], 1)

    before = images.clone()
    target = TargetClassifier(brightness, CLASSES, image_shape=GREY)
    p = target.probabilities(images.requires_grad_())
    assert torch.equal(images.detach(), before)
    assert torch.allclose(p[:, 0], before.mean((1, 2, 3)), atol=1e-6)
    assert torch.allclose(target.logits(images), p.log(), atol=1e-6)
    assert not p.requires_grad
    assert not target.differentiable
    with pytest.raises(UserError, match=r"ShearletX needs gradients of the classifier, which a black-box .*brightness"):
        target.require_gradients("ShearletX")


def test_a_black_box_of_one_probability_is_its_own_complement(images):
    target = TargetClassifier(lambda array: array.mean((1, 2, 3)), CLASSES[:2], image_shape=GREY)
    p = images.mean((1, 2, 3))
    assert torch.allclose(target.probabilities(images), torch.stack([1 - p, p], 1), atol=1e-6)
    assert torch.equal(target.features(images), target.logits(images))


def test_a_certain_black_box_keeps_finite_logits(images):
    target = TargetClassifier(lambda a: np.tile([1.0, 0.0, 0.0], (len(a), 1)), CLASSES, image_shape=GREY)
    assert torch.isfinite(target.logits(images)).all()
    assert torch.allclose(target.probabilities(images)[:, 0], torch.ones(4))


def test_probabilities_that_turn_out_as_logits_are_an_error(images):
    target = TargetClassifier(lambda a: 6 * a.var((1, 2, 3)), CLASSES[:2], image_shape=GREY)
    with pytest.raises(UserError, match=r"classifier\.scores=logits"):
        target.logits(images.round())


def test_a_module_declared_as_not_differentiable_gives_no_gradient(images):
    target = TargetClassifier(Linear(), CLASSES, image_shape=GREY, differentiable=False)
    assert not target.logits(images.requires_grad_()).requires_grad
    assert not target.features(images).requires_grad
    with pytest.raises(UserError, match="declared as not differentiable"):
        target.require_gradients("x")


def test_features_are_the_input_of_the_head(images):
    for network in (resnet(), PlainConvNet(3, width=4), Linear()):
        target = TargetClassifier(network, CLASSES, image_shape=GREY)
        features = target.features(images)
        assert features.ndim == 2
        assert torch.allclose(network.head(features), target.logits(images), atol=1e-6)


def test_features_of_a_timm_network_are_those_before_its_head(images):
    timm = pytest.importorskip("timm")
    network = timm.create_model("resnet10t", pretrained=False, num_classes=3, in_chans=1)
    target = TargetClassifier(network, CLASSES, image_shape=(1, 32, 32))
    images = torch.rand(2, 1, 32, 32)
    assert torch.allclose(network.fc(target.features(images)), target.logits(images), atol=1e-5)


def test_the_fingerprint_follows_weights_names_and_preprocessing():
    network = resnet()
    first = TargetClassifier(network, CLASSES, image_shape=GREY)
    same = TargetClassifier(network, CLASSES, image_shape=GREY).fingerprint()
    others = {
        TargetClassifier(network, ("a", "b", "c"), image_shape=GREY).fingerprint(),
        TargetClassifier(network, CLASSES, image_shape=GREY, mean=[0.5]).fingerprint(),
        TargetClassifier(resnet(), CLASSES, image_shape=GREY).fingerprint(),
    }
    assert first.fingerprint() == same
    assert len(same) == 16
    assert len(others | {same}) == 4


def test_misfits_are_told_in_words(images):
    with pytest.raises(UserError, match=r"gives 10 score\(s\), but the data has 3 classes \(cat, dog, fox\)"):
        TargetClassifier(Linear(outputs=10), CLASSES, image_shape=GREY)
    with pytest.raises(UserError, match=r"failed on blank images of shape \(2, 1, 9, 9\).*classifier\.input_size"):
        TargetClassifier(Linear(), CLASSES, image_shape=(1, 9, 9))
    with pytest.raises(UserError, match="must be above 0"):
        TargetClassifier(Linear(), CLASSES, image_shape=GREY, std=[0.0])
    with pytest.raises(UserError, match=r"`classifier\.mean` has 2 values"):
        TargetClassifier(Linear(), CLASSES, image_shape=GREY, mean=[0.0, 1.0])
    with pytest.raises(UserError, match="at least two classes"):
        TargetClassifier(Linear(outputs=1), ("cat",), image_shape=GREY)
    target = TargetClassifier(Linear(), CLASSES, image_shape=GREY)
    with pytest.raises(UserError, match=r"\(B, 1, H, W\), but are \(8, 8\)"):
        target.logits(images[0, 0])
    with pytest.raises(UserError, match="divide 8-bit images by 255"):
        target.logits(torch.zeros(1, *GREY, dtype=torch.uint8))
    with pytest.raises(UserError, match="NaN or infinite"):
        target.logits(images * float("nan"))


# files


def test_a_saved_network_reloads_identically_whichever_way(tmp_path, images):
    network = resnet().eval()
    config = ClassifierConfig(model="resnet", width=4, mean=[0.5], std=[0.25])
    save_classifier(tmp_path, network, config, CLASSES, GREY, {"classifier/test_accuracy": 0.5})
    expected = TargetClassifier(network, CLASSES, image_shape=GREY, mean=[0.5], std=[0.25])
    (tmp_path / "moved.safetensors").write_bytes((tmp_path / "classifier.safetensors").read_bytes())
    elsewhere = ClassifierConfig(width=4, weights=str(tmp_path / "moved.safetensors"))
    for loaded in (
        load_own(tmp_path),
        load_classifier(config, CLASSES, GREY, tmp_path),
        load_classifier(elsewhere, CLASSES, GREY),
    ):
        assert torch.equal(loaded.logits(images), expected.logits(images))
        assert loaded.fingerprint() == expected.fingerprint()
        assert loaded.classes == CLASSES


def test_contradictions_to_the_saved_description_are_listed_together(tmp_path):
    save_classifier(tmp_path, resnet(), ClassifierConfig(width=4), CLASSES, GREY)
    with pytest.raises(UserError) as error:
        load_classifier(ClassifierConfig(model="plain", width=8), ("cat", "dog", "owl"), GREY, tmp_path)
    assert len(error.value.problems) == 3
    assert "trained with `classifier.model=resnet`" in str(error.value)
    assert "classifier.width=4" in str(error.value)
    assert "owl" in str(error.value)


def test_without_a_trained_classifier_the_error_says_how_to_get_one(tmp_path):
    with pytest.raises(UserError, match=r"python train\.py classifier .*classifier\.weights"):
        load_classifier(ClassifierConfig(), CLASSES, GREY, tmp_path)


@pytest.mark.parametrize("wrapper", [None, "state_dict", "model"])
@pytest.mark.parametrize("prefix", ["", "module.", "model.network."])
def test_weights_are_found_under_wrappers_and_prefixes(tmp_path, images, wrapper, prefix):
    network = resnet().eval()
    state = {prefix + key: value for key, value in network.state_dict().items()}
    if prefix:
        state["criterion.weight"] = torch.ones(3)
    path = tmp_path / "weights.pt"
    torch.save({wrapper: state, "epoch": 3} if wrapper else state, path)
    loaded = load_classifier(ClassifierConfig(width=4, weights=str(path)), CLASSES, GREY)
    assert torch.equal(loaded.logits(images), network(images))


def test_torchvision_weights_load_with_the_head_of_the_classes(tmp_path):
    models = pytest.importorskip("torchvision.models")
    network = models.squeezenet1_1(num_classes=3).eval()
    path = tmp_path / "net.safetensors"
    save_file(network.state_dict(), path)
    config = ClassifierConfig(model="torchvision:squeezenet1_1", weights=str(path))
    loaded = load_classifier(config, CLASSES, (1, 32, 32))
    images = torch.rand(2, 1, 32, 32)
    assert torch.equal(loaded.logits(images), network(images.repeat(1, 3, 1, 1)))
    with pytest.raises(UserError, match="is a torchvision:squeezenet1_1 for 3 classes, but the data has 2"):
        load_classifier(config, CLASSES[:2], (1, 32, 32))
    with pytest.raises(UserError, match=r"does not fit `classifier\.model=torchvision:resnet18`: \d+ of its"):
        load_classifier(ClassifierConfig(model="torchvision:resnet18", weights=str(path)), CLASSES, (1, 32, 32))


def test_a_timm_network_of_one_channel_and_one_logit_loads(tmp_path):
    timm = pytest.importorskip("timm")
    network = timm.create_model("resnet10t", pretrained=False, num_classes=1, in_chans=1).eval()
    path = tmp_path / "net.pth"
    torch.save(network.state_dict(), path)
    config = ClassifierConfig(model="timm:resnet10t", weights=str(path))
    loaded = load_classifier(config, CLASSES[:2], (1, 32, 32))
    images = torch.rand(2, 1, 32, 32)
    assert torch.equal(loaded.logits(images)[:, 1:], network(images))


def test_torchscript_files_keep_their_gradients(tmp_path, images):
    network = resnet().eval()
    path = tmp_path / "net.ts"
    torch.jit.trace(network, images).save(str(path))
    loaded = load_classifier(ClassifierConfig(model="torchscript", weights=str(path)), CLASSES, GREY)
    assert torch.allclose(loaded.logits(images), network(images), atol=1e-6)
    loaded.logits(images.requires_grad_())[:, 0].sum().backward()
    assert images.grad.abs().sum() > 0
    loaded.train()
    assert torch.equal(loaded.features(images), loaded.logits(images))
    with pytest.raises(UserError, match=r"is a TorchScript file.*classifier\.model=torchscript"):
        load_classifier(ClassifierConfig(weights=str(path)), CLASSES, GREY)


def test_torchscript_files_that_end_in_a_softmax_give_their_own_probabilities(tmp_path, images):
    network = nn.Sequential(nn.Flatten(), nn.Linear(64, 3), nn.Softmax(1))
    path = tmp_path / "net.ts"
    torch.jit.trace(network, images).save(str(path))
    loaded = load_classifier(ClassifierConfig(model="torchscript", weights=str(path)), CLASSES, GREY)
    assert torch.allclose(loaded.probabilities(images), network(images), atol=1e-6)


@pytest.mark.parametrize("batch", ["N", 3])
def test_onnx_files_score_any_number_of_images(tmp_path, images, batch):
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    weights = torch.randn(64, 3)
    nodes = [
        onnx.helper.make_node("Flatten", ["x"], ["f"]),
        onnx.helper.make_node("MatMul", ["f", "w"], ["y"]),
    ]
    graph = onnx.helper.make_graph(
        nodes,
        "tiny",
        [onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [batch, 1, 8, 8])],
        [onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [batch, 3])],
        [onnx.numpy_helper.from_array(weights.numpy(), "w")],
    )
    path = tmp_path / "net.onnx"
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 13)])
    model.ir_version = 8
    onnx.save(model, str(path))
    loaded = load_classifier(ClassifierConfig(model="onnx", weights=str(path)), CLASSES, (1, 16, 16))
    images = F.interpolate(images, (8, 8))
    big = torch.rand(4, 1, 16, 16)
    small = F.interpolate(big, (8, 8), mode="bilinear", antialias=True)
    assert loaded.input_size == 8
    assert torch.allclose(loaded.logits(images), images.flatten(1) @ weights, atol=1e-5)
    assert torch.allclose(loaded.logits(big), small.flatten(1) @ weights, atol=1e-5)
    assert not loaded.differentiable
    assert loaded.evaluations == 8


def test_a_function_is_imported_by_its_name(images, monkeypatch):
    module = types.ModuleType("my_classifiers")
    module.bright = lambda array: np.stack([array.mean((1, 2, 3))] * 3, 1) * 5  # type: ignore[attr-defined]
    module.answer = 42  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "my_classifiers", module)
    loaded = load_classifier(ClassifierConfig(model="callable:my_classifiers:bright"), CLASSES, GREY)
    assert torch.allclose(loaded.probabilities(images), torch.full((4, 3), 1 / 3))
    for name, words in (
        ("callable:my_classifiers:brigth", "did you mean 'bright'"),
        ("callable:my_classifiers:answer", "is not callable"),
        ("callable:no_such_module:f", "PYTHONPATH"),
        ("callable:my_classifiers", "must be callable:package.module:name"),
    ):
        with pytest.raises(UserError, match=words):
            load_classifier(ClassifierConfig(model=name), CLASSES, GREY)


@pytest.mark.parametrize(
    ("model", "words"),
    [
        ("resnt", "did you mean 'resnet'"),
        ("resnet18", "did you mean 'torchvision:resnet18'"),
        ("torchvision:resnet19", "did you mean 'torchvision:resnet18'"),
        ("timm:resnet10", "did you mean 'timm:resnet1"),
        ("onx", "did you mean 'onnx'"),
    ],
)
def test_unknown_names_answer_with_the_nearest(model, words):
    pytest.importorskip("timm")
    with pytest.raises(UserError, match=words):
        load_classifier(ClassifierConfig(model=model, weights="x.pt"), CLASSES, GREY)


@pytest.mark.parametrize("model", ["torchvision:resnet18", "torchscript", "onnx"])
def test_weights_are_asked_for_and_never_downloaded(model):
    with pytest.raises(UserError, match=r"needs `classifier\.weights`"):
        load_classifier(ClassifierConfig(model=model), CLASSES, GREY)


def test_unfit_files_are_told_in_words(tmp_path):
    def load(path, model="resnet"):
        return load_classifier(ClassifierConfig(model=model, width=4, weights=str(path)), CLASSES, GREY)

    whole = tmp_path / "whole.pt"
    torch.save(resnet(), whole)
    with pytest.raises(UserError, match=r"holds Python objects.*state_dict"):
        load(whole)
    for name, model in (("broken.safetensors", "resnet"), ("broken.ts", "torchscript"), ("broken.onnx", "onnx")):
        (tmp_path / name).write_bytes(b"no weights at all")
        with pytest.raises(UserError, match="cannot be read as"):
            load(tmp_path / name, model)
    with pytest.raises(UserError, match=r"set `classifier\.model=onnx`"):
        load(tmp_path / "broken.onnx")
    with pytest.raises(UserError, match=r"there is no file '.*whole\.pth' \(did you mean 'whole\.pt'\?\)"):
        load(tmp_path / "whole.pth")
    plain = tmp_path / "plain.safetensors"
    save_file(PlainConvNet(3, width=4).state_dict(), plain)
    with pytest.raises(UserError, match=r"\d+ of its \d+ tensors are missing \(.*…\), \d+ are unexpected"):
        load(plain)
    nothing = tmp_path / "nothing.pt"
    torch.save({"epoch": 3}, nothing)
    with pytest.raises(UserError, match="holds no weights"):
        load(nothing)
