"""What a classifier's outputs are taken for: the right thing, or a sentence."""

from __future__ import annotations

import sys
import types
import warnings
from collections import namedtuple

import numpy as np
import pandas
import pytest
import torch
from torch import Tensor, nn

from cae.classifiers import TargetClassifier, load_classifier
from cae.classifiers.outputs import choose_output, ending, output_kind, select_output
from cae.config import ClassifierConfig
from cae.errors import UserError

SHAPE = (3, 16, 16)
CLASSES = ("a", "b", "c")


def network(classes: int = 3, channels: int = 3) -> nn.Sequential:
    torch.manual_seed(0)
    layers = nn.Sequential(
        nn.Conv2d(channels, 8, 3, 2, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, classes)
    )
    with torch.no_grad():
        layers[4].weight.mul_(30)
    return layers.eval()


class After(nn.Module):
    """A network and what is made of its logits."""

    def __init__(self, change, classes: int = 3):
        super().__init__()
        self.net = network(classes)
        self.change = change

    def forward(self, images: Tensor):
        return self.change(self.net(images))


@pytest.fixture
def images() -> Tensor:
    return torch.rand(4, *SHAPE, generator=torch.Generator().manual_seed(1))


def wrap(model, classes=CLASSES, **options) -> TargetClassifier:
    return TargetClassifier(model, classes, image_shape=SHAPE, **options)


def silently(model, classes=CLASSES) -> TargetClassifier:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return wrap(model, classes)


@pytest.mark.parametrize(
    "change",
    [
        lambda z: z.softmax(1),
        lambda z: z.softmax(1)[:, :, None].squeeze(2),
        lambda z: z.exp() / z.exp().sum(1, keepdim=True),
        lambda z: (z.softmax(1) + (2 * z).softmax(1)) / 2,
        lambda z: z.softmax(1).detach(),
    ],
)
def test_probabilities_of_a_module_are_kept(change, images):
    model = After(change)
    assert torch.allclose(silently(model).probabilities(images), model(images), atol=1e-5)


@pytest.mark.parametrize("change", [torch.sigmoid, lambda z: z.sigmoid().squeeze(1), lambda z: z.sigmoid().clamp(0, 1)])
def test_a_single_probability_of_a_module_is_kept(change, images):
    model = After(change, classes=1)
    found = silently(model, ("a", "b")).probabilities(images)
    assert torch.allclose(found[:, 1], model(images).flatten(), atol=1e-5)


@pytest.mark.parametrize("change", [lambda z: z, lambda z: z.log_softmax(1), lambda z: z / 1e4])
def test_logits_of_a_module_stay_bit_for_bit(change, images):
    model = After(change)
    assert torch.equal(silently(model).logits(images), model(images))


def test_small_logits_of_one_score_are_no_probability(images):
    model = After(lambda z: z, classes=1)
    with torch.no_grad():
        model.net[4].weight.mul_(1e-3)
        model.net[4].bias.fill_(0.5)
    assert torch.equal(silently(model, ("a", "b")).logits(images)[:, 1:], model(images))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (torch.sigmoid, "several labels"),
        (lambda z: (z.softmax(1) * 50).round() / 50 * 0.999, "rounded or incomplete"),
        (lambda z: nn.functional.one_hot(z.argmax(1), 3).float(), "only 0 and 1"),
    ],
)
@pytest.mark.parametrize("black_box", [False, True])
def test_scores_that_fit_nothing_are_questioned(change, words, black_box):
    model = After(change)
    given = (lambda array: model(torch.from_numpy(array)).detach().numpy()) if black_box else model
    with pytest.warns(UserWarning, match=words):
        wrap(given)


def test_percentages_are_refused():
    with pytest.raises(UserError, match="divide them by 100"):
        wrap(After(lambda z: 100 * z.softmax(1)))


def test_probabilities_of_several_labels_are_questioned_when_the_user_calls_them_so():
    with pytest.warns(UserWarning, match="scaled to sum to 1"):
        wrap(After(torch.sigmoid), scores="probabilities")


Named = namedtuple("Named", ["aux", "logits"])


@pytest.mark.parametrize(
    "change",
    [
        lambda z: {"aux": -z, "out": z},
        lambda z: {"loss": z.mean(), "features": z.repeat(1, 5), "head": z},
        lambda z: (z.repeat(1, 5), z),
        lambda z: [z],
        lambda z: Named(-z, z),
        lambda z: types.SimpleNamespace(logits=z),
    ],
)
def test_of_several_outputs_the_scores_are_found(change, images):
    model = After(change)
    expected = model.net(images)
    assert torch.equal(wrap(model).logits(images), expected)

    def function(array):
        found = change(model.net(torch.from_numpy(array)).detach())
        return found[0] if isinstance(found, list) else found

    if not isinstance(change(expected), types.SimpleNamespace):
        assert torch.allclose(wrap(function).logits(images), expected, atol=1e-5)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda z: (z, -z), "0 and 1 fit 3 classes"),
        (lambda z: {"coarse": z[:, :2], "fine": z.repeat(1, 2)}, "none of which fits 3 classes"),
    ],
)
def test_outputs_of_which_none_or_several_fit_are_refused(change, words):
    with pytest.raises(UserError, match=words):
        wrap(After(change))


