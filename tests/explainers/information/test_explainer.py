"""Information maps through the public interface: known answers, cost, seeds, options."""

import math

import pytest
import torch
from tiny_classifiers import LinearHead, black_box, linear_classifier, names, random_images, small_network
from torch import Tensor, nn

from cae.classifiers import TargetClassifier
from cae.errors import UserError
from explainers import get_explainer
from explainers.base import Instance
from explainers.infills import SAMPLERS, FunctionSampler, Gray, Sampler
from explainers.infills.windows import grid
from explainers.information.estimates import QUANTITIES
from explainers.information.explainer import InformationMap
from explainers.information.marginalisation import InformationEngine

METHODS = ("pmi", "ig", "pda")
BACKGROUND = random_images(12, seed=9)


class Enumerating(Sampler):
    """A patch that is dark or bright, each exactly half of the time."""

    name = "enumerating"

    def sample(self, image, tops, size, n, generators):
        states = torch.tensor([0.0, 1.0]).repeat(n // 2)
        return states.view(1, n, 1, 1, 1).expand(len(tops), n, len(image), size, size)


class GaussianPatch(Sampler):
    """Independent pixels of mean 0.5 and standard deviation 0.1, never clipped."""

    name = "gaussian_patch"

    def sample(self, image, tops, size, n, generators):
        shape = (n, len(image), size, size)
        return torch.stack([0.5 + 0.1 * torch.randn(shape, generator=generator) for generator in generators])


class Original(Sampler):
    """The patch that is there."""

    name = "original"

    def sample(self, image, tops, size, n, generators):
        found = [image[:, y : y + size, x : x + size].expand(n, -1, -1, -1) for y, x in tops.tolist()]
        return torch.stack(found)


class Probit(nn.Module):
    """Two classes, ``p(1) = Phi(w.x + c)``."""

    def __init__(self, weight: Tensor, offset: float):
        super().__init__()
        self.register_buffer("weight", weight.double())
        self.offset = offset

    def forward(self, images: Tensor) -> Tensor:
        z = (images.double() * self.weight).flatten(1).sum(1) + self.offset
        return torch.stack([torch.special.log_ndtr(-z), torch.special.log_ndtr(z)], 1)


def information_map(classifier, **options) -> InformationMap:
    return get_explainer("pmi", classifier, **options)


def probit_errors(samples: int, repeats: int) -> tuple[Tensor, Tensor]:
    """Error and standard error of the PMI of one patch, over repeats, where q is known."""
    weight = torch.randn(1, 4, 4, generator=torch.Generator().manual_seed(3))
    image = random_images(1, size=4)[0]
    engine = InformationEngine(Probit(weight, -0.3), GaussianPatch(), batch_size=512)
    windows = grid((4, 4), 2, 2)[:1]
    w = weight[0, :2, :2].double()
    rest = float((image.double() * weight).sum() - (image[0, :2, :2].double() * w).sum()) - 0.3
    mean, variance = float(w.sum()) * 0.5 + rest, float((w**2).sum()) * 0.01
    log_q = math.log(0.5 * math.erfc(-mean / math.sqrt(1 + variance) / math.sqrt(2)))
    log_p = engine.image_log_probabilities(image)
    errors, bars = [], []
    for seed in range(repeats):
        table = engine.run(image, log_p, 1, windows, samples, [torch.Generator().manual_seed(seed)])
        errors.append(log_q - table.log_q[0, 1])
        bars.append((table.relative_variance[0, 1] / samples).sqrt())
    return torch.stack(errors), torch.stack(bars)


def test_two_state_patch_has_its_exact_answer():
    # logit 2 x - 1 of class 1, where the patch is the whole image of one pixel value x
    classifier = linear_classifier(torch.tensor([0.0, 2.0]).view(2, 1, 1, 1) / 16 * torch.ones(2, 1, 4, 4),
                                   torch.tensor([0.0, -1.0]))  # fmt: skip
    found = information_map(classifier, sampler=Enumerating(), window=4, samples=2)(torch.full((1, 1, 4, 4), 1.0), 1)
    dark, bright = torch.tensor([-1.0, 1.0]).sigmoid().tolist()
    assert torch.allclose(found.attribution, torch.tensor(math.log(bright / ((dark + bright) / 2))), atol=1e-6)


def test_estimate_of_a_probit_is_right_within_its_error():
    errors, bars = probit_errors(256, 20)
    assert (errors.abs() < 4 * bars).all()


def test_standard_errors_are_calibrated_and_shrink_with_the_root_of_the_draws():
    errors, bars = probit_errors(64, 400)
    covered = float((errors.abs() < 1.96 * bars).double().mean())
    assert 0.90 <= covered <= 0.98
    few = probit_errors(16, 400)[0].square().mean().sqrt()
    assert 1.6 < float(few / errors.square().mean().sqrt()) < 2.5


@pytest.mark.parametrize("name", QUANTITIES)
def test_a_window_that_the_classifier_ignores_is_at_zero(name):
    # in double precision, since single precision rounds a batch otherwise than an image alone
    weight = torch.randn(3, 1, 16, 16, generator=torch.Generator().manual_seed(0)).double()
    weight[..., 8:] = 0
    options = {"rival": 1, "group": [1]} if name in ("contrast", "group_pmi") else {}
    explainer = information_map(
        linear_classifier(weight), quantity=name, sampler=GaussianPatch(), window=4, stride=4, samples=4, **options
    )
    found = explainer(random_images(1, size=16), target=0).attribution[0, 0]
    assert found[:, 8:].abs().max() < 1e-12
    assert found[:, :8].abs().max() > 1e-4


def test_fills_equal_to_the_image_leave_the_map_at_zero():
    found = information_map(small_network(), sampler=Original(), window=8, stride=4, samples=2)(random_images(1))
    assert found.attribution.abs().max() < 1e-6


@pytest.mark.parametrize(("size", "stride"), [(8, 4), (8, 8), (4, 4)])
def test_difference_under_grey_is_captums_occlusion(size, stride):
    captum = pytest.importorskip("captum.attr")
    classifier, image = small_network(3), random_images(1, 3)
    options = {"quantity": "delta_p", "sampler": "gray", "window": size, "stride": stride}
    ours = information_map(classifier, **options)(image, target=1).attribution
    theirs = captum.Occlusion(classifier.probabilities).attribute(
        image, (3, size, size), strides=(3, stride, stride), baselines=0.5, target=1
    )
    assert torch.allclose(ours, theirs[:, :1], atol=1e-6)


def test_information_gain_maps_are_the_weighted_sum_of_all_pmi_maps():
    classifier, image = small_network(), random_images(1)
    options = {"sampler": "masked_blur", "window": 8, "stride": 8}
    probabilities = classifier.probabilities(image)[0]
    maps = [information_map(classifier, **options)(image, target=k).attribution for k in range(3)]
    gain = get_explainer("ig", classifier, **options)(image).attribution
    assert torch.allclose(gain, sum(p * m for p, m in zip(probabilities, maps, strict=True)), atol=1e-7)
    assert gain.min() > -1e-7


@pytest.mark.parametrize("name", sorted(set(SAMPLERS) - {"learned"}))
@pytest.mark.parametrize("settings", [{}, {"scales": True}, {"refine": True}, {"adaptive": True}])
def test_no_settings_of_the_program_exceed_the_budget(name, settings):
    explainer = information_map(
        linear_classifier(torch.randn(3, 1, 20, 20, generator=torch.Generator().manual_seed(0))),
        sampler=name, background=random_images(12, size=20),
        max_evaluations=900 if "scales" in settings else 500, **settings,
    )  # fmt: skip
    found = explainer(random_images(1, size=20))
    assert int(found.evaluations[0]) == found.extras[0]["forwards"] <= explainer.max_evaluations
    assert found.attribution.isfinite().all()
    assert int(found.extras[0]["coverage"].min()) >= 1


def test_default_cost_at_224_pixels_is_within_1500_evaluations():
    head = LinearHead(torch.randn(2, 3, 2, 2, generator=torch.Generator().manual_seed(0)))
    network = nn.Sequential(nn.AdaptiveAvgPool2d(2), head)
    classifier = TargetClassifier(network, names(2), image_shape=(3, 224, 224))
    image = random_images(1, 3, 224)
    sampled = information_map(classifier, sampler="marginal", background=image)(image)
    assert sampled.evaluations.tolist() == [1354]  # 169 windows, 8 fills, and the image twice
    assert get_explainer("pmi", classifier)(image).evaluations[0] <= 1500


def test_settings_beyond_the_budget_are_refused_with_their_cost():
    explainer = information_map(small_network(), sampler="marginal", background=BACKGROUND, samples=64, stride=2)
    with pytest.raises(UserError, match="take 14402 evaluations .* `max_evaluations` is 1500"):
        explainer(random_images(1))


def test_adaptive_draws_more_where_the_error_is_larger():
    weight = torch.zeros(2, 1, 16, 16)
    weight[1, :, :4, :4] = 0.5
    explainer = information_map(
        linear_classifier(weight),
        sampler=GaussianPatch(),
        window=4,
        stride=4,
        samples=16,
        adaptive=True,
        tolerance=0.01,
    )
    used = explainer(random_images(1, size=16), target=0).extras[0]["table"][0]["n_used"]
    assert int(used[0]) > 4
    assert (used[1:] == 4).all()


def test_common_noise_is_the_same_in_every_window():
    seen = []

    def paint(image, mask, n, generator):
        noise = torch.rand(n, 1, 1, 1, generator=generator).expand(n, *image.shape)
        seen.append(float(noise[0, 0, 0, 0]))
        return noise

    for common, kinds in ((True, 1), (False, 16)):
        seen.clear()
        options = {"sampler": paint, "window": 8, "stride": 8, "samples": 2, "common_noise": common}
        information_map(small_network(), **options)(random_images(1))
        assert len(set(seen)) == kinds


def test_corrected_map_and_errors_come_with_the_map():
    options = {"sampler": "marginal", "background": BACKGROUND, "window": 8, "stride": 8, "samples": 4}
    plain = information_map(small_network(), **options)(random_images(1))
    extras = plain.extras[0]
    assert extras["se"].shape == extras["corrected"].shape == extras["coverage"].shape == (1, 32, 32)
    assert (extras["corrected"] <= plain.attribution[0]).all()  # the bias is upwards
    corrected = information_map(small_network(), bias="delta", **options)(random_images(1))
    assert torch.equal(corrected.attribution[0], extras["corrected"])
    assert extras["sampler"]["name"] == "marginal"
    assert extras["table"][0]["log_q"].shape == (16, 3)


def test_several_scales_give_a_map_each_and_their_mean():
    found = information_map(small_network(), scales=[(16, 8, 1), (8, 8, 1)])(random_images(1))
    assert torch.allclose(torch.stack(found.extras[0]["scales"]).mean(0), found.attribution[0], atol=1e-7)
    largest = information_map(small_network(), scales=[(16, 8, 1), (8, 8, 1)], combine="largest")(random_images(1))
    assert torch.allclose(largest.attribution[0].abs(), torch.stack(found.extras[0]["scales"]).abs().amax(0), atol=1e-7)


def test_refinement_replaces_the_map_where_it_is_strongest_and_says_how_much():
    weight = torch.zeros(2, 1, 32, 32)
    weight[1, :, 3, 4] = 20.0
    options = {"sampler": "gray", "window": 8, "stride": 8, "max_evaluations": 58}
    found = information_map(linear_classifier(weight), refine=True, **options)(random_images(1))
    plain = information_map(linear_classifier(weight), **options)(random_images(1))
    assert 0 < found.extras[0]["refined"] < 1
    changed = (found.attribution != plain.attribution)[0, 0]
    assert changed[:8, :8].any()
    assert not changed[16:, 16:].any()


def test_black_box_of_probabilities_counts_what_it_could_not_take_logarithms_of():
    def certain(images):
        bright = (images.mean((1, 2, 3)) > 0.3).astype("float32")
        return torch.stack([1 - torch.from_numpy(bright), torch.from_numpy(bright)], 1).numpy()

    classifier = TargetClassifier(certain, names(2), image_shape=(1, 8, 8), scores="probabilities")
    found = information_map(classifier, sampler="gray", window=4)(random_images(1, size=8))
    assert found.extras[0]["clamped"] > 0
    assert found.attribution.isfinite().all()
    logits = information_map(black_box(), sampler="gray", window=16)(random_images(1))
    assert logits.extras[0]["clamped"] == 0


def test_rival_is_the_runner_up_unless_named():
    classifier, image = small_network(), random_images(1)
    order = classifier.probabilities(image)[0].argsort(descending=True)
    options = {"quantity": "contrast", "window": 16}
    named = information_map(classifier, rival=f"class {int(order[1])}", **options)(image)
    assert torch.equal(information_map(classifier, **options)(image).attribution, named.attribution)


def test_noise_of_an_image_is_its_own():
    instance = Instance(random_images(1)[0], 0, torch.ones(3) / 3, seed=5)
    draws = [torch.rand(1, generator=instance.generator(0, m)) for m in (0, 1, 0)]
    assert draws[0] != draws[1]
    assert draws[0] == draws[2]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"quantity": "pni"}, "`quantity` must be one of .*did you mean 'pmi'"),
        ({"sampler": "gausian"}, "`sampler` must be one of .*did you mean 'gaussian'"),
        ({"sampler": "gaussian"}, "`sampler=gaussian` is made from training images"),
        ({"sampler": "learned"}, "`sampler=learned` is read from a run folder"),
        ({"bias": "some"}, "`bias` must be one of none, delta, jackknife"),
        ({"bias": "jackknife", "samples": 2}, "needs at least 3 `samples`"),
        ({"quantity": "group_pmi"}, "needs `group`"),
        ({"window": 0}, "`window` must be at least 1"),
        ({"scales": True, "window": 8}, "`scales` sets windows"),
        ({"tolerance": 0}, "`tolerance` must be above 0"),
    ],
)
def test_options_that_make_no_sense_are_refused_in_words(options, words):
    with pytest.raises(UserError, match=words):
        information_map(small_network(), **options)


def test_in_painters_of_the_user_are_checked():
    def too_bright(image, mask, n, generator):
        return torch.full((n, *image.shape), 2.0)

    with pytest.raises(UserError, match=r"'too_bright' must give values in \[0, 1\], but gave 2 to 2"):
        information_map(small_network(), sampler=too_bright, samples=2)(random_images(1))
    with pytest.raises(UserError, match="must give a tensor of shape"):
        information_map(small_network(), sampler=FunctionSampler(lambda *_: torch.zeros(3)), samples=2)(
            random_images(1)
        )


def test_parameters_name_the_in_fill():
    assert information_map(small_network(), sampler=Gray()).parameters["sampler"] == "gray"
    assert get_explainer("pda", small_network(), background=BACKGROUND).parameters["quantity"] == "woe"
