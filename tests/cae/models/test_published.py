"""The published network: exact counts, exact norms, and the model around it."""

from __future__ import annotations

import math

import pytest
import torch
from tiny_published import pair_of_images, tiny_published
from torch import nn

from cae.errors import UserError
from cae.models.cae import Codes
from cae.models.published import PublishedCAE
from cae.models.published_networks import LayerNorm, PublishedDiscriminator, adaptive_instance_norm


def count(*modules: nn.Module) -> int:
    return sum(parameter.numel() for module in modules for parameter in module.parameters())


@pytest.fixture(scope="module")
def full_size():
    """The published sizes without memory: shapes and counts only."""
    with torch.device("meta"):
        return PublishedCAE(), PublishedDiscriminator(classes=2)


@pytest.fixture
def tiny():
    return tiny_published()


@pytest.fixture
def images():
    return pair_of_images()


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
    cae = PublishedCAE((3, side, side), width=width).eval()
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
    cae, discriminator = PublishedCAE((3, 32, 32), width=32), PublishedDiscriminator(2, width=32)
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
    restored = PublishedCAE.load(tmp_path / "cae.safetensors")
    codes = restored.encode(images[0])
    assert not restored.training
    assert torch.equal(codes.class_code, cae.encode(images[0]).class_code)
    assert torch.equal(restored.swap(codes, codes), cae.swap(codes, codes))


def test_impossible_sizes_are_refused_in_words():
    with pytest.raises(UserError, match="multiple of 4") as error:
        PublishedCAE((1, 30, 8), blocks=0)
    assert len(error.value.problems) == 3
