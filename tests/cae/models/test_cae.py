"""The class association embedding as a model."""

from __future__ import annotations

import dataclasses
import json

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file

from cae.config import ModelConfig
from cae.errors import UserError
from cae.models.cae import CAE, Codes
from cae.models.published import PublishedCAE


def small(**sizes) -> ModelConfig:
    defaults = {
        "class_dim": 3, "individual_channels": 2, "width": 4, "individual_downsampling": 2, "class_downsampling": 3,
        "residual_blocks": 1,
    }  # fmt: skip
    return ModelConfig(**{**defaults, **sizes})


def build(shape=(1, 16, 16), **sizes) -> CAE:
    torch.manual_seed(0)
    return CAE(shape, small(**sizes)).eval()


def images_of(shape, count=3):
    return torch.rand(count, *shape, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("shape", [(1, 16, 16), (3, 16, 16), (1, 45, 61), (3, 28, 31), (1, 17, 8)])
def test_any_size_and_channels_come_back_as_they_were(shape):
    cae, images = build(shape), images_of(shape)
    codes = cae.encode(images)
    decoded = cae.decode(codes.class_code, codes.individual_code)
    assert codes.class_code.shape == (3, 3)
    assert codes.individual_code.shape == (3, 2, -(-shape[1] // 4), -(-shape[2] // 4))
    assert decoded.shape == images.shape
    assert decoded.min() >= 0
    assert decoded.max() <= 1


@torch.no_grad()
def test_the_diagonal_of_the_swap_matrix_is_the_reconstruction():
    cae, images = build(), images_of((1, 16, 16), 4)
    codes = cae.encode(images)
    reconstructions = cae.to_unit(cae.trunk(codes.individual_code)[0]).clamp(0, 1)
    rows, columns = torch.meshgrid(torch.arange(4), torch.arange(4), indexing="ij")
    matrix = cae.swap(codes[rows.flatten()], codes[columns.flatten()]).view(4, 4, *images.shape[1:])
    torch.testing.assert_close(matrix[torch.arange(4), torch.arange(4)], reconstructions, atol=1e-6, rtol=0)
    assert (matrix[0, 1] - matrix[0, 0]).abs().max() > 1e-6


@torch.no_grad()
def test_a_swap_follows_the_donors_class_code_alone_and_both_codes_of_the_recipient():
    cae, images = build(), images_of((1, 16, 16), 4)
    codes = cae.encode(images)
    recipient, donor, other = (codes[place : place + 1] for place in range(3))
    swap = cae.swap(recipient, donor)
    assert torch.equal(swap, cae.swap(recipient, Codes(donor.class_code, other.individual_code)))
    for changed in (
        cae.swap(recipient, other),
        cae.swap(Codes(recipient.class_code, other.individual_code), donor),
        cae.swap(Codes(other.class_code, recipient.individual_code), donor),
    ):
        assert (changed - swap).abs().max() > 1e-6


@pytest.mark.parametrize("shape", [(1, 64, 64), (1, 128, 96), (3, 128, 128), (3, 256, 256)])
@torch.no_grad()
def test_the_linear_maps_of_patches_lose_nothing(shape):
    cae, images = CAE(shape, ModelConfig(width=4, residual_blocks=0)), images_of(shape, 1)
    encoder, trunk = cae.individual_encoder, cae.trunk
    code = encoder.patches(F.pixel_unshuffle(images, encoder.unit))
    assert code.numel() == images.numel()
    torch.testing.assert_close(F.pixel_shuffle(trunk.patches(code), trunk.unit), images, atol=1e-5, rtol=0)


@torch.no_grad()
def test_an_image_is_coded_alike_alone_and_in_a_batch():
    cae, images = build(), images_of((1, 16, 16))
    together, alone = cae.encode(images), cae.encode(images[1:2])
    torch.testing.assert_close(together[1:2].class_code, alone.class_code, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(together[1:2].individual_code, alone.individual_code, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("mask", [True, False])
@torch.no_grad()
def test_the_mask_bounds_where_a_class_code_may_act(mask):
    cae, images = build(mask=mask), images_of((1, 16, 16))
    codes = cae.encode(images)
    decoded = cae.join(codes.class_code, cae.base(codes.individual_code))
    assert (decoded.mask is None) is not mask
    if decoded.mask is not None:
        assert decoded.mask.shape == (3, 1, 16, 16)
        assert 0 <= decoded.mask.min() <= decoded.mask.max() <= 1


@pytest.mark.parametrize("mask", [True, False])
@torch.no_grad()
def test_the_class_code_that_the_base_shows_changes_nothing_and_another_one_does(mask):
    cae, images = build(mask=mask), images_of((1, 16, 16))
    base = cae.base(cae.encode_individual(images))
    plain = (base.image + 1) / 2
    torch.testing.assert_close(cae.join(base.class_code, base).image, plain, atol=1e-6, rtol=0)
    torch.testing.assert_close(cae.join(base.class_code, base).onto(images), images, atol=1e-6, rtol=0)
    assert (cae.join(base.class_code + 1, base).image - plain).abs().mean() > 1e-3


@pytest.mark.parametrize(
    ("size", "value"),
    [
        ("class_dim", 5), ("individual_channels", 4), ("width", 8), ("individual_downsampling", 3),
        ("class_downsampling", 2), ("residual_blocks", 2), ("mask", False), ("evidence", False),
    ],
)  # fmt: skip
def test_every_size_reaches_the_network(size, value):
    before, after = build(), build(**{size: value})
    assert sum(p.numel() for p in before.parameters()) != sum(p.numel() for p in after.parameters())
    codes = after.encode(images_of((1, 16, 16)))
    assert codes.class_code.shape[1] == after.class_dim == (5 if size == "class_dim" else 3)


def test_codes_can_be_indexed_and_moved():
    codes = Codes(torch.arange(6.0).view(3, 2), torch.arange(3.0).view(3, 1, 1, 1))
    assert len(codes) == 3
    assert codes[torch.tensor([2, 0])].class_code.tolist() == [[4, 5], [0, 1]]
    assert codes[1:].individual_code.flatten().tolist() == [1, 2]
    assert len(codes.to("cpu")) == 3


@torch.no_grad()
def test_a_saved_model_comes_back_with_sizes_and_decodes_alike(tmp_path):
    cae, images = build((3, 20, 18), class_dim=5, mask=False), images_of((3, 20, 18))
    cae.save(tmp_path / "run" / "cae.safetensors", {"classifier": "0123"})
    loaded = CAE.load(tmp_path / "run" / "cae.safetensors")
    assert loaded.image_shape == (3, 20, 18)
    assert loaded.model == cae.model
    assert not loaded.training
    assert torch.equal(loaded.encode(images).class_code, cae.encode(images).class_code)
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["cae.safetensors"]


@torch.no_grad()
def test_a_file_of_a_former_version_opens_with_its_sizes(tmp_path):
    cae, images = build(mask=False), images_of((1, 16, 16))
    model = dataclasses.asdict(cae.model)
    header = {"kind": "cae", "image_shape": [1, 16, 16], "model": {"gate": model.pop("mask"), **model}}
    weights = {name: tensor.contiguous() for name, tensor in cae.state_dict().items()}
    save_file(weights, tmp_path / "former.safetensors", metadata={"cae": json.dumps(header)})
    loaded = CAE.load(tmp_path / "former.safetensors")
    assert loaded.model == cae.model
    assert torch.equal(loaded.encode(images).class_code, cae.eval().encode(images).class_code)


def test_what_is_no_cae_is_refused_in_words(tmp_path):
    with pytest.raises(UserError, match="no CAE at .*train one with `python train.py cae"):
        CAE.load(tmp_path / "absent.safetensors")
    (tmp_path / "text.safetensors").write_text("not weights at all")
    with pytest.raises(UserError, match="not a readable safetensors file"):
        CAE.load(tmp_path / "text.safetensors")
    save_file({"weight": torch.zeros(2)}, tmp_path / "other.safetensors")
    with pytest.raises(UserError, match="other weights than those of a CAE"):
        CAE.load(tmp_path / "other.safetensors")


def test_a_file_of_another_version_or_preset_is_refused_in_words(tmp_path):
    PublishedCAE((1, 32, 32), 2, 4, 1).save(tmp_path / "reference.safetensors")
    with pytest.raises(UserError, match="preset `published`; set cae.preset"):
        CAE.load(tmp_path / "reference.safetensors")
    header = {"kind": "cae", "image_shape": [1, 16, 16], "model": {"class_dim": 3, "colour": "green"}}
    save_file({"weight": torch.zeros(2)}, tmp_path / "newer.safetensors", metadata={"cae": json.dumps(header)})
    with pytest.raises(UserError, match="another version"):
        CAE.load(tmp_path / "newer.safetensors")
    del header["model"]["colour"]
    save_file({"weight": torch.zeros(2)}, tmp_path / "altered.safetensors", metadata={"cae": json.dumps(header)})
    with pytest.raises(UserError, match="another version"):
        CAE.load(tmp_path / "altered.safetensors")


@pytest.mark.parametrize(("down", "class_down"), [(2, 1), (1, 3), (3, 2), (2, 4)])
def test_the_editor_sees_what_the_class_encoder_sees(down, class_down):
    cae = build(individual_downsampling=down, class_downsampling=class_down)
    codes, other = cae.encode(images_of((1, 16, 16))), torch.tensor([[1.0, -2.0, 3.0]]).expand(3, -1)
    edited = cae.decode(other, codes.individual_code)
    torch.nn.init.zeros_(cae.evidence.maps[0].weight)
    assert not torch.equal(cae.decode(other, codes.individual_code), edited)
    assert build(evidence=False).evidence is None
