"""What every registered explainer keeps, whatever its method."""

import warnings
from functools import cache

import numpy as np
import pytest
import torch
from tiny_classifiers import black_box, random_images, small_network

from cae.errors import UserError
from explainers import Explanation, get_explainer, list_explainers
from explainers.base import image_seed
from explainers.registry import EXPLAINERS, Entry, explainer_class, options_of

# the cheapest settings of each method that still do all it does
QUICK: dict[str, dict] = {
    "pmi": {"window": 8, "stride": 8, "samples": 2},
    "ig": {"window": 8, "stride": 8, "samples": 2},
    "pda": {"window": 8, "stride": 8, "samples": 2},
    "integrated_gradients": {"steps": 7},
    "smoothgrad": {"samples": 7},
    "occlusion": {"window": 8},
    "lime": {"samples": 20, "segments": 9},
    "rise": {"masks": 20},
    "multirex": {"budget": 60},
    "multirex_published": {"iterations": 2, "spotlights": 2, "moves": 2, "chunk": 40, "budget": 150},
    "shearletx": {"steps": 2, "samples": 2},
    "waveletx": {"steps": 2, "samples": 2},
    "cartoonx": {"steps": 2, "samples": 2},
    "pixelmask": {"steps": 2, "samples": 2},
    "smoothmask": {"steps": 2, "samples": 2},
    "shearletx_published": {"steps": 2, "samples": 2},
    "waveletx_published": {"steps": 2, "samples": 2},
    "cartoonx_published": {"steps": 2, "samples": 2},
    "pixelmask_published": {"steps": 2, "samples": 2},
    "smoothmask_published": {"steps": 2, "samples": 2},
}
# methods that explain what a run holds, tested in a module of their own
NEEDS_RUN = {"cae"}
NAMES = sorted(set(EXPLAINERS) - NEEDS_RUN)


@cache
def classifier(channels: int):
    return small_network(channels)


def explainer(name: str, channels: int = 1, **options):
    if "background" in explainer_class(name).resources:
        options["background"] = random_images(40, channels, seed=9)
    return get_explainer(name, classifier(channels), **{**QUICK.get(name, {}), **options})


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", NAMES)
def test_one_map_per_image_of_finite_numbers(name, channels):
    images = random_images(2, channels)
    found = explainer(name, channels)(images)
    assert isinstance(found, Explanation)
    assert found.attribution.device == found.probabilities.device == images.device
    assert found.attribution.shape == (2, 1, 32, 32)
    assert found.attribution.dtype == torch.float32
    assert found.attribution.isfinite().all()
    assert found.method == name
    assert found.target.tolist() == found.probabilities.argmax(1).tolist()


@pytest.mark.parametrize("name", NAMES)
def test_same_seed_same_answer_at_any_batch_size_alone_or_in_company(name):
    images = random_images(2)
    first = explainer(name, batch_size=64)(images, seed=5)
    for size in (1, 3):
        again = explainer(name, batch_size=size)(images[1:], seed=5)
        # float32 arithmetic of another batch size differs in the last digits
        assert torch.allclose(first.attribution[1:], again.attribution, rtol=1e-3, atol=1e-5)
        assert again.evaluations.tolist() == first.evaluations[1:].tolist()


@pytest.mark.parametrize("name", NAMES)
def test_no_forward_pass_exceeds_the_batch_size(name, monkeypatch):
    sizes = []
    target = classifier(1)
    preprocess = target.preprocess.forward
    monkeypatch.setattr(target.preprocess, "forward", lambda images: sizes.append(len(images)) or preprocess(images))
    explainer(name, batch_size=5)(random_images(1))
    assert max(sizes) <= 5


@pytest.mark.parametrize("name", NAMES)
def test_images_classifier_and_global_randomness_stay_as_they_are(name):
    images, target = random_images(1), classifier(1)
    copy, digest, state = images.clone(), target.fingerprint(), torch.get_rng_state()
    before = target.evaluations
    found = explainer(name)(images)
    assert torch.equal(images, copy)
    assert target.fingerprint() == digest
    assert not target.training
    assert all(weight.grad is None for weight in target.parameters())
    assert torch.equal(torch.get_rng_state(), state)
    assert int(found.evaluations.sum()) == target.evaluations - before


@pytest.mark.parametrize("name", NAMES)
def test_target_that_is_no_class_is_named(name):
    with pytest.raises(UserError, match=r"`target` must be in \[0, 3\), but got 3"):
        explainer(name)(random_images(1), target=3)
    with pytest.raises(UserError, match="did you mean 'class 1'"):
        explainer(name)(random_images(1), target="clas 1")


