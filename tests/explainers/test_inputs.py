"""Images, targets and models as people write them: the same maps, or a sentence."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_classifiers import linear_classifier, random_images, small_network
from torch import nn

from cae.classifiers import TargetClassifier
from cae.classifiers.bare import wrap_model
from cae.errors import UserError
from explainers import Explanation, get_explainer
from explainers.adapters import as_captum, as_quantus
from explainers.inputs import as_images, as_targets


@pytest.fixture
def bytes_image() -> np.ndarray:
    return (random_images(1, 3)[0].permute(1, 2, 0).numpy() * 255).round().astype(np.uint8)


def test_an_image_of_any_kind_is_the_same_image(bytes_image, tmp_path):
    expected = torch.from_numpy(bytes_image).permute(2, 0, 1)[None] / 255
    picture = Image.fromarray(bytes_image)
    picture.save(tmp_path / "x.png")
    floats = expected.numpy()
    for given in (
        expected, expected[0], floats, floats[0], floats[0].transpose(1, 2, 0), bytes_image, bytes_image[None],
        floats.astype(np.float64), picture, tmp_path / "x.png", str(tmp_path / "x.png"), [picture], (expected[0],),
    ):  # fmt: skip
        assert torch.allclose(as_images(given, 3), expected, atol=1e-6)
    assert as_images([picture, bytes_image, floats[0]], 3).shape == (3, 3, 32, 32)
    assert as_images(expected, 3) is expected


def test_grey_and_colour_become_what_the_classifier_takes(bytes_image):
    grey = np.full((4, 5), 51, np.uint8)
    assert torch.allclose(as_images(grey, 3), torch.full((1, 3, 4, 5), 0.2))
    assert torch.allclose(as_images(Image.fromarray(grey), 1), torch.full((1, 1, 4, 5), 0.2))
    assert torch.allclose(as_images(np.full((4, 5), 13107, np.uint16), 1), torch.full((1, 1, 4, 5), 0.2))
    assert as_images(Image.fromarray(bytes_image), 1).shape == (1, 1, 32, 32)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (np.zeros((4, 5), np.int64), "must be bytes, or floats"),
        (np.zeros((4, 5, 2), np.uint8), "1 or 3 channels, first or last"),
        (np.zeros(4, np.uint8), r"must be \(H, W\)"),
        ([np.zeros((4, 5), np.uint8), np.zeros((4, 6), np.uint8)], "must have one size"),
        ([], "list is empty"),
        (3, "but got a int"),
        (Image.new("RGBA", (4, 4)), "is transparent"),
    ],
)
def test_what_is_no_image_is_told_in_words(given, words):
    with pytest.raises(UserError, match=words):
        as_images(given, 1)


def test_the_map_of_a_picture_is_that_of_its_tensor(bytes_image):
    explainer = get_explainer("occlusion", small_network(3), window=8)
    tensor = torch.from_numpy(bytes_image).permute(2, 0, 1)[None] / 255
    assert torch.equal(explainer(Image.fromarray(bytes_image)).attribution, explainer(tensor).attribution)


@pytest.mark.parametrize(
    "target",
    [1, np.int64(1), np.array(1), np.array([1]), torch.tensor(1), torch.tensor([1]), "dog", ["dog"], [np.uint8(1)],
     [torch.tensor(1)], np.str_("dog")],
)  # fmt: skip
def test_a_target_of_any_kind_is_the_same_class(target):
    assert as_targets(target, 2, ("cat", "dog", "fox")) == [1, 1]


@pytest.mark.parametrize(
    ("target", "words"),
    [(1.5, "by number or name"), (np.int64(7), r"in \[0, 3\), but got 7"), ([0, 1], "has 2"), ({1}, "but is a set"),
     (-1, r"in \[0, 3\)"), (None, "but is a NoneType")],
)  # fmt: skip
def test_what_is_no_target_is_told_in_words(target, words):
    with pytest.raises(UserError, match=words):
        as_targets(target, 3, ("cat", "dog", "fox"))


def test_a_slice_of_an_explanation_is_an_explanation_of_its_images():
    found = get_explainer("occlusion", small_network(), window=8)(random_images(4))
    part = found[1:3]
    assert isinstance(part, Explanation)
    assert len(part) == len(part.extras) == 2
    assert torch.equal(part.attribution, found.attribution[1:3])
    assert torch.equal(found[::2].target, found.target[::2])
    assert part.seconds == pytest.approx(found.seconds / 2)
    assert torch.equal(found[np.int64(-1)].attribution, found.attribution[3:])
    with pytest.raises(UserError, match="no image"):
        found[2:2]


# bare networks


def test_a_bare_network_is_explained_as_its_classifier_is():
    classifier, images = small_network(3), random_images(2, 3)
    expected = get_explainer("occlusion", classifier, window=8)(images, target=1)
    bare = get_explainer("occlusion", classifier.network, window=8)
    found = bare(images, target=1)
    assert torch.equal(found.attribution, expected.attribution)
    assert found.parameters == expected.parameters == bare.parameters
    assert found.method == "occlusion"
    assert bare.classifier.classes == ("class 0", "class 1", "class 2")
    assert torch.equal(bare.attribute(images, 1), get_explainer("occlusion", classifier, window=8).attribute(images, 1))


def test_names_and_normalisation_of_a_bare_network_are_options_of_the_call():
    network = small_network(1).network
    explainer = get_explainer("occlusion", network, classes=["cat", "dog", "fox"], mean=[0.5], std=[0.25], window=8)
    found = explainer(random_images(1), target="dog")
    expected = network((random_images(1) - 0.5) / 0.25).softmax(1)
    assert found.target.tolist() == [1]
    assert torch.allclose(found.probabilities, expected, atol=1e-6)
    with pytest.raises(UserError, match="no option 'windw'"):
        get_explainer("occlusion", network, windw=8)
    with pytest.raises(UserError, match="but is a int"):
        get_explainer("occlusion", 3)


def test_a_bare_function_is_explained_and_methods_that_need_gradients_say_so():
    def scores(array):
        return np.stack([array.mean((1, 2, 3)), 1 - array.mean((1, 2, 3))], 1)

    images = random_images(1, 3)
    assert torch.allclose(
        get_explainer("occlusion", scores)(images).probabilities[:, 0], images.mean((1, 2, 3)), atol=1e-5
    )
    with pytest.raises(UserError, match="needs gradients"):
        get_explainer("integrated_gradients", scores)(images)


def test_a_bare_network_of_several_outputs_asks_for_its_classes():
    class Two(nn.Module):
        def forward(self, images):
            return images.mean((2, 3)).repeat(1, 5), images.mean((2, 3))

    with pytest.raises(UserError, match="name its classes"):
        wrap_model(Two(), (3, 8, 8))
    assert wrap_model(Two(), (3, 8, 8), classes=["a", "b", "c"]).classes == ("a", "b", "c")
    assert len(wrap_model(nn.Sequential(nn.Flatten(), nn.Linear(192, 1)), (3, 8, 8)).classes) == 2


# captum


def test_captum_sensitivity_takes_an_explainer():
    metrics = pytest.importorskip("captum.metrics")
    images = random_images(1)
    for name, adapt in (("occlusion", lambda found: found), ("constant", as_captum)):
        method = adapt(get_explainer(name, small_network()))
        with torch.random.fork_rng():
            found = metrics.sensitivity_max(method.attribute, images, target=1, n_perturb_samples=2)
        assert found.shape == (1,)
        assert found.item() == 0 if name == "constant" else found.item() > 0


def test_a_tuple_of_one_tensor_gives_a_tuple_of_one_map():
    explainer, images = (
        get_explainer("occlusion", linear_classifier(torch.randn(2, 1, 8, 8)), window=4),
        torch.rand(1, 1, 8, 8),
    )
    (found,) = explainer.attribute((images,), 1)
    assert torch.equal(found, explainer.attribute(images, 1))
    with pytest.raises(UserError, match="one tensor of images, but got 2"):
        explainer.attribute((images, images), 1)


def test_a_failure_names_the_image_at_which_it_came():
    calls = []

    def moody(array):
        calls.append(len(array))
        if len(calls) > 30:
            raise RuntimeError("429 too many requests")
        return 5 * array.mean((2, 3))

    classifier = TargetClassifier(moody, ("a", "b", "c"), image_shape=(3, 32, 32))
    with pytest.raises(UserError, match=r"Image 1 \(counted from 0\) of 3: .*429 too many requests"):
        get_explainer("occlusion", classifier, window=8, stride=8, batch_size=1)(random_images(3, 3))


def test_the_adapters_take_an_explainer_of_a_bare_network():
    attr = pytest.importorskip("captum.attr")
    network, images = small_network().network, random_images(1)
    expected = get_explainer("occlusion", small_network(), window=8)(images, target=1).attribution
    explainer = get_explainer("occlusion", network, window=8)
    smooth = attr.NoiseTunnel(as_captum(explainer)).attribute(images, nt_samples=2, stdevs=1e-6, target=1)
    assert torch.allclose(smooth, expected, atol=1e-3)
    wrapped = TargetClassifier(network, ["a", "b", "c"], image_shape=(1, 32, 32))
    for found in (explainer, get_explainer("occlusion", wrapped, window=8)):
        assert np.array_equal(as_quantus(found)(network, images.numpy(), [1]), expected.numpy())
    other = small_network(seed=1).network
    with pytest.raises(UserError, match="may be another classifier"):
        as_quantus(explainer)(other, images.numpy(), [1])


class Forward(torch.nn.Module):
    """A small network that is asked in some way."""

    def __init__(self, ask):
        super().__init__()
        self.network = small_network().network
        self.ask = ask

    def forward(self, images):
        return self.ask(self.network, images)


@pytest.mark.parametrize(
    "ask",
    [
        lambda network, images: torch.no_grad()(network)(images),
        lambda network, images: torch.inference_mode()(network)(images),
        lambda network, images: network(images.detach()),
    ],
)
def test_a_network_that_computes_without_gradients_is_told_so_and_explained_by_its_scores(ask):
    images = random_images(1)
    with pytest.raises(UserError, match="gives no gradients with respect to its input"):
        get_explainer("integrated_gradients", Forward(ask))(images)
    expected = get_explainer("occlusion", small_network().network, window=16)(images).attribution
    assert torch.equal(get_explainer("occlusion", Forward(ask), window=16)(images).attribution, expected)


def test_a_network_whose_gradients_are_zero_is_questioned():
    rounding = Forward(lambda network, images: network((images * 255).round() / 255))
    with pytest.warns(UserWarning, match="were zero everywhere .*, as of one that rounds its input"):
        get_explainer("integrated_gradients", rounding)(random_images(1))


@pytest.mark.parametrize("mode", ["I", "F"])
def test_a_picture_without_a_range_is_refused_and_not_cut_off_at_255(mode):
    with pytest.raises(UserError, match=f"A picture of mode '{mode}' has no range of its own"):
        get_explainer("occlusion", small_network().network, window=16)(Image.new(mode, (32, 32), 300))