def test_the_output_is_chosen_by_name_then_by_width():
    assert choose_output({"aux": (2, 3), "output": (2, 9)}, 3) == "output"
    assert choose_output({"a": (2, 1), "b": (2, 2)}, 2) == "b"
    assert choose_output({"a": (2, 1), "b": (2, 7)}, 2) == "a"
    assert select_output((torch.zeros(2, 9), np.zeros((2, 3))), 3).shape == (2, 3)


def test_the_last_operation_tells_what_scores_are():
    z = torch.zeros(2, 3, requires_grad=True) * 1
    assert ending(z.sigmoid().unsqueeze(2).flatten(1)) == "sigmoid"
    assert ending(z.softmax(1)[:, :2]) == "softmax"
    assert ending(nn.Linear(3, 3)(z)) == "logits"
    assert ending(nn.Linear(3, 3)(z) / 2 + 1) == "logits"
    assert ending(2 * z.softmax(1)) == ending(z.softmax(1) / z.sum()) == "unknown"
    assert ending(nn.Conv2d(3, 3, 1)(z[..., None, None]).relu().mean((2, 3))) == "logits"
    assert ending(z + 1) == ending(torch.zeros(2)) == "unknown"
    assert output_kind(torch.full((2, 2), 0.5), "logits", False) == ("logits", "")


def test_a_squeezed_answer_to_one_image_is_taken(images):
    model = After(lambda z: z)
    loaded = wrap(lambda array: np.squeeze(model(torch.from_numpy(array)).detach().numpy()))
    assert torch.allclose(loaded.logits(images[:1]), model(images[:1]), atol=1e-5)


# what is done to the user's own things


def test_the_users_module_stays_trainable_and_in_training_mode():
    model = network().train()
    wrap(model)
    assert model.training
    assert all(weight.requires_grad for weight in model.parameters())


def test_evaluation_mode_holds_at_every_call(images):
    model = nn.Sequential(nn.Flatten(), nn.Dropout(0.5), nn.Linear(768, 3))
    classifier = wrap(model)
    before, features = classifier.logits(images), classifier.features(images)
    model.train()
    classifier.network.train()
    assert torch.equal(classifier.logits(images), before)
    classifier.network.train()
    assert torch.equal(classifier.features(images), features)