@pytest.mark.parametrize("name", NAMES)
def test_black_box_is_explained_or_refused_in_words(name):
    options = dict(QUICK.get(name, {}))
    if "background" in explainer_class(name).resources:
        options["background"] = random_images(40, seed=9)
    if explainer_class(name).needs_gradients:
        with pytest.raises(UserError, match="needs gradients"):
            get_explainer(name, black_box(), **options)
    else:
        assert get_explainer(name, black_box(), **options)(random_images(1)).attribution.isfinite().all()


@pytest.mark.parametrize("name", NAMES)
def test_file_is_the_exact_inverse(name, tmp_path):
    found = explainer(name)(random_images(2))
    found.save(tmp_path / "found.safetensors")
    read = Explanation.load(tmp_path / "found.safetensors")
    assert torch.equal(read.attribution, found.attribution)
    assert torch.equal(read.evaluations, found.evaluations)
    assert (read.method, read.parameters, read.seconds) == (found.method, found.parameters, found.seconds)
    for mine, theirs in zip(read.extras, found.extras, strict=True):
        assert_same(mine, dict(theirs))


def assert_same(mine, theirs):
    if isinstance(theirs, torch.Tensor):
        assert torch.equal(mine, theirs.cpu())
        assert mine.dtype == theirs.dtype
    elif isinstance(theirs, dict):
        assert list(mine) == list(theirs)
        for key in mine:
            assert_same(mine[key], theirs[key])
    elif isinstance(theirs, (list, tuple)):
        assert len(mine) == len(theirs)
        for one, other in zip(mine, theirs, strict=True):
            assert_same(one, other)
    else:
        assert mine == theirs


def test_unknown_method_and_option_name_the_nearest():
    with pytest.raises(UserError, match="did you mean 'random'"):
        get_explainer("randm", classifier(1))
    with pytest.raises(UserError, match="did you mean 'batch_size'"):
        get_explainer("random", classifier(1), batchsize=3)


@pytest.mark.parametrize(
    ("images", "words"),
    [
        (torch.zeros(1, 2, 8, 8), "C = 1 or 3"),
        (torch.zeros(1, 1, 8, 8, dtype=torch.uint8), "divide 8-bit images by 255"),
        (torch.full((1, 1, 8, 8), 255.0), "reach from 255 to 255"),
        (torch.full((1, 1, 8, 8), float("nan")), "reach from nan"),
    ],
)
def test_images_of_another_form_are_refused_in_words(images, words):
    with pytest.raises(UserError, match=words):
        explainer("constant")(images)


def test_seed_of_an_image_follows_from_seed_and_pixels():
    one, two = random_images(2)
    assert image_seed(one, 0) == image_seed(one.clone(), 0)
    assert len({image_seed(one, 0), image_seed(one, 1), image_seed(two, 0)}) == 3


def test_every_entry_of_the_table_is_there_and_documented():
    for name, entry in EXPLAINERS.items():
        assert isinstance(entry, Entry)
        assert explainer_class(name).__doc__
        assert set(entry.settings) <= set(options_of(name))
    assert list(list_explainers()) == list(EXPLAINERS)


@pytest.mark.parametrize("name", NAMES)
def test_captum_smooths_and_judges_any_explainer(name):
    attr, metrics = pytest.importorskip("captum.attr"), pytest.importorskip("captum.metrics")
    from explainers.adapters import as_captum

    images, method = random_images(1), explainer(name)

    def erase(inputs):
        mask = torch.zeros_like(inputs)
        mask[..., :16] = 1
        return mask, inputs * (1 - mask)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        smooth = attr.NoiseTunnel(as_captum(method)).attribute(images, nt_samples=2, stdevs=0.01, target=0)
        judged = metrics.infidelity(
            classifier(1).probabilities, erase, images, method.attribute(images, 0), target=0, n_perturb_samples=2
        )
    assert smooth.shape == images.shape
    assert smooth.isfinite().all()
    assert judged.shape == (1,)
    assert judged.isfinite().all()


# Quantus refuses a map that is one everywhere
@pytest.mark.parametrize("name", sorted(set(NAMES) - {"constant"}))
def test_three_quantus_metrics_take_any_explainer(name):
    quantus = pytest.importorskip("quantus", exc_type=ImportError)
    from explainers.adapters import as_quantus

    settings = {
        "FaithfulnessCorrelation": {"nr_runs": 3, "subset_size": 64, "return_aggregate": False},
        "Sparseness": {},
        "Complexity": {},
    }
    varied = 0 if name == "multirex_published" else 2  # a class whose map is not the same, or negative, everywhere
    explain = as_quantus(explainer(name))
    for metric, options in settings.items():
        measure = getattr(quantus, metric)(disable_warnings=True, display_progressbar=False, **options)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a map that is the same everywhere has no correlation
            scores = measure(
                model=classifier(1), x_batch=random_images(1).numpy(), y_batch=np.array([varied]), a_batch=None,
                explain_func=explain, device="cpu",
            )  # fmt: skip
        assert len(scores) == 1
