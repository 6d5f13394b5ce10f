from itertools import pairwise

import pytest
import torch
from tiny_classifiers import black_box, names, random_images, small_network
from torch import nn

from cae.classifiers import TargetClassifier
from cae.errors import UserError
from explainers import Explainer, InstanceResult, get_explainer
from explainers.metrics import explainer_checks
from explainers.metrics.robustness import seed_change, sensitivity_max
from explainers.metrics.sanity import likeness, map_similarity, mprt, random_logit, randomised


class InputGradient(Explainer):
    name = "gradient of the logit"
    needs_gradients = True

    def explain_image(self, instance):
        with torch.enable_grad():
            image = instance.image[None].clone().requires_grad_()
            (gradient,) = torch.autograd.grad(self.classifier.logits(image)[0, instance.target], image)
        return InstanceResult(gradient[0].sum(0))


class Echo(Explainer):
    """The image itself, times a constant that the constructor takes."""

    name = "echo"

    def __init__(self, classifier, *, batch_size=64, factor=2.0):
        super().__init__(classifier, batch_size=batch_size)
        self.factor = factor

    def explain_image(self, instance):
        return InstanceResult(self.factor * instance.image.mean(0))


class Tokens(nn.Module):
    """Has what no layer resets: a token, a layer scale, and a statistic of its own."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(1, 4, 3)
        self.norm = nn.BatchNorm2d(4)
        self.scale = nn.Parameter(torch.full((1,), 0.5))
        self.token = nn.Parameter(torch.randn(4))
        self.register_buffer("running", torch.rand(4))
        self.head = nn.Linear(4, 3)

    def forward(self, images):
        return self.head(self.scale * self.norm(self.first(images)).mean((2, 3)) + self.token + self.running)


def trained_tokens() -> TargetClassifier:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = Tokens()
        with torch.no_grad():
            for tensor in network.state_dict().values():
                if tensor.is_floating_point():
                    tensor.add_(0.1 * torch.rand(tensor.shape))
    return TargetClassifier(network, names(3), image_shape=(1, 16, 16))


def test_full_reset_changes_every_tensor_and_leaves_the_original_alone():
    classifier = trained_tokens()
    digest, state = classifier.fingerprint(), torch.get_rng_state()
    before = {name: tensor.clone() for name, tensor in classifier.network.state_dict().items()}
    after = randomised(classifier, stage=5).network.state_dict()
    same = [name for name in before if torch.equal(before[name], after[name])]
    assert same == ["norm.num_batches_tracked"]
    assert all(tensor.isfinite().all() for tensor in after.values())
    assert classifier.fingerprint() == digest
    assert torch.equal(torch.get_rng_state(), state)


def test_first_stage_resets_the_head_alone_and_stages_build_on_each_other():
    classifier = trained_tokens()
    before = classifier.network.state_dict()
    stages = [randomised(classifier, stage).network.state_dict() for stage in range(1, 6)]
    changed = [{name for name in before if not torch.equal(before[name], state[name])} for state in stages]
    assert changed[0] == {"head.weight", "head.bias"}
    assert all(small <= large for small, large in pairwise(changed))
    assert torch.equal(stages[0]["head.weight"], stages[4]["head.weight"])
    again = randomised(classifier, 5).network.state_dict()
    assert all(torch.equal(stages[4][name], again[name]) for name in again)
    other = randomised(classifier, 5, seed=1).network.state_dict()
    assert not torch.equal(stages[4]["token"], other["token"])


def test_edges_survive_randomisation_and_input_gradients_do_not():
    classifier = small_network(size=32)
    images = random_images(2)
    edges = mprt(get_explainer("edges", classifier), images, [0, 1])
    gradients = mprt(InputGradient(classifier), images, [0, 1])
    for row in edges:
        assert row == pytest.approx(dict.fromkeys(row, 1.0))
    assert all(row["mprt_last"] < 0.5 for row in gradients)
    assert all(row["mprt_abs_last"] < 0.8 for row in gradients)


def test_twin_keeps_the_settings_of_the_method():
    (row,) = mprt(Echo(small_network(), factor=3.0), random_images(1), [0])
    assert row["mprt_ssim"] == pytest.approx(1)


def test_black_boxes_have_no_parameters_to_randomise():
    with pytest.raises(UserError, match="a black box does not show"):
        randomised(black_box(), 1)
    (row,) = explainer_checks(get_explainer("edges", black_box()), random_images(1))
    assert row["mprt"] is None
    assert row["seed_change"] == 0


def test_seed_change_is_zero_without_randomness_and_large_for_noise():
    image = random_images(1)[0]
    assert seed_change(get_explainer("centre", small_network()), image, 0) == 0
    # two independent uniform maps: sqrt(2 * (1/12)) / sqrt(1/3)
    assert seed_change(get_explainer("random", small_network()), image, 0) == pytest.approx(0.5**0.5, abs=0.05)


def test_sensitivity_of_a_map_that_follows_the_image():
    image = torch.full((1, 32, 32), 0.5)
    change = sensitivity_max(Echo(small_network()), image, 0, samples=5)
    # uniform noise in [-r, r] has a spread of r / sqrt(3)
    assert change == pytest.approx(0.02 / 3**0.5 / 0.5, rel=0.1)
    assert change == sensitivity_max(Echo(small_network()), image, 0, samples=5)
    assert sensitivity_max(get_explainer("centre", small_network()), image, 0) == 0
    assert sensitivity_max(Echo(small_network(), factor=0.0), image, 0) is None


def test_another_class_is_another_map_where_the_method_knows_classes():
    image = random_images(1)[0]
    assert random_logit(Echo(small_network()), image, 0) == pytest.approx(1)
    assert random_logit(InputGradient(small_network()), image, 0) < 0.99
    assert random_logit(get_explainer("edges", small_network()), image, 0) is None


def test_likeness_of_maps_that_do_not_vary_is_undefined():
    image = random_images(1)[0, 0]
    assert likeness(image, torch.ones(32, 32))["mprt"] is None
    assert map_similarity(image, torch.zeros(32, 32)) is None
    assert map_similarity(image[:5, :5], image[:5, :5]) is None
    assert likeness(image, -image)["mprt"] == pytest.approx(-1)


def test_checks_give_one_row_per_image():
    rows = explainer_checks(InputGradient(small_network()), random_images(2))
    assert len(rows) == 2
    assert set(rows[0]) == {"sensitivity_max", "seed_change", "mprt", "mprt_abs", "mprt_ssim", "mprt_last",
                            "mprt_abs_last", "mprt_ssim_last", "random_logit"}  # fmt: skip