@pytest.mark.parametrize("grey", [False, True])
def test_a_module_that_writes_into_its_input_harms_nobody(grey):
    class InPlace(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = network()

        def forward(self, x):
            x -= 0.5
            x /= 0.25
            return self.net(x)

    model, shape = InPlace(), (1 if grey else 3, 16, 16)
    images = torch.rand(2, *shape)
    before = images.clone()
    classifier = TargetClassifier(model, CLASSES, image_shape=shape, network_channels=3)
    expected = model.net((images.repeat(1, 3 if grey else 1, 1, 1) - 0.5) / 0.25)
    for _ in range(2):
        assert torch.allclose(classifier.logits(images), expected, atol=1e-5)
        classifier.features(images)
    assert torch.equal(images, before)
    leaf = images.requires_grad_()
    classifier.logits(leaf).sum().backward()
    assert leaf.grad is not None


def test_channels_that_a_module_picks_itself_are_given_to_it(images):
    class Red(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = network(channels=1)

        def forward(self, x):
            return self.net(x[:, :1])

    model = Red()
    assert torch.equal(wrap(model).logits(images), model(images))


def test_a_network_of_one_channel_still_gets_luminance(images):
    model = network(channels=1)
    grey = 0.299 * images[:, :1] + 0.587 * images[:, 1:2] + 0.114 * images[:, 2:]
    assert torch.allclose(wrap(model).logits(images), model(grey), atol=1e-4)


def test_means_on_the_scale_of_bytes_are_refused():
    with pytest.raises(UserError, match=r"divide it .* by 255: mean=\[0\.4851, 0\.4561, 0\.4059\]"):
        wrap(network(), mean=[123.7, 116.3, 103.5], std=[58.4, 57.1, 57.4])


# identity


def function(flip: bool):
    def scores(array):
        found = array.mean((2, 3))[:, :3]
        return found[:, ::-1] if flip else found

    return scores


@pytest.mark.filterwarnings("ignore:The classifier")
def test_functions_of_one_name_and_other_answers_have_other_fingerprints(images):
    assert wrap(function(False)).fingerprint() != wrap(function(True)).fingerprint()
    classifier = wrap(function(False))
    classifier.logits(images)
    assert classifier.fingerprint() == wrap(function(False)).fingerprint()


def test_answers_that_depend_on_company_or_chance_are_questioned():
    model = network()
    with pytest.warns(UserWarning, match="alone and in company"):
        wrap(After(lambda z: z - z.mean(0)))
    with pytest.warns(UserWarning, match="alone and in company"):
        wrap(lambda array: model(torch.from_numpy(array)).detach().numpy() + np.random.default_rng().normal(size=3))


def test_a_failing_function_is_told_in_words(images):
    calls = []

    def moody(array):
        calls.append(len(array))
        if len(calls) > 3:
            raise RuntimeError("429 too many requests")
        return 5 * array.mean((2, 3))

    with pytest.raises(UserError, match=r"moody failed on images of shape \(4, 3, 16, 16\).*429 too many"):
        wrap(moody).logits(images)


@pytest.mark.parametrize(
    ("raised", "words"),
    [
        ("expected input to have 3 channels, but got 1 channels instead", r"Set `classifier\.channels`"),
        ("mat1 and mat2 shapes cannot be multiplied (2x81 and 64x5)", r"Set `classifier\.input_size`"),
        ("the licence has expired", r"expired\.$"),
        ("expected input[2, 16, 3, 16] to have 3 channels, but got 16 channels instead", "networks with channels last"),
        ("Input image width (16) doesn't match model (224)", r"Set `classifier\.input_size`"),
    ],
)
def test_a_failure_is_followed_by_what_would_cure_it(raised, words):
    class Failing(nn.Module):
        def forward(self, images):
            raise RuntimeError(raised)

    with pytest.raises(UserError, match=words):
        wrap(Failing())


def test_a_function_that_is_blind_to_floats_in_0_1_is_questioned():
    def of_bytes(images):
        return network()(torch.from_numpy((0.99 * images).astype(np.uint8)).float() / 255).detach().numpy()

    with pytest.warns(UserWarning, match="one and the same answer to 5 images that have nothing in common"):
        wrap(of_bytes)


@pytest.mark.parametrize("make", [tuple, np.array, torch.tensor])
def test_means_and_deviations_may_be_of_any_kind_of_numbers(make, images):
    mean, std = [0.5, 0.4, 0.3], [0.2, 0.2, 0.1]
    expected = wrap(network(), mean=mean, std=std).logits(images)
    assert torch.equal(wrap(network(), mean=make(mean), std=make(std)).logits(images), expected)
    assert torch.equal(wrap(network(), mean=0.5).logits(images), wrap(network(), mean=[0.5]).logits(images))


def test_deviations_on_the_scale_of_bytes_are_refused():
    with pytest.raises(UserError, match=r"divide it by 255: std=\[0\.2291, 0\.2239, 0\.2251\]"):
        wrap(network(), mean=[0.485, 0.456, 0.406], std=[58.42, 57.09, 57.4])


# weights for callables


@pytest.fixture
def mine(monkeypatch):
    module = types.ModuleType("my_networks")
    monkeypatch.setitem(sys.modules, "my_networks", module)
    return module


def load(weights=None) -> TargetClassifier:
    config = ClassifierConfig(model="callable:my_networks:model", weights=weights)
    return load_classifier(config, CLASSES, SHAPE)


def test_weights_given_for_a_module_of_the_users_are_loaded(mine, tmp_path, images):
    trained = network()
    with torch.no_grad():
        trained[4].weight.neg_()
    torch.save(trained.state_dict(), tmp_path / "w.pt")
    mine.model = network()
    before = {key: value.clone() for key, value in mine.model.state_dict().items()}
    assert torch.equal(load(str(tmp_path / "w.pt")).logits(images), trained(images))
    assert all(torch.equal(before[key], value) for key, value in mine.model.state_dict().items())
    mine.model = type("Net", (nn.Sequential,), {"__init__": lambda self: nn.Sequential.__init__(self, *network())})
    assert torch.equal(load(str(tmp_path / "w.pt")).logits(images), trained(images))
    with pytest.raises(UserError, match="weights are random"):
        load()


def test_weights_that_cannot_be_used_are_refused(mine, tmp_path):
    mine.model = network()
    with pytest.raises(UserError, match="there is no file"):
        load(str(tmp_path / "none.pt"))
    torch.save(network(7).state_dict(), tmp_path / "w.pt")
    with pytest.raises(UserError, match="for 7 classes"):
        load(str(tmp_path / "w.pt"))
    mine.model = function(False)
    with pytest.raises(UserError, match="is of no use"):
        load(str(tmp_path / "w.pt"))
    mine.model = type("Net", (nn.Linear,), {})
    with pytest.raises(UserError, match="cannot be made without arguments"):
        load(str(tmp_path / "w.pt"))


def test_columns_that_bear_the_names_of_the_classes_come_in_their_order():
    def scores(columns):
        return lambda images: pandas.DataFrame([[0.9, 0.1]] * len(images), columns=columns)

    images = torch.rand(2, 3, 8, 8)
    for columns, wanted in ((["dog", "cat"], 0.1), (["cat", "dog"], 0.9), (["a", "b"], 0.9), ([0, 1], 0.9)):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of one answer for all images
            classifier = TargetClassifier(scores(columns), ("cat", "dog"), image_shape=(3, 8, 8))
        assert classifier.probabilities(images)[:, 0].tolist() == pytest.approx([wanted] * 2)
