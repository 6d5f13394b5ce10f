"""The learned in-fill: its likelihoods, its training, its file."""

import copy
import json
import math

import pytest
import torch
from tiny_classifiers import random_images, small_network

from cae.config.command_line import load_config
from cae.data import CAEDataModule, Splits
from cae.data.arrays import ArraySet
from cae.errors import UserError
from cae.files import read_json
from explainers import get_explainer
from explainers.infills import likelihood
from explainers.infills.learned import LearnedSampler
from explainers.infills.patch_distribution import PatchDistribution
from explainers.infills.training import train_sampler
from explainers.infills.training_module import PatchTrainingModule
from explainers.infills.windows import at_border

TINY = (
    "data.image_size=16", "data.batch_size=16", "sampler.window=4", "sampler.width=8", "sampler.crops=32",
    "sampler.validate_every=20", "sampler.validation_crops=200", "sampler.warmup_steps=5", "logging.every=5",
    "logging.progress=false", "trainer.accelerator=cpu", "trainer.threads=1",
)  # fmt: skip


def data_of(images, config):
    data = CAEDataModule(config.data)
    third = len(images) // 3
    parts = images.split([len(images) - 2 * third, third, third])
    sets = [
        ArraySet(part, torch.arange(len(part)) % 2, [f"{name}/{k}" for k in range(len(part))])
        for name, part in zip(("train", "val", "test"), parts, strict=True)
    ]
    data._splits = Splits(*sets, ("one", "two"))
    return data


def trained(images, folder, *options):
    config = load_config(overrides=[*TINY, *options])
    return train_sampler(config, data_of(images, config), folder)


@pytest.mark.parametrize("option", ["weight_decay", "gradient_clip", "ema"])
def test_an_option_that_is_gone_is_passed_over_in_older_runs_and_explained_in_recipes(option):
    former = [*TINY, f"sampler.{option}=0.5"]
    assert load_config(overrides=former, former=True) == load_config(overrides=TINY, former=True)
    with pytest.raises(UserError, match=f"'sampler.{option}' no longer exists: the .*learned in-fill"):
        load_config(overrides=former)


def test_equal_logits_take_eight_bits():
    patches = random_images(5, 3, 8)
    bits = likelihood.categorical_bits(torch.zeros(5, 3 * 256, 8, 8), patches)
    assert torch.allclose(bits, torch.full((5,), 8.0), atol=1e-5)


