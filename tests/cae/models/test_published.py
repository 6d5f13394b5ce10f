"""The published network and losses: exact counts, exact formulas, and a tiny version that trains."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import nn

from cae.errors import UserError
from cae.models import published as reference
from cae.models.cae import Codes
from cae.models.published_networks import LayerNorm, PublishedDiscriminator, adaptive_instance_norm
from cae.training import published_losses


def count(*modules: nn.Module) -> int:
    return sum(parameter.numel() for module in modules for parameter in module.parameters())


@pytest.fixture(scope="module")
def full_size():
    """The published sizes without memory: shapes and counts only."""
    with torch.device("meta"):
        return reference.PublishedCAE(), PublishedDiscriminator(classes=2)


@pytest.fixture
def tiny():
    torch.manual_seed(0)
    cae = reference.PublishedCAE((1, 32, 32), class_dim=3, width=4, blocks=1)
    return cae, PublishedDiscriminator(classes=3, channels=1, width=4)


@pytest.fixture
def images():
    generator = torch.Generator().manual_seed(1)
    return torch.rand(2, 1, 32, 32, generator=generator), torch.rand(2, 1, 32, 32, generator=generator)


# --- the published network


def test_generator_has_the_published_number_of_parameters(full_size):
    cae, _ = full_size
    decoder = cae.decoder
    assert count(cae.encoders.class_encoder) == 2_764_936
    assert count(cae.encoders.individual_encoder) == 7_746_176
    assert count(decoder.blocks, decoder.upsampling) == 8_114_947
    assert count(decoder.mlp) == 1_647_104
    assert count(cae) == 20_273_163


def test_discriminator_has_the_published_number_of_parameters(full_size):
    _, discriminator = full_size
    assert count(discriminator.body) == 12_195_776
    assert count(discriminator.head) == 131_328 + 257 * 4
    assert count(discriminator) == 12_328_132


@pytest.mark.parametrize("classes", [1, 5, 10])
def test_discriminator_grows_by_257_parameters_a_class(classes):
    with torch.device("meta"):
        assert count(PublishedDiscriminator(classes)) == 12_327_104 + 257 * (2 + classes)


@pytest.mark.parametrize(("width", "side"), [(4, 256), (64, 32)])  # published side, published width: both is too slow
def test_published_shapes(width, side):
    cae = reference.PublishedCAE((3, side, side), width=width).eval()
    discriminator = PublishedDiscriminator(classes=2, width=width).eval()
    images = torch.rand(2, 3, side, side, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        codes = cae.encode(images)
        assert codes.class_code.shape == (2, 8)
        assert codes.individual_code.shape == (2, 4 * width, side // 4, side // 4)
        assert cae.decode(codes.class_code, codes.individual_code).shape == (2, 3, side, side)
        assert discriminator(images).shape == (2, 4)
        assert cae.encoders.class_encoder.body(images).shape == (2, 8, side // 16, side // 16)
        assert discriminator.body(images).shape == (2, 8 * width, side // 16, side // 16)


def test_class_dim_and_width_really_change_the_network(tiny, images):
    cae, discriminator = tiny
    codes = cae.encode(images[0])
    assert cae.class_dim == 3
    assert codes.class_code.shape == (2, 3)
    assert codes.individual_code.shape == (2, 16, 8, 8)
    assert cae.decoder.mlp[0].in_features == 3
    assert discriminator(images[0]).shape == (2, 5)


def test_convolutions_pad_by_reflection_and_start_as_published():
    torch.manual_seed(0)
    cae, discriminator = reference.PublishedCAE((3, 32, 32), width=32), PublishedDiscriminator(2, width=32)
    for module in [*cae.modules(), *discriminator.modules()]:
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            assert not module.bias.any()
        if isinstance(module, nn.Conv2d) and module.kernel_size != (1, 1):
            assert module.padding_mode == "reflect"
    kaiming = cae.decoder.blocks[0].first.weight
    assert kaiming.std().item() == pytest.approx(math.sqrt(2 / (128 * 9)), rel=0.02)
    assert discriminator.body[6].weight.std().item() == pytest.approx(0.02, rel=0.02)
    gain = cae.decoder.upsampling[2].gain
    assert 0 <= gain.min() < 0.2 < 0.8 < gain.max() <= 1


# --- norms


def test_adain_sets_mean_to_bias_and_deviation_to_gain():
    torch.manual_seed(0)
    features = (3 * torch.randn(2, 4, 8, 8) + 5).double()
    gain, bias = torch.randn(2, 4).double(), torch.randn(2, 4).double()
    result = adaptive_instance_norm(features, gain, bias)
    variance = features.var((2, 3), unbiased=False)
    torch.testing.assert_close(result.mean((2, 3)), bias)
    torch.testing.assert_close(result.std((2, 3), unbiased=False), gain.abs() * (variance / (variance + 1e-5)).sqrt())
    torch.testing.assert_close(adaptive_instance_norm(features[1:], gain[1:], bias[1:]), result[1:])


def test_adain_values_are_bias_then_gain_of_each_norm_in_network_order(tiny):
    decoder = tiny[0].decoder
    with torch.no_grad():
        decoder.mlp[-1].weight.zero_()
        decoder.mlp[-1].bias.copy_(torch.arange(64.0))
    gain, bias = decoder.modulation(torch.rand(1, 3))
    assert bias[0, 0, 0].tolist() == list(range(16))
    assert gain[0, 0, 0].tolist() == list(range(16, 32))
    assert bias[0, 0, 1].tolist() == list(range(32, 48))
    assert gain[0, 0, 1].tolist() == list(range(48, 64))


def test_layer_norm_divides_by_the_unbiased_deviation_of_the_whole_image():
    torch.manual_seed(0)
    norm, features = LayerNorm(3).double(), torch.randn(2, 3, 4, 4).double()
    with torch.no_grad():
        norm.bias.copy_(torch.tensor([1.0, 2.0, 3.0]))
    flat = features.flatten(1)
    expected = (flat - flat.mean(1, keepdim=True)) / (flat.std(1, keepdim=True) + 1e-5)
    expected = expected.view_as(features) * norm.gain.view(1, 3, 1, 1) + norm.bias.view(1, 3, 1, 1)
    torch.testing.assert_close(norm(features), expected)


# --- the model


def test_an_image_is_treated_alike_alone_and_in_a_batch(tiny, images):
    cae, discriminator = tiny[0].double(), tiny[1].double().eval()
    batch = torch.cat(images).double()
    codes = cae.encode(batch)
    decoded = cae.decode(codes.class_code, codes.individual_code)
    for index in range(len(batch)):
        alone = cae.encode(batch[index : index + 1])
        torch.testing.assert_close(alone.class_code, codes.class_code[index : index + 1])
        torch.testing.assert_close(cae.swap(alone, alone), decoded[index : index + 1])
        torch.testing.assert_close(discriminator(batch[index : index + 1]), discriminator(batch)[index : index + 1])


def test_swap_joins_the_recipients_individual_code_with_the_donors_class_code(tiny, images):
    cae = tiny[0]
    recipients, donors = cae.encode(images[0]), cae.encode(images[1])
    swapped = cae.swap(recipients, donors)
    assert torch.equal(swapped, cae.decode(donors.class_code, recipients.individual_code))
    assert isinstance(recipients, Codes)
    assert swapped.min() >= 0
    assert swapped.max() <= 1
    assert not torch.allclose(swapped, cae.swap(recipients, recipients))


def test_decoding_leaves_no_trace_in_the_model(tiny, images):
    cae = tiny[0]
    before = {name: value.clone() for name, value in cae.state_dict().items()}
    first = cae.swap(cae.encode(images[0]), cae.encode(images[1]))
    cae.swap(cae.encode(images[1]), cae.encode(images[0]))
    assert torch.equal(cae.swap(cae.encode(images[0]), cae.encode(images[1])), first)
    assert all(torch.equal(value, before[name]) for name, value in cae.state_dict().items())


def test_saved_model_loads_with_its_sizes_and_decodes_alike(tiny, images, tmp_path):
    cae = tiny[0].eval()
    cae.save(tmp_path / "cae.safetensors", {"classes": ["a", "b"]})
    restored = reference.PublishedCAE.load(tmp_path / "cae.safetensors")
    codes = restored.encode(images[0])
    assert not restored.training
    assert torch.equal(codes.class_code, cae.encode(images[0]).class_code)
    assert torch.equal(restored.swap(codes, codes), cae.swap(codes, codes))


def test_impossible_sizes_are_refused_in_words():
    with pytest.raises(UserError, match="multiple of 4") as error:
        reference.PublishedCAE((1, 30, 8), blocks=0)
    assert len(error.value.problems) == 3


# --- training rules


@pytest.mark.parametrize(
    ("iteration", "rate"), [(0, 1e-4), (19_999, 1e-4), (20_000, 5e-5), (100_000, 1e-4 / 32), (199_999, 1e-4 / 512)]
)
def test_learning_rate_halves_at_every_tenth_of_the_training(iteration, rate):
    assert published_losses.published_learning_rate(iteration, 200_000) == pytest.approx(rate)


def test_learning_rate_follows_the_step_scheduler_of_pytorch():
    parameter = nn.Parameter(torch.zeros(1))
    optimiser = published_losses.published_optimiser([parameter])
    scheduler = torch.optim.lr_scheduler.StepLR(optimiser, step_size=3, gamma=0.5)
    for iteration in range(30):
        assert scheduler.get_last_lr()[0] == pytest.approx(published_losses.published_learning_rate(iteration, 30))
        optimiser.step()
        scheduler.step()
    assert optimiser.param_groups[0]["betas"] == (0.5, 0.999)
    assert optimiser.param_groups[0]["weight_decay"] == 1e-4


def test_pairs_join_a_normal_image_with_one_of_another_class_and_use_none_twice():
    labels = torch.tensor([0, 2, 1, 0, 2, 1, 1, -1, 0])
    normal, other = published_losses.published_pairs(labels, torch.Generator().manual_seed(0))
    assert sorted(normal.tolist()) == [0, 3, 8]
    assert len(set(other.tolist())) == 3
    assert (labels[other] > 0).all()


def test_pairs_are_shuffled_by_seed_and_empty_without_a_partner():
    labels = torch.arange(40) % 2
    draws = [torch.stack(published_losses.published_pairs(labels, torch.Generator().manual_seed(s))) for s in (1, 1, 2)]
    assert torch.equal(draws[0], draws[1])
    assert not torch.equal(draws[0], draws[2])
    assert [len(side) for side in published_losses.published_pairs(torch.zeros(4).long())] == [0, 0]


# --- losses


def direction(label: int) -> published_losses.Direction:
    """Differences of 0.5, 0.25, 2 and 3, and undecided scores of three classes."""
    image, code = torch.zeros(2, 1, 4, 4), torch.zeros(2, 3)
    return published_losses.Direction(
        original=image,
        reconstruction=image + 0.5,
        cycle=image - 0.25,
        individual_code=image,
        individual_read=image + 2,
        class_code=code,
        class_read=code - 3,
        scores=torch.zeros(2, 5),
        labels=torch.full((2,), label),
    )


def test_generator_loss_equals_the_published_sum_of_both_directions():
    terms = published_losses.published_generator_loss((direction(0), direction(2)))
    expected = {
        "reconstruction": 2 * 10 * 0.5,
        "cycle": 2 * 10 * 0.25,
        "individual_code": 2 * 2,
        "class_code": 2 * 3,
        "adversarial": 2 * math.log(2),
        "class_head": 2 * math.log(3),
    }
    assert {name: term.item() for name, term in terms.items()} == pytest.approx(expected)


def test_generator_wants_to_look_real_and_to_be_of_the_donors_class():
    sure = torch.tensor([[-9.0, 9.0, 0.0, 9.0, 0.0]]).repeat(2, 1)  # real, of class 1
    right = published_losses.published_generator_loss([replace(direction(1), scores=sure)])
    wrong = published_losses.published_generator_loss([replace(direction(2), scores=-sure)])
    assert right["adversarial"] < 1e-3
    assert right["class_head"] < 1e-3
    assert wrong["adversarial"] > 10


def test_discriminator_loss_counts_the_class_head_twice_and_on_real_images_only():
    labels = torch.tensor([1, 1])
    undecided = torch.zeros(2, 4)
    sure = torch.tensor([[0.0, 0.0, 50.0, 0.0]]).repeat(2, 1)  # a wrong class, on a fake
    one = published_losses.DiscriminatorScores(real=undecided, fake=sure, labels=labels)
    terms = published_losses.published_discriminator_loss((one, one))
    expected = {"fake": 2 * math.log(2), "real": 2 * math.log(2), "class_head": 2 * 2 * math.log(2)}
    assert {name: term.item() for name, term in terms.items()} == pytest.approx(expected)


def test_directions_swap_donor_codes_and_labels(tiny, images):
    cae, discriminator = tiny[0], tiny[1].eval()
    labels = torch.tensor([0, 0]), torch.tensor([2, 1])
    ab, ba = published_losses.published_directions(cae, discriminator, images, labels)
    codes = [cae.encode(image) for image in images]
    swap = 2 * cae.swap(codes[0], codes[1]) - 1
    assert torch.equal(ab.labels, labels[1])
    assert torch.equal(ba.labels, labels[0])
    torch.testing.assert_close(ab.class_code, codes[1].class_code)
    torch.testing.assert_close(ab.scores, discriminator(swap))
    class_read, individual_read = cae.encoders(swap)
    torch.testing.assert_close(ab.class_read, class_read)
    torch.testing.assert_close(ab.cycle, cae.decoder(codes[0].class_code, individual_read))
    torch.testing.assert_close(ba.reconstruction, 2 * cae.swap(codes[1], codes[1]) - 1)


def test_code_terms_have_gradients_on_both_sides(tiny, images):
    labels = torch.tensor([0, 0]), torch.tensor([1, 2])
    cae, discriminator = tiny
    directions = published_losses.published_directions(cae, discriminator, images, labels)
    assert directions[0].class_code.requires_grad
    assert directions[0].individual_code.requires_grad
    sum(published_losses.published_generator_loss(directions).values()).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in cae.parameters())


def test_discriminator_step_leaves_encoders_and_decoder_without_gradients(tiny, images):
    labels = torch.tensor([0, 0]), torch.tensor([1, 2])
    cae, discriminator = tiny
    scores = published_losses.published_scores(cae, discriminator, images, labels)
    assert torch.equal(scores[0].labels, labels[1])
    sum(published_losses.published_discriminator_loss(scores).values()).backward()
    assert all(p.grad is None for p in cae.parameters())
    assert all(p.grad is not None for p in discriminator.parameters())


def test_discriminator_scores_are_of_the_donor_and_of_the_swap(tiny, images):
    cae, discriminator = tiny[0], tiny[1].eval()
    labels = torch.tensor([0, 0]), torch.tensor([1, 2])
    ab, ba = published_losses.published_scores(cae, discriminator, images, labels)
    directions = published_losses.published_directions(cae, discriminator, images, labels)
    torch.testing.assert_close(ab.real, discriminator(2 * images[1] - 1))
    torch.testing.assert_close(ab.fake, directions[0].scores)
    torch.testing.assert_close(ba.fake, directions[1].scores)


def test_a_tiny_version_trains(tiny):
    cae, discriminator = tiny
    ramp = torch.linspace(0.1, 0.6, 32).expand(2, 1, 32, 32)
    spot = ramp.clone()
    spot[..., 10:20, 10:20] += 0.4
    batch = (ramp, spot), (torch.tensor([0, 0]), torch.tensor([1, 2]))
    optimisers = [torch.optim.Adam(module.parameters(), 3e-3, (0.5, 0.999)) for module in (discriminator, cae)]
    errors = []
    for _ in range(30):
        judged = published_losses.published_discriminator_loss(
            published_losses.published_scores(cae, discriminator, *batch)
        )
        optimisers[0].zero_grad()
        sum(judged.values()).backward()
        optimisers[0].step()
        terms = published_losses.published_generator_loss(
            published_losses.published_directions(cae, discriminator, *batch)
        )
        optimisers[1].zero_grad()
        sum(terms.values()).backward()
        optimisers[1].step()
        errors.append(terms["reconstruction"].item())
    # 0.2 to 0.25; single steps of adversarial training jump, and not at the same step on every processor
    assert sum(errors[-5:]) / 5 < 0.4 * errors[0]