def test_a_certain_level_takes_no_bits_and_is_drawn():
    patches = torch.tensor([3 / 255, 250 / 255]).view(2, 1, 1, 1).expand(2, 1, 4, 4)
    outputs = torch.zeros(2, 256, 4, 4)
    outputs[0, 3] = outputs[1, 250] = 100.0
    assert likelihood.categorical_bits(outputs, patches).abs().max() < 1e-6
    uniform = torch.rand(2, 6, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    drawn = likelihood.categorical_draws(outputs, uniform)
    assert torch.allclose(drawn, patches[:, None].expand_as(drawn), atol=1e-6)


def test_categorical_draws_follow_the_probabilities():
    outputs = torch.full((1, 256, 1, 1), -1e9)
    outputs[0, [10, 20, 30], 0, 0] = torch.tensor([0.2, 0.3, 0.5]).log()
    uniform = torch.rand(1, 20_000, 1, 1, 1, generator=torch.Generator().manual_seed(0))
    levels = (likelihood.categorical_draws(outputs, uniform) * 255).round().flatten()
    shares = [float((levels == level).float().mean()) for level in (10, 20, 30)]
    assert shares == pytest.approx([0.2, 0.3, 0.5], abs=0.015)


def test_lowrank_bits_are_at_least_the_entropy_of_a_gaussian():
    dimension, generator = 16, torch.Generator().manual_seed(0)
    factor = 0.05 * torch.randn(dimension, 2, generator=generator)
    covariance = factor @ factor.T + 0.05**2 * torch.eye(dimension)
    values = torch.randn(4000, dimension, generator=generator) @ torch.linalg.cholesky(covariance).T + 0.5
    outputs = torch.zeros(1, dimension, 2 + 2)
    outputs[..., 1] = math.log(0.05 - likelihood.LEAST_DEVIATION) + 2
    outputs[..., 2:] = factor * 16
    outputs = outputs.transpose(1, 2).reshape(1, 4, 4, 4).expand(4000, -1, -1, -1)
    patches = values.view(-1, 1, 4, 4).clamp(0, 1)
    bits = likelihood.lowrank_bits(outputs, patches, torch.rand(patches.shape, generator=generator)).mean()
    exact = float(torch.logdet(2 * math.pi * math.e * covariance)) / 2 / math.log(2) / dimension + 8
    assert exact - 0.02 <= float(bits) <= exact + 0.05
    wrong = likelihood.lowrank_bits(outputs.flip(2), patches, torch.rand(patches.shape, generator=generator)).mean()
    assert wrong > bits


def test_lowrank_draws_have_the_covariance_of_the_head():
    outputs = torch.randn(1, 5, 2, 2, generator=torch.Generator().manual_seed(1)) * 0.5
    outputs[:, 0], outputs[:, 1] = 0, outputs[:, 1] - 1.5  # so that nothing is clipped
    found = likelihood.lowrank(outputs, 1)
    normal = torch.randn(1, 50_000, 4 + 3, generator=torch.Generator().manual_seed(2))
    drawn = likelihood.lowrank_draws(outputs, 1, normal)
    inside = ((drawn > 0) & (drawn < 1)).flatten(2).all(2)
    assert inside.float().mean() > 0.95
    covariance = torch.cov(drawn.flatten(2)[0].T) * (255 / 256) ** 2
    assert torch.allclose(covariance, found.covariance_matrix[0], atol=0.05 * float(covariance.max()))


def test_histogram_bits_of_uniform_levels_are_eight():
    images = (torch.arange(256 * 64) % 256).view(1, 1, 128, 128) / 255
    bits = likelihood.histogram_bits(likelihood.level_counts(images), images)
    assert bits.tolist() == pytest.approx([8.0], abs=1e-6)


@pytest.mark.parametrize("architecture", ["unet", "published"])
@pytest.mark.parametrize("head", ["categorical", "lowrank"])
def test_network_does_not_look_at_the_window(architecture, head):
    distribution = PatchDistribution(1, 4, architecture, head, width=8, factors=2).eval()
    images = random_images(2, size=16)
    rows, tops = torch.tensor([0, 1]), torch.tensor([[0, 0], [5, 12]])
    other = images.clone()
    other[0, :, :4, :4] = other[1, :, 5:9, 12:] = 0.123
    with torch.no_grad():
        assert torch.equal(distribution(images, rows, tops), distribution(other, rows, tops))
        other[1, :, 4] = 0.9
        assert not torch.equal(distribution(images, rows, tops)[1], distribution(other, rows, tops)[1])


def test_published_network_has_the_published_size():
    weights = sum(weight.numel() for weight in PatchDistribution(3, 8, "published").parameters())
    assert weights == pytest.approx(38.9e6, rel=0.01)
    with pytest.raises(UserError, match="windows of 4 or 8 pixels, but got 32"):
        PatchDistribution(3, 32, "published")


def test_border_is_where_the_context_leaves_the_image():
    tops = torch.tensor([[4, 4], [3, 4], [8, 8], [8, 9]])
    assert at_border(tops, (16, 16), 4).tolist() == [False, True, False, True]


def test_constant_images_are_learned_to_a_tenth_of_a_bit(tmp_path):
    metrics = trained(torch.full((30, 1, 16, 16), 0.4), tmp_path, "sampler.max_steps=60", "sampler.learning_rate=0.01")
    assert metrics["sampler/bits"] < 0.1
    assert metrics["sampler/bits_uniform"] == 8


@pytest.mark.slow
def test_uniform_noise_stays_at_eight_bits(tmp_path):
    noise = torch.randint(0, 256, (600, 1, 16, 16), generator=torch.Generator().manual_seed(0)) / 255
    assert trained(noise, tmp_path, "sampler.max_steps=150")["sampler/bits"] == pytest.approx(8.0, abs=0.02)


def test_training_writes_what_the_map_reads(tmp_path):
    images = random_images(36, size=16)
    metrics = trained(images, tmp_path, "sampler.max_steps=20", "sampler.head=lowrank")
    assert read_json(tmp_path / "metrics.json") == metrics
    assert {"sampler/bits_gaussian", "sampler/bits_diagonal_gaussian", "sampler/bits_histogram"} <= metrics.keys()
    card = json.loads((tmp_path / "sampler.json").read_text())
    assert card["bits"] == metrics["sampler/bits"]
    explainer = get_explainer("pmi", small_network(size=16), sampler="learned", folder=tmp_path, samples=2)
    found = explainer(images[:1])
    assert found.extras[0]["sampler"]["bits"] == metrics["sampler/bits"]
    assert found.extras[0]["table"][0]["boxes"][0].tolist() == [0, 0, 4, 4]  # the window that it was trained for
    again = get_explainer("pmi", small_network(size=16), sampler="learned", folder=tmp_path, samples=2, batch_size=7)
    assert torch.allclose(again(images[:1]).attribution, found.attribution, rtol=1e-3, atol=1e-6)
    with pytest.raises(UserError, match="trained for windows of 4 pixels, but is asked for 8"):
        get_explainer("pmi", small_network(size=16), sampler="learned", folder=tmp_path, window=8)(images[:1])
    with pytest.raises(UserError, match="no learned in-fill at"):
        LearnedSampler.load(tmp_path / "nowhere")


def test_a_continued_training_ends_where_an_undisturbed_one_does(tmp_path):
    images = random_images(36, size=16)
    config = load_config(overrides=[*TINY, "sampler.max_steps=40"])
    train_sampler(config, data_of(images, config), tmp_path / "whole")
    stopped = copy.deepcopy(config)

    class Stop(Exception):
        pass

    def stop_at_30(module, *_):
        if module.global_step == 30:
            raise Stop

    with pytest.MonkeyPatch.context() as patch:
        begin = PatchTrainingModule.on_train_batch_start
        patch.setattr(
            PatchTrainingModule, "on_train_batch_start", lambda self, *args: (stop_at_30(self), begin(self, *args))[1]
        )
        with pytest.raises(Stop):
            train_sampler(stopped, data_of(images, stopped), tmp_path / "parts")
    last = tmp_path / "parts" / "sampler_checkpoints" / "last.ckpt"
    train_sampler(config, data_of(images, config), tmp_path / "parts", last)
    one, two = (LearnedSampler.load(tmp_path / name).distribution.state_dict() for name in ("whole", "parts"))
    assert all(torch.equal(one[key], two[key]) for key in one)
